//! Every statement that the engine sends.

use crate::KeyRange;
use crate::tuple::Pack;

/// Settings of every session. A server that does not know one goes without.
pub(super) const SESSION: &[&str] = &[
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET statement_timeout = '30s'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
];

pub(super) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS terrane_meta (name TEXT PRIMARY KEY, value BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS terrane_rows (k BYTEA PRIMARY KEY, v BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS terrane_hot (k BYTEA PRIMARY KEY, v BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS terrane_commits \
     (id BYTEA PRIMARY KEY, happened BOOLEAN NOT NULL, made TIMESTAMPTZ NOT NULL DEFAULT now())",
    "CREATE INDEX IF NOT EXISTS terrane_commits_made ON terrane_commits (made)",
];

pub(super) const META_ADD: &str =
    "INSERT INTO terrane_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
pub(super) const META_GET: &str = "SELECT value FROM terrane_meta WHERE name = $1";

pub(super) const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE";
pub(super) const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY";

/// `happened` is true in the row of a commit and false in that of whoever settled its absence.
pub(super) const COMMIT_ADD: &str = "INSERT INTO terrane_commits (id, happened) VALUES ($1, $2)";
pub(super) const COMMIT_GET: &str = "SELECT happened FROM terrane_commits WHERE id = $1";
/// Far beyond the time in which a commit is settled. The clock decides only when rubbish goes.
pub(super) const COMMITS_TRIM: &str = "DELETE FROM terrane_commits WHERE made < now() - INTERVAL '1 day'";

/// The tables, and which keys each of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Rows,
    Hot,
}

impl Table {
    /// Feeds (`f`) and leases (`l`) are written by everybody all the time.
    pub(super) fn of(key: &[u8]) -> Self {
        let hot = ["f", "l"].iter().any(|kind| key.starts_with(&kind.pack()));
        if hot { Self::Hot } else { Self::Rows }
    }

    /// Cuts a range into pieces in key order, each within one table.
    pub(super) fn split(range: &KeyRange) -> Vec<(Self, KeyRange)> {
        let mut pieces = Vec::new();
        let mut rest = range.clone();
        for kind in ["f", "l"] {
            let hot = KeyRange::prefix(&kind.pack());
            let piece = |start: &bytes::Bytes, end: &bytes::Bytes| {
                KeyRange::new(start.clone().max(rest.start.clone()), end.clone().min(rest.end.clone()))
            };
            pieces.push((Self::Rows, piece(&rest.start, &hot.start)));
            pieces.push((Self::Hot, piece(&hot.start, &hot.end)));
            rest.start = hot.end.max(rest.start.clone());
        }
        pieces.push((Self::Rows, rest));
        pieces.retain(|(_, piece)| !piece.is_empty());
        pieces
    }

    pub(super) fn get(self) -> &'static str {
        match self {
            Self::Rows => "SELECT v FROM terrane_rows WHERE k = $1",
            Self::Hot => "SELECT v FROM terrane_hot WHERE k = $1",
        }
    }

    pub(super) fn scan(self, reverse: bool) -> &'static str {
        match (self, reverse) {
            (Self::Rows, false) => {
                "SELECT k, v FROM terrane_rows WHERE k >= $1 AND k < $2 ORDER BY k LIMIT $3"
            }
            (Self::Rows, true) => {
                "SELECT k, v FROM terrane_rows WHERE k >= $1 AND k < $2 ORDER BY k DESC LIMIT $3"
            }
            (Self::Hot, false) => "SELECT k, v FROM terrane_hot WHERE k >= $1 AND k < $2 ORDER BY k LIMIT $3",
            (Self::Hot, true) => {
                "SELECT k, v FROM terrane_hot WHERE k >= $1 AND k < $2 ORDER BY k DESC LIMIT $3"
            }
        }
    }

    pub(super) fn put(self) -> &'static str {
        match self {
            Self::Rows => {
                "INSERT INTO terrane_rows (k, v) SELECT * FROM unnest($1::BYTEA[], $2::BYTEA[]) \
                 ON CONFLICT (k) DO UPDATE SET v = excluded.v"
            }
            Self::Hot => {
                "INSERT INTO terrane_hot (k, v) SELECT * FROM unnest($1::BYTEA[], $2::BYTEA[]) \
                 ON CONFLICT (k) DO UPDATE SET v = excluded.v"
            }
        }
    }

    pub(super) fn delete(self) -> &'static str {
        match self {
            Self::Rows => "DELETE FROM terrane_rows WHERE k = ANY($1::BYTEA[])",
            Self::Hot => "DELETE FROM terrane_hot WHERE k = ANY($1::BYTEA[])",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_is_in_the_piece_of_its_table(
            kind in prop::sample::select(vec!["e", "f", "g", "l", "m"]), tail: String, raw: Vec<u8>,
            start: Vec<u8>, end: Vec<u8>, whole: bool,
        ) {
            let range = if whole { KeyRange::all() } else { KeyRange::new(start, end) };
            for key in [(kind, tail).pack(), raw] {
                let pieces = Table::split(&range);
                let found: Vec<_> = pieces.iter().filter(|(_, piece)| piece.contains(&key)).collect();
                prop_assert_eq!(found.len(), usize::from(range.contains(&key)));
                prop_assert!(found.iter().all(|(table, _)| *table == Table::of(&key)));
                prop_assert!(pieces.windows(2).all(|pair| pair[0].1.end <= pair[1].1.start));
            }
        }
    }
}
