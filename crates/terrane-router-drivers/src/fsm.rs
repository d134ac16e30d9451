//! The text engine: TextFSM templates (google/textfsm, the format's reference implementation).
//!
//! A template declares values and states; a state's rules are tried on each line in their order. Differences from the
//! reference: regular expressions are Rust's (linear time, no look-around), and a value that was never set is
//! absent from the record where the reference has an empty string.

use std::collections::BTreeMap;

use regex::Regex;

use crate::Node;

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    values: Vec<Declared>,
    states: BTreeMap<String, Vec<Rule>>,
}

#[derive(Debug)]
struct Declared {
    name: String,
    regex: String,
    filldown: bool,
    fillup: bool,
    required: bool,
    list: bool,
}

#[derive(Debug)]
struct Rule {
    regex: Regex,
    line: LineAction,
    record: RecordAction,
    state: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineAction {
    Next,
    Continue,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordAction {
    Nothing,
    Record,
    Clear,
    Clearall,
}

/// A template that does not compile: a fault of the knowledge base.
#[derive(Debug, thiserror::Error)]
#[error("template line {line}: {what}")]
pub struct TemplateError {
    line: usize,
    what: String,
}

/// Output that the template refuses.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A rule with `-> Error` matched.
    #[error("line {line} is not what this command prints: {text}")]
    Refused {
        /// Counted from 1.
        line: usize,
        /// The line, cut to 80 characters.
        text: String,
    },
}

impl Template {
    /// Compiles a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self { values: Vec::new(), states: BTreeMap::new() };
        let mut state: Option<String> = None;
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim_end();
            let fail = |what: String| TemplateError { line: index + 1, what };
            if line.is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            if let Some(declaration) = line.strip_prefix("Value ") {
                template.values.push(Declared::parse(declaration).map_err(fail)?);
            } else if line.starts_with(char::is_whitespace) {
                let rules = state
                    .as_ref()
                    .and_then(|name| template.states.get_mut(name))
                    .ok_or_else(|| fail("a rule before the first state".into()))?;
                rules.push(Rule::parse(line.trim(), &template.values).map_err(fail)?);
            } else {
                template.states.insert(line.to_owned(), Vec::new());
                state = Some(line.to_owned());
            }
        }
        let fail = |what: String| TemplateError { line: 0, what };
        if !template.states.contains_key("Start") {
            return Err(fail("no state Start".into()));
        }
        for state in template.states.values().flatten().filter_map(|rule| rule.state.as_ref()) {
            if !template.states.contains_key(state) && state != "End" && state != "EOF" {
                return Err(fail(format!("no state {state}")));
            }
        }
        Ok(template)
    }

    /// Names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| value.name.as_str())
    }

    /// Runs the template over what a device printed.
    pub fn run(&self, text: &str) -> Result<Vec<Node>, TextError> {
        let mut run =
            Run { template: self, current: vec![Vec::new(); self.values.len()], records: Vec::new() };
        let mut state = "Start";
        for (index, line) in text.lines().enumerate() {
            for rule in self.states.get(state).into_iter().flatten() {
                let Some(found) = rule.regex.captures(line) else { continue };
                for (index, value) in self.values.iter().enumerate() {
                    if let Some(text) = found.name(&value.name) {
                        run.set(index, text.as_str());
                    }
                }
                match rule.record {
                    RecordAction::Nothing => {}
                    RecordAction::Record => run.record(),
                    RecordAction::Clear => run.clear(false),
                    RecordAction::Clearall => run.clear(true),
                }
                match rule.line {
                    LineAction::Continue => continue,
                    LineAction::Error => {
                        let text = line.chars().take(80).collect();
                        return Err(TextError::Refused { line: index + 1, text });
                    }
                    LineAction::Next => {}
                }
                if let Some(next) = &rule.state {
                    state = next;
                }
                break;
            }
            if state == "End" || state == "EOF" {
                break;
            }
        }
        if state != "End" && !self.states.contains_key("EOF") {
            run.record();
        }
        Ok(run.records.into_iter().map(Node::record).collect())
    }
}

