//! `terrane workflow`: long changes of several steps.

use clap::Subcommand;
use comfy_table::Table;
use terrane_api::types::Workflow;

use super::client::{Client, encode};
use super::output::{Output, facts, number, or_dash, table};

/// Verbs of `workflow`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All workflows that are remembered.
    List,
    /// A workflow with its steps.
    Show {
        /// Name.
        workflow: String,
    },
    /// Let a workflow rest.
    Pause {
        /// Name.
        workflow: String,
    },
    /// Let a workflow go on; one that is stuck tries again.
    Resume {
        /// Name.
        workflow: String,
    },
    /// Undo a workflow that has not passed its point of no return.
    Cancel {
        /// Name.
        workflow: String,
    },
}

const PATH: &str = "/_terrane/v1/workflows";

pub(crate) async fn run(client: &Client, out: &Output, verb: Verb) -> anyhow::Result<()> {
    let (workflow, order) = match &verb {
        Verb::List => return out.print(&all(client).await?, |workflows| list_of(workflows)),
        Verb::Show { workflow } => {
            let shown: Workflow = client.get(&format!("{PATH}/{}", encode(workflow))).await?;
            return out.print(&shown, report);
        }
        Verb::Pause { workflow } => (workflow, "pause"),
        Verb::Resume { workflow } => (workflow, "resume"),
        Verb::Cancel { workflow } => (workflow, "cancel"),
    };
    let path = format!("{PATH}/{}/{order}", encode(workflow));
    let asked: Workflow = client.post(&path, &serde_json::json!({})).await?;
    out.print(&asked, report)
}

/// All pages.
async fn all(client: &Client) -> anyhow::Result<Vec<Workflow>> {
    const LIMIT: usize = 1000;
    let mut all: Vec<Workflow> = Vec::new();
    loop {
        let after = all.last().map(|last| format!("&after={}", encode(&last.id))).unwrap_or_default();
        let page: Vec<Workflow> = client.get(&format!("{PATH}?limit={LIMIT}{after}")).await?;
        let is_last = page.len() < LIMIT;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

fn list_of(workflows: &[Workflow]) -> Table {
    let mut table = table(["workflow", "about", "status", "progress", "at", "created", "cause"]);
    for workflow in workflows {
        let at = workflow.steps.iter().find(|step| ["running", "undoing"].contains(&step.state.as_str()));
        table.add_row([
            workflow.id.clone().into(),
            workflow.subject.clone().into(),
            workflow.status.clone().into(),
            number(format_args!("{} %", workflow.progress)),
            or_dash(at.map(|step| step.id.clone())).into(),
            workflow.created.clone().into(),
            or_dash(workflow.cause.as_ref()).into(),
        ]);
    }
    table
}

fn report(workflow: &Workflow) -> String {
    let head = facts([
        ("workflow", workflow.id.clone()),
        ("template", format!("{} {}", workflow.template, workflow.version)),
        ("about", workflow.subject.clone()),
        ("status", workflow.status.clone()),
        ("progress", format!("{} %", workflow.progress)),
        ("can be undone", if workflow.past_return { "no" } else { "yes" }.to_owned()),
        ("cause", or_dash(workflow.cause.as_ref())),
    ]);
    let mut steps = table(["step", "state", "attempts", "done", "of", "last failure"]);
    for step in &workflow.steps {
        let total = (step.total > 0).then_some(step.total);
        steps.add_row([
            step.id.clone().into(),
            step.state.clone().into(),
            number(step.attempts),
            number(or_dash(total.map(|_| step.done))),
            number(or_dash(total)),
            or_dash(step.error.as_ref()).into(),
        ]);
    }
    format!("{head}\n\n{steps}")
}
