//! The second example: money moves between accounts, with nothing forward-only. Reserve on both sides in
//! parallel, book, and everything can be undone to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use terrane_workflow::harness::World;
use terrane_workflow::machine::Status;
use terrane_workflow::{Action, Call, Outcome, Registry, Retry, Step, StepError, Template, Undo};

pub(crate) fn template() -> Template {
    let step = |id: &str, after: &[&str], amount: i64| Step {
        id: id.into(),
        action: "book".into(),
        after: after.iter().map(|&after| after.into()).collect(),
        undo: Undo::Action,
        retry: Retry { failures_max: 2, first_ms: 10, longest_ms: 10 },
        with: BTreeMap::from([("amount".into(), amount.to_string()), ("account".into(), id.into())]),
    };
    let steps = vec![step("payer", &[], -5), step("fee", &[], -1), step("payee", &["payer", "fee"], 6)];
    Template { name: "pay".into(), version: 3, params: Vec::new(), steps }
}

/// Who got or gave how much, by key.
type Entries = BTreeMap<String, (String, i64)>;

#[derive(Clone, Default)]
pub(crate) struct Bank {
    /// Entries, and keys that were taken back.
    books: Arc<Mutex<(Entries, BTreeSet<String>)>>,
}

impl Bank {
    /// A key that was taken back stays taken back: that is this world's fence.
    fn book(&self, key: String, account: String, amount: i64) -> Result<(), StepError> {
        let mut books = self.books.lock().expect("no test panics in between");
        if books.1.contains(&key) {
            return Err(StepError::Refused("taken back".into()));
        }
        books.0.insert(key, (account, amount));
        Ok(())
    }
}

#[async_trait]
impl World for Bank {
    fn actions(&self) -> Registry {
        Registry::new().with("book", self.clone())
    }

    async fn check(&self, end: Status) -> Result<(), String> {
        let books = self.books.lock().expect("no test panics in between");
        let entries = if end == Status::Completed { 3 } else { 0 };
        let sum: i64 = books.0.values().map(|(_, amount)| amount).sum();
        if books.0.len() == entries && sum == 0 { Ok(()) } else { Err(format!("{end}, but {books:?}")) }
    }
}

#[async_trait]
impl Action for Bank {
    async fn run(&self, call: &Call) -> Outcome {
        let amount = call.arg("amount")?.parse().map_err(|_| StepError::Refused("no amount".into()))?;
        let account = call.arg("account")?.to_owned();
        tokio::task::yield_now().await;
        self.book(call.key(), account, amount)?;
        tokio::task::yield_now().await;
        Ok(call.key())
    }

    async fn undo(&self, call: &Call) -> Result<(), StepError> {
        let mut books = self.books.lock().expect("no test panics in between");
        books.0.remove(&call.key());
        books.1.insert(call.key());
        Ok(())
    }
}
