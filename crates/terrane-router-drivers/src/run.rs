//! Runs a plan: renders its commands, reads what comes back, gathers rows.

use std::collections::BTreeMap;

use serde_json::Value;
use terrane_router_model::Rows;

use crate::expr::{Scope, Tables};
use crate::grammar::{Command, GrammarError, Part};
use crate::node::{Node, NodeError};
use crate::path::{Path, Place};
use crate::plan::{Encoding, Plan, Platform, Reaction, RowSet, Step};
use crate::{TextError, convert};

/// Arguments of a query by name, and `now`, seconds since 1970.
pub type Variables = BTreeMap<String, Value>;

/// Output of one command is smaller than this; a full table is not read through a plan.
const OUTPUT_MAX: usize = 256 << 20;

/// A plan gathers fewer rows than this.
const ROWS_MAX: usize = 2_000_000;

/// Where outputs come from.
pub trait Source {
    /// What the command printed, and the values of placeholders that the query left open, if the source knows them.
    /// None: the source does not have this output.
    fn output(&self, command: &Answerable<'_>) -> Option<Answer>;
}

/// A command that a source is asked for.
#[derive(Debug)]
pub struct Answerable<'a> {
    pub(crate) commands: Vec<(&'a Command, Vec<Part>)>,
    pub(crate) encoding: Encoding,
}

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// As it came.
    pub bytes: Vec<u8>,
    /// Values of placeholders that were open.
    pub bound: BTreeMap<String, String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The query has a value that cannot stand in the command.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The source has no output of this command.
    #[error("no output of `{command}`")]
    NoOutput {
        /// The command.
        command: String,
    },
    /// The device refused.
    #[error("UnsupportedQuery: the device refused `{command}`: {line}")]
    Unsupported {
        /// The command.
        command: String,
        /// What the device said.
        line: String,
    },
    /// The device does not keep the table.
    #[error("NotRetained: the device does not keep what `{command}` shows")]
    NotRetained {
        /// The command.
        command: String,
    },
    /// The output is not of the command's shape.
    #[error("TranslationFailed: `{command}`: {what}")]
    Translation {
        /// The command.
        command: String,
        /// What was expected and what was found.
        what: String,
    },
    /// More than one answer may hold.
    #[error("TranslationFailed: more than {0}")]
    TooMuch(&'static str),
}

/// Runs a plan. `variables` are the query's arguments; what a source finds out of those that are missing is used for
/// the steps that follow.
pub fn run(
    platform: &Platform,
    plan: &Plan,
    variables: &Variables,
    source: &dyn Source,
) -> Result<Rows, RunError> {
    let mut run = Run {
        platform,
        source,
        variables: variables.clone(),
        tables: Tables::new(),
        rows: Rows::new(plan.kind),
        gathered: 0,
    };
    for step in &plan.steps {
        run.step(step)?;
    }
    Ok(run.rows)
}

struct Run<'a> {
    platform: &'a Platform,
    source: &'a dyn Source,
    variables: Variables,
    tables: Tables,
    rows: Rows,
    gathered: usize,
}

