//! Ordered transactional key-value store: memory, embedded and PostgreSQL engines, leases, feeds, RPC.
