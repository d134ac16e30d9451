//! One conformance suite for every engine, and what each engine promises beyond it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod cluster;
mod conformance;
mod crash;
mod history;
mod postgres;
mod remote;

/// Runs the whole suite on the stores that `$open` makes: an expression that evaluates to
/// `(Store, guard)`, where the guard keeps alive what the store needs.
macro_rules! conformance {
    ($engine:ident, $open:expr) => {
        mod $engine {
            conformance!(@tests $open;
                rows::order_and_limits, rows::own_writes_are_read_in_order, rows::limits_are_typed_errors,
                isolation::snapshots_do_not_move, isolation::errors_drop_writes,
                isolation::increments_are_not_lost, isolation::write_skew_is_refused,
                isolation::phantoms_are_refused, isolation::reads_refuse_writes,
                isolation::handles_are_send, isolation::random_histories_are_strictly_serialisable,
                layers::tables_keep_their_indexes, layers::sequences_have_no_gaps,
                feeds::events_come_in_order_and_readers_resume, feeds::trimmed_or_foreign_cursors_resync,
                feeds::waiting_readers_wake,
                leases::a_lease_has_one_holder, leases::a_quiet_holder_is_replaced_and_fenced,
                leases::renewals_keep_challengers_away, leases::released_leases_are_taken_at_once,
            );
        }
    };
    (@tests $open:expr; $($module:ident::$test:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $test() {
            let (store, _guard) = $open;
            crate::conformance::$module::$test(&store).await;
        }
    )+};
}

conformance!(memory, (terrane_store::Store::memory(), ()));

conformance!(embedded, {
    let dir = tempfile::tempdir().unwrap();
    (terrane_store::Store::embedded(dir.path(), crate::small()).await.unwrap(), dir)
});

conformance!(on_postgres, crate::postgres::open().await);

conformance!(by_rpc, crate::remote::open().await);

/// Small segments and frequent checkpoints, so that short tests see many of both.
fn small() -> terrane_store::EmbeddedConfig {
    terrane_store::EmbeddedConfig {
        segment_bytes: 20 << 20,
        replay_bytes_max: 64 << 10,
        reserve_bytes: 0,
        ..Default::default()
    }
}

#[tokio::test]
async fn what_one_transaction_may_read_is_bounded() {
    use terrane_store::{READS_MAX, Store, StoreError};
    let count = |reads: usize| async move {
        let read = |tx: terrane_store::Tx| async move {
            for n in 0..reads as u64 {
                tx.get(n.to_be_bytes()).await?;
                tx.get(n.to_be_bytes()).await?;
            }
            Ok::<_, StoreError>(())
        };
        let store = Store::memory();
        (store.transact(read).await, store.read(read).await)
    };
    assert!(matches!(count(READS_MAX).await, (Ok(()), Ok(()))), "a repeated read counts once");
    let (write, read) = count(READS_MAX + 1).await;
    assert!(matches!(write, Err(StoreError::TooLarge { .. })));
    assert!(read.is_ok(), "what only reads needs no validation");
}
