//! Servers that are emptied: a workflow that shows how far it is. The moving itself is done by the manager in office for
//! every stripe with a copy there, as long as the server's row says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use terrane_block_wire::control::ServerId;
use terrane_store::Tx;
use terrane_workflow::{
    Action, Call, NewRun, Outcome, RunId, Step, StepError, Template, Undo, WorkflowError,
};

use super::{Ground, RETRY, SHARD};
use crate::db::{self, Changes};
use crate::rows::{SERVERS, STRIPES, hex, unhex};

/// The template of all drains.
const TEMPLATE: &str = "server-drain";
/// The name of its only step and of that step's action.
pub(super) const EMPTY: &str = "empty";

pub(super) fn template() -> Template {
    let empty = Step {
        id: EMPTY.to_owned(),
        action: EMPTY.to_owned(),
        after: Vec::new(),
        undo: Undo::Action,
        retry: RETRY,
        with: BTreeMap::new(),
    };
    let server = terrane_workflow::Param { name: "server".to_owned(), default: None };
    Template { name: TEMPLATE.to_owned(), version: 1, params: vec![server], steps: vec![empty] }
}

/// The run that empties a server, as it is created at this time (milliseconds since 1970).
pub(crate) fn new_run(server: ServerId, now_unix_ms: u64) -> Result<NewRun, WorkflowError> {
    Ok(NewRun {
        id: RunId::parse(&format!("drain.{}.{now_unix_ms}", hex(server.0)))?,
        shard: SHARD.to_owned(),
        subject: hex(server.0),
        template: TEMPLATE.to_owned(),
        version: None,
        params: [("server".to_owned(), hex(server.0))].into(),
    })
}

/// Waits until a server has no copies; its undo lets it have copies again.
pub(super) struct Empty(pub(super) Arc<dyn Ground>);

fn server(call: &Call) -> Result<ServerId, StepError> {
    let id = unhex(call.arg("server")?).map(ServerId);
    id.ok_or_else(|| StepError::Refused("its parameter is no server".to_owned()))
}

fn failed(error: terrane_store::StoreError) -> StepError {
    StepError::Failed(error.to_string())
}

#[async_trait]
impl Action for Empty {
    async fn run(&self, call: &Call) -> Outcome {
        let (id, store) = (server(call)?, self.0.store());
        let mut most = 0;
        loop {
            let look = |tx: Tx| async move {
                let row = SERVERS.get(&tx, &hex(id.0)).await?;
                let stripes = db::all(&STRIPES, &tx).await?;
                let places = stripes.iter().flat_map(|(_, row)| row.places.values());
                let copies = places.filter(|place| place.server == id).count() as u64;
                Ok::<_, terrane_store::StoreError>(row.is_some_and(|row| row.draining).then_some(copies))
            };
            match store.read(look).await.map_err(failed)? {
                None => return Err(StepError::Refused("the server may have copies again".to_owned())),
                Some(0) => return Ok(String::new()),
                Some(copies) => {
                    most = copies.max(most);
                    call.progress().set(most - copies, most);
                }
            }
            tokio::select! {
                () = self.0.pause() => {}
                () = call.interruption() => return Err(StepError::Interrupted),
            }
        }
    }

    async fn undo(&self, call: &Call) -> Result<(), StepError> {
        let id = server(call)?;
        let undrain = |tx: Tx| async move {
            let mut changed = Changes::default();
            if let Some(mut row) = SERVERS.get(&tx, &hex(id.0)).await?.filter(|row| row.draining) {
                row.draining = false;
                SERVERS.put(&tx, &hex(id.0), &row).await?;
                changed.servers.insert(id, row);
            }
            changed.publish(&tx).await
        };
        self.0.store().transact(undrain).await.map_err(failed)
    }
}