impl Declared {
    fn parse(text: &str) -> Result<Self, String> {
        let (head, regex) = text.split_once('(').ok_or("a value without (regex)")?;
        let regex = regex.strip_suffix(')').ok_or("a value's regex ends with `)`")?;
        let mut words: Vec<&str> = head.split_whitespace().collect();
        let name = words.pop().ok_or("a value without a name")?.to_owned();
        let mut value =
            Self { name, regex: regex.into(), filldown: false, fillup: false, required: false, list: false };
        for option in words.iter().flat_map(|word| word.split(',')) {
            match option {
                "Filldown" => value.filldown = true,
                "Fillup" => value.fillup = true,
                "Required" => value.required = true,
                "List" => value.list = true,
                "Key" => {}
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(value)
    }
}

impl Rule {
    fn parse(text: &str, values: &[Declared]) -> Result<Self, String> {
        let (regex, action) = match text.rsplit_once(" -> ") {
            Some((regex, action)) => (regex.trim_end(), action.trim()),
            None => (text, ""),
        };
        if !regex.starts_with('^') {
            return Err("a rule begins with ^".into());
        }
        let mut expanded = regex.to_owned();
        for value in values {
            let group = format!("(?P<{}>{})", value.name, value.regex);
            expanded = expanded.replace(&format!("${{{}}}", value.name), &group);
        }
        if expanded.contains("${") {
            return Err(format!("an undeclared value in {regex}"));
        }
        let regex = Regex::new(&expanded.replace("$$", "$")).map_err(|error| error.to_string())?;
        let mut rule = Self { regex, line: LineAction::Next, record: RecordAction::Nothing, state: None };
        for (index, word) in action.split_whitespace().enumerate() {
            if index == 1 || !rule.action(word) {
                rule.state = Some(word.to_owned());
            }
        }
        if rule.line == LineAction::Continue && rule.state.is_some() {
            return Err("Continue cannot change the state".into());
        }
        Ok(rule)
    }

    /// Takes `Continue.Record` and the like; false if the word names a state.
    fn action(&mut self, word: &str) -> bool {
        for part in word.split('.') {
            match part {
                "Next" => self.line = LineAction::Next,
                "Continue" => self.line = LineAction::Continue,
                "Error" => self.line = LineAction::Error,
                "Record" => self.record = RecordAction::Record,
                "NoRecord" => self.record = RecordAction::Nothing,
                "Clear" => self.record = RecordAction::Clear,
                "Clearall" => self.record = RecordAction::Clearall,
                _ => return false,
            }
        }
        true
    }
}

struct Run<'a> {
    template: &'a Template,
    /// Per value: nothing, its text, or the items of a list.
    current: Vec<Vec<String>>,
    records: Vec<BTreeMap<String, Node>>,
}

impl Run<'_> {
    fn set(&mut self, index: usize, text: &str) {
        let value = &self.template.values[index];
        if !value.list {
            self.current[index].clear();
        }
        self.current[index].push(text.to_owned());
        if value.fillup && !text.is_empty() {
            for record in self.records.iter_mut().rev() {
                if record.contains_key(&value.name) {
                    break;
                }
                record.insert(value.name.clone(), Node::Text(text.to_owned()));
            }
        }
    }

    fn record(&mut self) {
        let values = &self.template.values;
        let complete = values
            .iter()
            .zip(&self.current)
            .all(|(value, held)| !value.required || held.iter().any(|text| !text.is_empty()));
        let fresh = values.iter().zip(&self.current).any(|(value, held)| !held.is_empty() && !value.filldown);
        if complete && (fresh || values.iter().any(|value| value.required)) {
            let columns = values.iter().zip(&self.current).filter(|(_, held)| !held.is_empty());
            self.records.push(
                columns
                    .map(|(value, held)| {
                        let node = if value.list {
                            Node::List(held.iter().cloned().map(Node::Text).collect())
                        } else {
                            Node::Text(held.last().cloned().unwrap_or_default())
                        };
                        (value.name.clone(), node)
                    })
                    .collect(),
            );
        }
        self.clear(false);
    }

    fn clear(&mut self, all: bool) {
        for (value, held) in self.template.values.iter().zip(&mut self.current) {
            if all || !value.filldown {
                held.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "\
Value Filldown VRF (\\S+)
Value Required NAME (\\S+)
Value List ADDRESS (\\S+)

Start
  ^vrf ${VRF}$$
  ^name -> Continue.Record
  ^name ${NAME}
  ^ +at ${ADDRESS}
  ^bad -> Error
";

    #[test]
    fn values_fill_down_and_lists_collect() {
        let template = Template::parse(TEMPLATE).unwrap();
        let records = template.run("vrf red\nname a\n at 1\n at 2\nname b\n").unwrap();
        assert_eq!(records.len(), 2);
        let text = |text: &str| Node::Text(text.into());
        assert_eq!(
            records[0],
            Node::Map(vec![
                ("ADDRESS".into(), Node::List(vec![text("1"), text("2")])),
                ("NAME".into(), text("a")),
                ("VRF".into(), text("red")),
            ])
        );
        assert!(matches!(template.run("bad"), Err(TextError::Refused { line: 1, .. })));
        assert_eq!(template.columns().collect::<Vec<_>>(), ["VRF", "NAME", "ADDRESS"]);
    }

    #[test]
    fn faulty_templates_are_named() {
        for faulty in
            ["Value X \\S+\n\nStart\n", "Value X (\\S+)\n", "Start\n  ^${Y}\n", "Start\n  ^a -> Nowhere\n"]
        {
            assert!(Template::parse(faulty).is_err(), "{faulty}");
        }
    }
}
