//! Templates: what steps there are, in which order, and what may be done about a failure. Data, no code.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Most steps of a template.
pub const STEPS_MAX: usize = 256;
/// Longest name of a template, step, action or parameter, and longest value of a parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest value of a parameter in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most failures that a step may be forgiven.
pub const FAILURES_MAX: u32 = 1000;

/// The rule of forward-only steps, in words.
///
/// There is at most one first forward-only step, the *pivot*. Whatever can be undone comes before it,
/// whatever comes after it is forward-only too. So "may this run still be undone?" has one answer at any
/// time: whether the pivot was started.
pub const PIVOT_RULE: &str = "a step that is not forward-only must come before every forward-only step, \
                              and the first of those before all others";

/// A versioned DAG of steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What it is for, such as `volume-migrate`.
    pub name: String,
    /// Counts from 1; a published version never changes.
    pub version: u32,
    /// What a run must or may be given.
    #[serde(default)]
    pub params: Vec<Param>,
    /// The steps, in any order.
    pub steps: Vec<Step>,
}

/// A parameter of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value if a run gives none; without it a run must.
    #[serde(default)]
    pub default: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the template; `run/step` is the key under which its action is idempotent.
    pub id: String,
    /// The name of its [`Action`](crate::Action).
    pub action: String,
    /// Steps that must be done before.
    #[serde(default)]
    pub after: Vec<String>,
    /// What takes it back.
    pub undo: Undo,
    /// How failures are met.
    #[serde(default)]
    pub retry: Retry,
    /// Arguments of its action, in addition to (and before) the run's parameters.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
}

/// How a step is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// By [`Action::undo`](crate::Action::undo), also if the step was started and did not end.
    Action,
    /// It changes nothing: there is nothing to undo.
    Nothing,
    /// Not at all. See [`PIVOT_RULE`].
    ForwardOnly,
}

/// How often and how soon a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Transient failures that are forgiven; one more fails the step.
    pub failures_max: u32,
    /// Pause after the first failure, in milliseconds; doubled after each.
    pub first_ms: u64,
    /// Longest pause in milliseconds.
    pub longest_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { failures_max: 10, first_ms: 100, longest_ms: 30_000 }
    }
}

impl Retry {
    /// The pause after so many failures, in milliseconds.
    pub fn pause_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms)
    }
}

/// Why a template is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name is empty, too long or has other characters than `a-z`, `0-9`, `-`, `_`, `.`.
    #[error("{0:?} is not a name")]
    Name(String),
    /// A value is too long.
    #[error("the value of {0:?} is too long")]
    Value(String),
    /// Versions count from 1.
    #[error("version 0")]
    Version,
    /// No step, or too many.
    #[error("{0} steps; 1 to {STEPS_MAX} are possible")]
    Steps(usize),
    /// Two steps or two parameters of one name.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// A step comes after one that is not there.
    #[error("step {step:?} comes after {after:?}, which is not a step")]
    Unknown {
        /// The step.
        step: String,
        /// What it names.
        after: String,
    },
    /// Steps wait for each other.
    #[error("step {0:?} comes after itself")]
    Cycle(String),
    /// A retry rule is out of bounds.
    #[error("step {0:?}: at most {FAILURES_MAX} failures can be forgiven")]
    Retry(String),
    /// Forward-only steps are in the wrong place.
    #[error("steps {0:?} and {1:?}: {PIVOT_RULE}")]
    Pivot(String, String),
}

/// A template that was checked, with its order worked out. Steps are numbered as in the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    template: Template,
    /// For each step the steps right before it.
    before: Vec<Vec<usize>>,
    /// For each step all steps before it, near and far.
    ancestors: Vec<BTreeSet<usize>>,
    pivot: Option<usize>,
}

