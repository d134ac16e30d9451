//! Accounts, access keys, bearer tokens, SigV4, Cedar policy, rate limits and the key service.
