//! Structured logs, metrics with a day of history, health registry, audit log.
