//! Filters: all of them must match; one matches if any of its values does. Values know `*` and `?`, and a
//! backslash before these takes their meaning away.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::dto::Filter;
use crate::error::{Ec2Error, shortened};
use crate::operation::Operation;
use crate::service::Tags;

/// Values that the filters of one request may have together.
const VALUES_MAX: usize = 200;
/// Characters of a value; no tag is longer.
const CHARS_MAX: usize = 1024;
/// The filter for tags of one key.
const TAG: &str = "tag:";

/// What has attributes that filters can ask for.
pub(crate) trait Filtered {
    /// The values of a documented attribute, as text; none if the resource has no such thing.
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>>;

    /// Its tags, for `tag:KEY` and `tag-key`.
    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// The filters of a request, checked.
#[derive(Debug)]
pub(crate) struct Filters(Vec<Checked>);

#[derive(Debug)]
struct Checked {
    name: String,
    patterns: Vec<Pattern>,
}

impl Filters {
    /// Checks filters against the names that the operation's documentation lists.
    ///
    /// # Errors
    /// `InvalidParameterValue` (no such filter), `MissingParameter`, `FilterLimitExceeded`.
    pub(crate) fn of<O: Operation>(given: Vec<Filter>) -> Result<Self, Ec2Error> {
        let mut values = 0;
        let mut checked = Vec::with_capacity(given.len().min(VALUES_MAX));
        for (number, Filter { name, values: texts }) in (1..).zip(given) {
            let name = name.ok_or_else(|| Ec2Error::missing(format_args!("Filter.{number}.Name")))?;
            let known = |known: &str| match known.strip_suffix(':') {
                Some(_) => name.len() > known.len() && name.starts_with(known),
                None => name == *known,
            };
            if !O::FILTERS.iter().any(|filter| known(filter)) {
                return Err(Ec2Error::invalid(format!("The filter '{}' is invalid", shortened(&name))));
            }
            if texts.is_empty() {
                return Err(Ec2Error::missing(format_args!("Filter.{number}.Value")));
            }
            values += texts.len();
            if values > VALUES_MAX || texts.iter().any(|text| text.chars().count() > CHARS_MAX) {
                let text = format!(
                    "A request may have {VALUES_MAX} values of {CHARS_MAX} characters in its filters."
                );
                return Err(Ec2Error::new("FilterLimitExceeded", text));
            }
            checked.push(Checked { name, patterns: texts.iter().map(|text| Pattern::new(text)).collect() });
        }
        Ok(Self(checked))
    }

    /// Whether a resource passes all filters.
    pub(crate) fn pass(&self, resource: &impl Filtered) -> bool {
        self.0.iter().all(|filter| filter.passes(resource))
    }
}

impl Checked {
    fn passes(&self, resource: &impl Filtered) -> bool {
        let any = |value: &str| self.patterns.iter().any(|pattern| pattern.matches(value));
        match (resource.tags(), self.name.strip_prefix(TAG)) {
            (Some(tags), Some(key)) => tags.get(key).is_some_and(|value| any(value)),
            (Some(tags), None) if self.name == "tag-key" => tags.keys().any(|key| any(key)),
            _ => resource.attribute(&self.name).iter().any(|value| any(value)),
        }
    }
}

/// A value of a filter.
#[derive(Debug)]
struct Pattern(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Exactly(char),
    AnyOne,
    AnyMany,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let step = match c {
                '*' => Step::AnyMany,
                '?' => Step::AnyOne,
                '\\' => Step::Exactly(chars.next_if(|c| matches!(c, '*' | '?' | '\\')).unwrap_or('\\')),
                c => Step::Exactly(c),
            };
            if !(step == Step::AnyMany && steps.last() == Some(&Step::AnyMany)) {
                steps.push(step);
            }
        }
        Self(steps)
    }

    /// Greedy, with one point to go back to: the last `*`. At most length × length steps.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut step) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(step) {
                Some(Step::AnyMany) => {
                    back = Some((at, step));
                    step += 1;
                    continue;
                }
                Some(Step::AnyOne) => (at, step) = (at + 1, step + 1),
                Some(Step::Exactly(c)) if *c == text[at] => (at, step) = (at + 1, step + 1),
                _ => {
                    let Some((from, star)) = back else { return false };
                    back = Some((from + 1, star));
                    (at, step) = (from + 1, star + 1);
                }
            }
        }
        self.0[step..].iter().all(|step| *step == Step::AnyMany)
    }
}

/// A time as EC2 writes it: `2026-01-31T12:00:00.000Z`.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests;
