//! What can be sent to a router: a grammar over the *rendered* command. Pipes, redirects, separators and newlines are
//! not in it, and what a query brings along can only stand where a typed placeholder is, as a value of that type.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

/// Rendered commands are shorter than this.
const LENGTH_MAX: usize = 512;

/// The first word of what may be sent: commands that show, and the probes.
const VERBS: [&str; 6] = ["show", "display", "ping", "traceroute", "get", "monitor"];

/// A command with typed placeholders: `show ip bgp neighbors {peer:address}`.
#[derive(Clone, Debug)]
pub struct Command {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Placeholder { name: String, ty: PlaceholderType },
}

/// What may stand in a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceholderType {
    /// An IP address, with or without a zone.
    Address,
    /// An address and a length.
    Prefix,
    /// Decimal digits.
    Number,
    /// A name of an instance or interface.
    Name,
}

/// A command that the grammar does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GrammarError {
    /// The template is not a read-only command: a fault of the knowledge base.
    #[error("`{command}` is no read-only command: {what}")]
    NotReadOnly {
        /// The template.
        command: String,
        /// What is wrong with it.
        what: String,
    },
    /// A value is not of its placeholder's type.
    #[error("InvalidParameter: `{name}` cannot be {value:?}")]
    Value {
        /// The placeholder.
        name: String,
        /// The value.
        value: String,
    },
    /// A placeholder has no value.
    #[error("InvalidParameter: `{0}` is needed")]
    Missing(String),
}

/// A part of a command as it is looked for among recorded outputs: text, or the open value of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Open { name: String, ty: PlaceholderType },
}

impl Command {
    /// Parses a template and holds it to the grammar.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let fail = |what: &str| GrammarError::NotReadOnly { command: text.into(), what: what.into() };
        let command = Self { pieces: pieces(text).map_err(|what| fail(&what))? };
        let verb = match command.pieces.first() {
            Some(Piece::Literal(literal)) => literal.split(' ').next().unwrap_or_default(),
            _ => return Err(fail("begins with a placeholder")),
        };
        // A remote procedure call or a subtree is named by one hyphenated word; the transport only ever gets it.
        let is_get = verb.starts_with("get-") || verb.contains("-oper:") || verb.starts_with("config:");
        if !VERBS.contains(&verb) && !is_get {
            return Err(fail("does not begin with a verb that reads"));
        }
        Ok(command)
    }

    /// Parses what was recorded under a name that this grammar would not send. For looking up, never for sending.
    pub(crate) fn recorded(text: &str) -> Result<Self, GrammarError> {
        let fail = |what: String| GrammarError::NotReadOnly { command: text.into(), what };
        pieces_of(text, |_| true).map(|pieces| Self { pieces }).map_err(fail)
    }

    /// The command with its values.
    pub fn render(&self, variables: &BTreeMap<String, Value>) -> Result<String, GrammarError> {
        let mut rendered = String::new();
        for part in self.parts(variables)? {
            match part {
                Part::Text(text) => rendered.push_str(&text),
                Part::Open { name, .. } => return Err(GrammarError::Missing(name)),
            }
        }
        Ok(rendered)
    }

    /// The command with those values that are known.
    pub(crate) fn parts(&self, variables: &BTreeMap<String, Value>) -> Result<Vec<Part>, GrammarError> {
        let mut parts = Vec::new();
        for piece in &self.pieces {
            parts.push(match piece {
                Piece::Literal(text) => Part::Text(text.clone()),
                Piece::Placeholder { name, ty } => match variables.get(name) {
                    None | Some(Value::Null) => Part::Open { name: name.clone(), ty: *ty },
                    Some(value) => {
                        let text = match value {
                            Value::String(text) => text.clone(),
                            other => other.to_string(),
                        };
                        if !ty.admits(&text) {
                            return Err(GrammarError::Value { name: name.clone(), value: text });
                        }
                        Part::Text(text)
                    }
                },
            });
        }
        Ok(parts)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    pieces_of(text, |c| c.is_ascii_alphanumeric() || " -_./:".contains(c))
}

fn pieces_of(text: &str, allowed: impl Fn(char) -> bool) -> Result<Vec<Piece>, String> {
    if text.len() > LENGTH_MAX || text.is_empty() {
        return Err(format!("1 to {LENGTH_MAX} bytes"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
        if let Some(c) = literal.chars().find(|c| !allowed(*c)) {
            return Err(format!("{c:?} cannot be expressed"));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        if literal.len() == rest.len() {
            break;
        }
        let (inner, after) = after.split_once('}').ok_or("`{` without `}`")?;
        let (name, ty) = inner.split_once(':').ok_or("a placeholder is {name:type}")?;
        let ty = match ty {
            "address" => PlaceholderType::Address,
            "prefix" => PlaceholderType::Prefix,
            "number" => PlaceholderType::Number,
            "name" => PlaceholderType::Name,
            other => return Err(format!("unknown type of placeholder `{other}`")),
        };
        pieces.push(Piece::Placeholder { name: name.to_owned(), ty });
        rest = after;
    }
    Ok(pieces)
}

impl PlaceholderType {
    fn admits(self, text: &str) -> bool {
        let name = |text: &str| {
            let signs = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
            !text.is_empty() && text.len() <= 64 && !text.starts_with('-') && text.chars().all(signs)
        };
        let address = |text: &str| match text.split_once('%') {
            Some((address, zone)) => address.parse::<IpAddr>().is_ok() && name(zone),
            None => text.parse::<IpAddr>().is_ok(),
        };
        match self {
            Self::Address => address(text),
            Self::Prefix => match text.split_once('/') {
                Some((network, length)) => address(network) && Self::Number.admits(length),
                None => address(text),
            },
            Self::Number => !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit()),
            Self::Name => name(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_writes_or_chains_cannot_be_expressed() {
        for command in [
            "configure terminal",
            "show version | include x",
            "show version > flash:x",
            "show version; reload",
            "show version\nreload",
            "{x:name} version",
            "show {x}",
            "show {x:regex}",
            "clear bgp",
            "",
        ] {
            assert!(Command::parse(command).is_err(), "{command:?}");
        }
        assert!(Command::parse("show ip bgp neighbors {peer:address}").is_ok());
    }

    proptest! {
        #[test]
        fn no_value_adds_a_word_or_a_sign(value in ".{0,70}") {
            for ty in ["address", "prefix", "number", "name"] {
                let command = Command::parse(&format!("show x {{v:{ty}}} end")).unwrap();
                let variables = BTreeMap::from([("v".to_owned(), Value::from(value.clone()))]);
                if let Ok(rendered) = command.render(&variables) {
                    prop_assert_eq!(rendered.split_whitespace().count(), 4);
                    prop_assert!(!rendered.contains(['|', '>', '<', ';', '&', '\n', '\r', '`', '$', '?', '\0']));
                }
            }
        }
    }
}
