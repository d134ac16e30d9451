//! What differs between routers, as data.
//!
//! A [`KnowledgeBase`] holds [`Plan`]s: per platform and kind, the commands to send and how to read what comes back.
//! Three engines read output: TextFSM templates ([`Template`]) for text, paths ([`Path`]) for JSON and for XML; all
//! yield a [`Node`] tree, from which expressions ([`Expr`]) with named converters make rows of one schema per kind.
//! [`run`] executes a plan against a [`Source`] of outputs: a device, or a directory of recorded output ([`Recorded`]).
//!
//! No code here knows a kind or a platform; commands are held to a read-only grammar ([`Command`]).

mod convert;
mod expr;
mod fsm;
mod grammar;
mod knowledge;
mod names;
mod node;
mod path;
mod plan;
mod recorded;
mod run;
mod translate;
mod units;

pub use expr::{Expr, ExprError, Scope, Tables};
pub use fsm::{Template, TemplateError, TextError};
pub use grammar::{Command, GrammarError};
pub use knowledge::{KnowledgeBase, KnowledgeError};
pub use node::{Node, NodeError};
pub use path::{Path, PathError, Place};
pub use plan::{Cost, Encoding, Plan, PlanError, Platform, Reaction};
pub use recorded::Recorded;
pub use run::{Answer, RunError, Source, Variables, run};
pub use translate::{TranslateError, translate};