impl Plan {
    /// Checks a template.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(template: Template) -> Result<Self, TemplateError> {
        check_names(&template)?;
        let number = |id: &str| template.steps.iter().position(|step| step.id == id);
        let mut before = Vec::with_capacity(template.steps.len());
        for step in &template.steps {
            let mut found = BTreeSet::new();
            for after in &step.after {
                let unknown = || TemplateError::Unknown { step: step.id.clone(), after: after.clone() };
                found.insert(number(after).ok_or_else(unknown)?);
            }
            before.push(found.into_iter().collect::<Vec<_>>());
        }
        let ancestors = ancestors(&template, &before)?;
        let pivot = pivot(&template, &ancestors)?;
        Ok(Self { template, before, ancestors, pivot })
    }

    /// The template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.template.steps
    }

    /// The numbers of the steps right before a step.
    pub fn before(&self, step: usize) -> &[usize] {
        &self.before[step]
    }

    /// Whether `earlier` is done before `step` starts.
    pub fn comes_before(&self, earlier: usize, step: usize) -> bool {
        self.ancestors[step].contains(&earlier)
    }

    /// Whether of any two steps one comes before the other.
    pub fn is_chain(&self) -> bool {
        let steps = 0..self.steps().len();
        let ordered = |a: usize, b: usize| a == b || self.comes_before(a, b) || self.comes_before(b, a);
        steps.clone().all(|a| steps.clone().all(|b| ordered(a, b)))
    }

    /// The first forward-only step. See [`PIVOT_RULE`].
    pub fn pivot(&self) -> Option<usize> {
        self.pivot
    }

    /// The parameters of a run: those given, and defaults for the others.
    ///
    /// # Errors
    /// The name of a parameter and what is wrong with it.
    pub fn params(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, (String, &'static str)> {
        for (name, value) in given {
            if !self.template.params.iter().any(|param| param.name == *name) {
                return Err((name.clone(), "the template has none of this name"));
            }
            if value.len() > VALUE_BYTES_MAX {
                return Err((name.clone(), "the value is too long"));
            }
        }
        let value = |param: &Param| {
            let value = given.get(&param.name).or(param.default.as_ref()).cloned();
            value.map(|value| (param.name.clone(), value)).ok_or((param.name.clone(), "it is missing"))
        };
        self.template.params.iter().map(value).collect()
    }
}

fn check_names(template: &Template) -> Result<(), TemplateError> {
    if template.version == 0 {
        return Err(TemplateError::Version);
    }
    if !(1..=STEPS_MAX).contains(&template.steps.len()) {
        return Err(TemplateError::Steps(template.steps.len()));
    }
    name(&template.name)?;
    let mut seen = BTreeSet::new();
    for param in &template.params {
        value(&param.name, param.default.as_deref().unwrap_or_default())?;
        if !seen.insert(&param.name) {
            return Err(TemplateError::Twice(param.name.clone()));
        }
    }
    let mut seen = BTreeSet::new();
    for step in &template.steps {
        name(&step.id)?;
        name(&step.action)?;
        for (key, text) in &step.with {
            value(key, text)?;
        }
        if !seen.insert(&step.id) {
            return Err(TemplateError::Twice(step.id.clone()));
        }
        if step.retry.failures_max > FAILURES_MAX {
            return Err(TemplateError::Retry(step.id.clone()));
        }
    }
    Ok(())
}

fn name(text: &str) -> Result<(), TemplateError> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let ok = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal);
    if ok { Ok(()) } else { Err(TemplateError::Name(text.chars().take(NAME_BYTES_MAX).collect())) }
}

fn value(key: &str, text: &str) -> Result<(), TemplateError> {
    name(key)?;
    if text.len() <= VALUE_BYTES_MAX { Ok(()) } else { Err(TemplateError::Value(key.into())) }
}

/// For each step all steps before it, near and far.
fn ancestors(template: &Template, before: &[Vec<usize>]) -> Result<Vec<BTreeSet<usize>>, TemplateError> {
    let mut known: Vec<Option<BTreeSet<usize>>> = vec![None; before.len()];
    // Each round settles at least one more step, unless the rest wait for each other.
    for _ in 0..before.len() {
        for step in 0..before.len() {
            let earlier: Option<Vec<_>> = before[step].iter().map(|near| known[*near].clone()).collect();
            if let Some(far) = earlier {
                let near = before[step].iter().copied();
                known[step] = Some(far.into_iter().flatten().chain(near).collect());
            }
        }
    }
    let cycle = |step: usize| TemplateError::Cycle(template.steps[step].id.clone());
    known.into_iter().enumerate().map(|(step, found)| found.ok_or_else(|| cycle(step))).collect()
}

/// The first forward-only step, if the template keeps [`PIVOT_RULE`].
fn pivot(template: &Template, ancestors: &[BTreeSet<usize>]) -> Result<Option<usize>, TemplateError> {
    let forward_only = |step: &usize| template.steps[*step].undo == Undo::ForwardOnly;
    let only: Vec<usize> = (0..ancestors.len()).filter(forward_only).collect();
    let Some(pivot) = only.iter().copied().min_by_key(|step| ancestors[*step].len()) else { return Ok(None) };
    for step in 0..ancestors.len() {
        let kept = if forward_only(&step) {
            step == pivot || ancestors[step].contains(&pivot)
        } else {
            only.iter().all(|later| ancestors[*later].contains(&step))
        };
        if !kept {
            let name = |step: usize| template.steps[step].id.clone();
            return Err(TemplateError::Pivot(name(pivot), name(step)));
        }
    }
    Ok(Some(pivot))
}

#[cfg(test)]
mod tests;
