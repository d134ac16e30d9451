//! Segmented append-only log: group commit, checksums, torn-tail recovery, recycling.