/// How a step's output is to be taken.
enum Taken {
    Read(Node),
    Nothing,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), RunError> {
        let is_filled = |table: &String| match table.as_str() {
            "result" => !self.rows.is_empty(),
            table => self.tables.get(table).is_some_and(|rows| !rows.is_empty()),
        };
        if step.unless.as_ref().is_some_and(is_filled) {
            return Ok(());
        }
        let Some(table) = &step.for_each else { return self.round(step, &Variables::new()) };
        let mut rounds: Vec<Variables> = match table.as_str() {
            "result" => self.rows.iter().map(|row| row.clone().into_iter().collect()).collect(),
            table => self.tables.get(table).cloned().unwrap_or_default(),
        };
        let mut done = Vec::new();
        rounds.retain(|round| {
            !done.contains(round) && {
                done.push(round.clone());
                true
            }
        });
        if let Some(column) = &step.order {
            rounds.sort_by_key(|round| round.get(column).map(ToString::to_string));
        }
        if rounds.len() > step.max {
            return Err(RunError::TooMuch("the rounds that a plan may take"));
        }
        rounds.iter().try_for_each(|round| self.round(step, round))
    }

    /// One sending of a step's command.
    fn round(&mut self, step: &Step, columns: &Variables) -> Result<(), RunError> {
        let mut variables = self.variables.clone();
        variables.extend(columns.clone());
        for (name, expr) in &step.variables {
            let nothing = Node::Null;
            let value = expr.value(&self.scope(Place::root(&nothing), &variables));
            if !value.is_null() {
                variables.insert(name.clone(), value);
            }
        }
        if let Some(when) = &step.when {
            let nothing = Node::Null;
            if !when.holds(&self.scope(Place::root(&nothing), &variables)) {
                return Ok(());
            }
        }
        let mut commands = Vec::new();
        for command in step.recorded.iter().chain([&step.send]) {
            commands.push((command, command.parts(&variables)?));
        }
        let asked = Answerable { commands, encoding: step.encoding };
        let name = asked.name();
        let Some(answer) = self.source.output(&asked) else {
            return if step.optional { Ok(()) } else { Err(RunError::NoOutput { command: name }) };
        };
        for (name, value) in answer.bound {
            variables.insert(name.clone(), Value::from(value.clone()));
            self.variables.entry(name).or_insert_with(|| Value::from(value));
        }
        match self.read(step, &name, &answer.bytes) {
            Ok(Taken::Read(node)) => self.gather(step, &name, &node, &variables),
            Ok(Taken::Nothing) => Ok(()),
            Err(RunError::Unsupported { .. }) if step.optional => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn scope<'b>(&'b self, place: Place<'b>, variables: &'b Variables) -> Scope<'b> {
        Scope { place, variables, tables: &self.tables }
    }

    /// Reads an output as a tree, unless it is a refusal.
    fn read(&self, step: &Step, command: &str, bytes: &[u8]) -> Result<Taken, RunError> {
        if bytes.len() > OUTPUT_MAX {
            return Err(RunError::TooMuch("the bytes that one command may print"));
        }
        let command = command.to_owned();
        let text = String::from_utf8_lossy(bytes);
        let head: String = text.lines().take(20).collect::<Vec<_>>().join("\n");
        for (pattern, reaction) in step.reject.iter().chain(&self.platform.reject) {
            let Some(found) = pattern.find(&head) else { continue };
            let line = found.as_str().chars().take(120).collect();
            return match reaction {
                Reaction::Empty | Reaction::Next => Ok(Taken::Nothing),
                Reaction::NotRetained => Err(RunError::NotRetained { command }),
                Reaction::Unsupported => Err(RunError::Unsupported { command, line }),
            };
        }
        let node = match step.encoding {
            Encoding::Text => Ok(Node::Text(text.replace('\r', ""))),
            Encoding::Json => Node::from_json(bytes),
            Encoding::Xml => Node::from_xml(bytes),
        };
        let fail = |what: String| RunError::Translation { command: command.clone(), what };
        let node = node.map_err(|error: NodeError| fail(error.to_string()))?;
        if let Some(root) = &step.root
            && !root.leads(&Place::root(&node))
        {
            return Err(fail("the expected root is missing".into()));
        }
        if let Some(header) = &step.header
            && !header.is_match(&text)
        {
            return Err(fail(format!("nothing matches `{header}`")));
        }
        Ok(Taken::Read(node))
    }

    fn gather(
        &mut self,
        step: &Step,
        command: &str,
        node: &Node,
        variables: &Variables,
    ) -> Result<(), RunError> {
        for set in &step.rows {
            let fail =
                |error: TextError| RunError::Translation { command: command.into(), what: error.to_string() };
            let mut gathered = Vec::new();
            let held = set.from.as_ref().map(|table| self.held(table));
            let root = Place::root(held.as_ref().unwrap_or(node));
            let roots = if held.is_some() { root_items(&root) } else { vec![root] };
            let places: Vec<Place<'_>> = match set.at.as_slice() {
                [] => roots,
                paths => {
                    let follow =
                        |path: &Path| roots.iter().flat_map(|root| path.places(root)).collect::<Vec<_>>();
                    paths.iter().flat_map(follow).collect()
                }
            };
            for place in places {
                match &set.template {
                    None => self.row(set, place, variables, &mut gathered),
                    Some(template) => {
                        let records = template.run(place.node().text().unwrap_or_default()).map_err(fail)?;
                        for record in &records {
                            self.row(set, place.down(record), variables, &mut gathered);
                        }
                    }
                }
            }
            fill(&set.fill, &mut gathered);
            self.gathered += gathered.len();
            if self.gathered > ROWS_MAX {
                return Err(RunError::TooMuch("the rows that one answer may have"));
            }
            self.put(set, gathered);
        }
        Ok(())
    }

    /// Rows that an earlier step put aside, as if they were output.
    fn held(&self, table: &str) -> Node {
        let node = |value: &Value| match value {
            Value::String(text) => Node::Text(text.clone()),
            Value::Array(items) => Node::List(
                items.iter().filter_map(Value::as_str).map(|text| Node::Text(text.into())).collect(),
            ),
            other => Node::Text(other.to_string()),
        };
        let rows = self.tables.get(table).map(Vec::as_slice).unwrap_or_default();
        let record = |row: &Variables| {
            Node::Map(row.iter().map(|(name, value)| (name.clone(), node(value))).collect())
        };
        Node::List(rows.iter().map(record).collect())
    }

    fn row(&self, set: &RowSet, mut place: Place<'_>, variables: &Variables, rows: &mut Vec<Variables>) {
        place.bound.insert("index".into(), (rows.len() + 1).to_string());
        let scope = self.scope(place, variables);
        if set.keep.iter().all(|expr| convert::truth(&expr.value(&scope))) {
            let fields = set.map.iter().map(|(name, expr)| (name.clone(), expr.value(&scope)));
            rows.push(fields.filter(|(_, value)| !value.is_null()).collect());
        }
    }

    fn put(&mut self, set: &RowSet, gathered: Vec<Variables>) {
        match &set.into {
            Some(table) => self.tables.entry(table.clone()).or_default().extend(gathered),
            None => {
                for row in gathered {
                    if set.on.is_empty() {
                        self.rows.add(row);
                    } else {
                        self.rows.complete(&set.on, row);
                    }
                }
            }
        }
    }
}

fn root_items<'a>(root: &Place<'a>) -> Vec<Place<'a>> {
    let mut items = Vec::new();
    root.node().items(&mut items);
    items.into_iter().map(Place::root).collect()
}

/// Takes what a row lacks of these columns from the row before it: devices print some headings once.
fn fill(columns: &[String], rows: &mut [Variables]) {
    for column in columns {
        let mut last: Option<Value> = None;
        for row in rows.iter_mut() {
            match (row.get(column), &last) {
                (Some(value), _) => last = Some(value.clone()),
                (None, Some(value)) => {
                    row.insert(column.clone(), value.clone());
                }
                (None, None) => {}
            }
        }
    }
}

impl Answerable<'_> {
    /// The command as it would be sent, open placeholders by name.
    pub fn name(&self) -> String {
        let parts = self.commands.last().map(|(_, parts)| parts.as_slice()).unwrap_or_default();
        parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Open { name, .. } => format!("{{{name}}}"),
            })
            .collect()
    }
}
