//! Plans: the entries of the knowledge base, as written (TOML) and as compiled.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use terrane_router_model::napalm::Quirks;
use terrane_router_model::{Kind, Schema};

use crate::expr::{Expr, ExprError};
use crate::fsm::{Template, TemplateError};
use crate::grammar::{Command, GrammarError};
use crate::path::{Path, PathError};

/// How much a plan asks of a router. Orders plans; a plan never stands in for a cheaper one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Answered from memory, in a few kilobytes.
    #[default]
    Light,
    /// Grows with the number of interfaces or neighbours.
    Medium,
    /// Grows with a table of routes.
    Table,
}

/// What a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Text for people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// XML.
    Xml,
}

/// What a device's refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// The platform or version has no such command.
    Unsupported,
    /// The command worked and there is nothing.
    Empty,
    /// The router does not keep that table.
    NotRetained,
    /// Go on with the next step as if this one were not there.
    Next,
}

/// A compiled plan.
#[derive(Debug)]
pub struct Plan {
    /// What it answers.
    pub kind: Kind,
    /// Versions that it is meant for, in words; absent: all that are known.
    pub versions: Option<String>,
    /// What it asks of the router.
    pub cost: Cost,
    /// Kinds whose questions its answer also answers.
    pub covers: Vec<Kind>,
    /// Where this platform's NAPALM driver departs from the others.
    pub napalm: Quirks,
    pub(crate) steps: Vec<Step>,
}

/// What holds for every plan of a platform.
#[derive(Debug, Default)]
pub struct Platform {
    /// How the platform refuses commands.
    pub(crate) reject: Vec<(Regex, Reaction)>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) send: Command,
    pub(crate) recorded: Vec<Command>,
    pub(crate) encoding: Encoding,
    pub(crate) for_each: Option<String>,
    pub(crate) order: Option<String>,
    pub(crate) max: usize,
    pub(crate) when: Option<Expr>,
    pub(crate) unless: Option<String>,
    pub(crate) optional: bool,
    pub(crate) root: Option<Path>,
    pub(crate) header: Option<Regex>,
    pub(crate) reject: Vec<(Regex, Reaction)>,
    pub(crate) variables: Vec<(String, Expr)>,
    pub(crate) rows: Vec<RowSet>,
}

#[derive(Debug)]
pub(crate) struct RowSet {
    pub(crate) at: Vec<Path>,
    pub(crate) template: Option<Template>,
    pub(crate) keep: Vec<Expr>,
    pub(crate) on: Vec<String>,
    pub(crate) into: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) fill: Vec<String>,
    pub(crate) map: Vec<(String, Expr)>,
}

/// A plan that does not compile: a fault of the knowledge base.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML, or not a plan.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// An expression.
    #[error(transparent)]
    Expr(#[from] ExprError),
    /// A path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A TextFSM template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A command.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// A regular expression.
    #[error(transparent)]
    Regex(#[from] regex::Error),
    /// A field that the kind's schema does not have.
    #[error("{kind} has no field `{field}`")]
    Field {
        /// The plan's kind.
        kind: Kind,
        /// The field.
        field: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanText {
    kind: Kind,
    versions: Option<String>,
    #[serde(default)]
    cost: Cost,
    #[serde(default)]
    covers: Vec<Kind>,
    #[serde(default)]
    napalm: Quirks,
    step: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    send: String,
    #[serde(default)]
    recorded: Vec<String>,
    #[serde(default)]
    parse: Encoding,
    for_each: Option<String>,
    order: Option<String>,
    max: Option<usize>,
    when: Option<String>,
    unless: Option<String>,
    #[serde(default)]
    optional: bool,
    root: Option<String>,
    header: Option<String>,
    #[serde(default)]
    reject: Vec<RejectText>,
    #[serde(default, rename = "let")]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    rows: Vec<RowsText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectText {
    pattern: String,
    #[serde(rename = "as")]
    reaction: Reaction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsText {
    at: Option<Paths>,
    template: Option<String>,
    #[serde(default)]
    keep: Vec<String>,
    #[serde(default)]
    on: Vec<String>,
    into: Option<String>,
    from: Option<String>,
    #[serde(default)]
    fill: Vec<String>,
    #[serde(default)]
    map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

/// Steps of `for_each` run at most this often unless the plan says otherwise.
const ROUNDS_MAX: usize = 256;

impl Plan {
    /// Compiles a plan from its TOML.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let PlanText { kind, versions, cost, covers, napalm, step } = toml::from_str(text)?;
        let steps = step.into_iter().map(|step| step.compile(kind)).collect::<Result<_, _>>()?;
        Ok(Self { kind, versions, cost, covers, napalm, steps })
    }
}

impl Platform {
    /// Compiles what holds for a platform from its TOML.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct PlatformText {
            #[serde(default)]
            reject: Vec<RejectText>,
        }
        let PlatformText { reject } = toml::from_str(text)?;
        Ok(Self { reject: compile_rejects(reject)? })
    }
}

fn compile_rejects(rejects: Vec<RejectText>) -> Result<Vec<(Regex, Reaction)>, PlanError> {
    rejects.into_iter().map(|reject| Ok((Regex::new(&reject.pattern)?, reject.reaction))).collect()
}

fn compile_map(map: BTreeMap<String, String>) -> Result<Vec<(String, Expr)>, PlanError> {
    map.into_iter().map(|(name, text)| Ok((name, Expr::parse(&text)?))).collect()
}

impl StepText {
    fn compile(self, kind: Kind) -> Result<Step, PlanError> {
        Ok(Step {
            send: Command::parse(&self.send)?,
            recorded: self.recorded.iter().map(|text| Command::recorded(text)).collect::<Result<_, _>>()?,
            encoding: self.parse,
            for_each: self.for_each,
            order: self.order,
            max: self.max.unwrap_or(ROUNDS_MAX),
            when: self.when.as_deref().map(Expr::parse).transpose()?,
            unless: self.unless,
            optional: self.optional,
            root: self.root.as_deref().map(Path::parse).transpose()?,
            header: self.header.as_deref().map(Regex::new).transpose()?,
            reject: compile_rejects(self.reject)?,
            variables: compile_map(self.variables)?,
            rows: self.rows.into_iter().map(|rows| rows.compile(kind)).collect::<Result<_, _>>()?,
        })
    }
}

impl RowsText {
    fn compile(self, kind: Kind) -> Result<RowSet, PlanError> {
        let schema = Schema::of(kind);
        let unknown = |name: &&String| self.into.is_none() && schema.field(name).is_none();
        if let Some(field) = self.map.keys().chain(&self.on).find(unknown) {
            return Err(PlanError::Field { kind, field: field.clone() });
        }
        let at = match self.at {
            None => Vec::new(),
            Some(Paths::One(path)) => vec![Path::parse(&path)?],
            Some(Paths::Many(paths)) => {
                paths.iter().map(|path| Path::parse(path)).collect::<Result<_, _>>()?
            }
        };
        Ok(RowSet {
            at,
            template: self.template.as_deref().map(Template::parse).transpose()?,
            keep: self.keep.iter().map(|text| Expr::parse(text)).collect::<Result<_, _>>()?,
            on: self.on,
            into: self.into,
            from: self.from,
            fill: self.fill,
            map: compile_map(self.map)?,
        })
    }
}
