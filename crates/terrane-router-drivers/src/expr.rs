//! Expressions of the knowledge base: where a field's value comes from and which named converters it passes.
//!
//! ```text
//! expression = chain { "??" chain }          the first that is not null
//! chain      = source { "|" converter }
//! converter  = name [ "(" expression { "," expression } ")" ]
//! source     = path | "text" | number | $name | converter
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use crate::convert::{self, Converter};
use crate::path::{Path, Place};

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expr(Vec<Chain>);

#[derive(Clone, Debug)]
struct Chain {
    source: Source,
    calls: Vec<Call>,
}

#[derive(Clone, Debug)]
enum Source {
    Path(Path),
    Constant(Value),
    Variable(String),
    Call(Call),
}

#[derive(Clone, Debug)]
struct Call {
    converter: Converter,
    arguments: Vec<Expr>,
}

/// An expression that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("expression `{text}`: {what}")]
pub struct ExprError {
    text: String,
    what: String,
}

/// Raw rows that a plan keeps besides its result, by table.
pub type Tables = BTreeMap<String, Vec<BTreeMap<String, Value>>>;

/// What an expression may look at.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Where paths begin.
    pub place: Place<'a>,
    /// Arguments of the query, columns of the row of `for_each`.
    pub variables: &'a BTreeMap<String, Value>,
    /// What earlier steps put aside.
    pub tables: &'a Tables,
}

impl Expr {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let mut parser = Parser { rest: text };
        let expr = parser.expression().and_then(|expr| match parser.peek() {
            None => Ok(expr),
            Some(_) => Err(format!("`{}` is left over", parser.rest)),
        });
        expr.map_err(|what| ExprError { text: text.into(), what })
    }

    /// The value; null if there is none.
    pub fn value(&self, scope: &Scope<'_>) -> Value {
        self.0.iter().map(|chain| chain.value(scope)).find(|value| !value.is_null()).unwrap_or(Value::Null)
    }

    /// Whether the value is neither null, nor false, nor empty.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        convert::truth(&self.value(scope))
    }
}

impl Chain {
    fn value(&self, scope: &Scope<'_>) -> Value {
        let value = match &self.source {
            Source::Path(path) => at(path, scope),
            Source::Constant(value) => value.clone(),
            Source::Variable(name) => match scope.place.bound.get(name) {
                Some(bound) => Value::String(bound.clone()),
                None => scope.variables.get(name).cloned().unwrap_or(Value::Null),
            },
            Source::Call(call) => call.apply(Value::Null, scope),
        };
        self.calls.iter().fold(value, |value, call| call.apply(value, scope))
    }
}

impl Call {
    fn apply(&self, value: Value, scope: &Scope<'_>) -> Value {
        let arguments: Vec<Value> = self.arguments.iter().map(|argument| argument.value(scope)).collect();
        self.converter.apply(value, &arguments, scope.tables)
    }
}

fn at(path: &Path, scope: &Scope<'_>) -> Value {
    if let Some(names) = path.names(&scope.place) {
        return Value::Array(names.into_iter().map(Value::String).collect());
    }
    let places = path.places(&scope.place);
    let mut values = places.iter().filter_map(|place| match place.node() {
        crate::Node::Null => None,
        node => Some(Value::String(node.text().unwrap_or_default().to_owned())),
    });
    match (values.next(), values.next()) {
        (None, _) => Value::Null,
        (Some(only), None) => only,
        (Some(first), Some(second)) => [first, second].into_iter().chain(values).collect(),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expression(&mut self) -> Result<Expr, String> {
        let mut chains = vec![self.chain()?];
        while self.take("??") {
            chains.push(self.chain()?);
        }
        Ok(Expr(chains))
    }

    fn chain(&mut self) -> Result<Chain, String> {
        let source = self.source()?;
        let mut calls = Vec::new();
        while self.take("|") {
            let name = self.word();
            calls.push(self.call(name)?);
        }
        Ok(Chain { source, calls })
    }

    fn source(&mut self) -> Result<Source, String> {
        match self.peek() {
            None => Err("ends where a value should be".into()),
            Some('"') => Ok(Source::Constant(Value::String(self.quoted()?))),
            Some('$') => {
                self.take("$");
                Ok(Source::Variable(self.word().to_owned()))
            }
            Some(_) => {
                let word = self.word();
                if self.rest.starts_with('(') {
                    return Ok(Source::Call(self.call(word)?));
                }
                if let Ok(number) = word.parse::<serde_json::Number>() {
                    return Ok(Source::Constant(Value::Number(number)));
                }
                match word {
                    "true" | "false" => Ok(Source::Constant(Value::Bool(word == "true"))),
                    _ => Path::parse(word).map(Source::Path).map_err(|error| error.to_string()),
                }
            }
        }
    }

    fn word(&mut self) -> &'a str {
        self.peek();
        let mut in_condition = false;
        let ends = |c: char| {
            in_condition = (in_condition || c == '[') && c != ']';
            !in_condition && (c.is_whitespace() || "|,()?\"".contains(c))
        };
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.take("\"");
        let end = self.rest.find('"').ok_or("a text without its closing quote")?;
        let text = self.rest[..end].to_owned();
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn call(&mut self, name: &str) -> Result<Call, String> {
        let mut arguments = Vec::new();
        if self.take("(") {
            while !self.take(")") {
                arguments.push(self.expression()?);
                if !self.take(",") && self.peek() != Some(')') {
                    return Err(format!("`{name}(` is not closed"));
                }
            }
        }
        let constants: Vec<Option<&Value>> = arguments.iter().map(Expr::constant).collect();
        let converter = Converter::named(name, &constants)?;
        Ok(Call { converter, arguments })
    }
}

impl Expr {
    fn constant(&self) -> Option<&Value> {
        match self.0.as_slice() {
            [Chain { source: Source::Constant(value), calls }] if calls.is_empty() => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    fn value(text: &str) -> Value {
        let node = Node::from_json(br#"{"a":"5","list":[1,2],"n":null,"o":{"k":1}}"#).unwrap();
        let (variables, tables) = (BTreeMap::from([("v".to_owned(), Value::from(7))]), Tables::new());
        let scope = Scope { place: Place::root(&node), variables: &variables, tables: &tables };
        Expr::parse(text).unwrap().value(&scope)
    }

    #[test]
    fn sources_and_alternatives() {
        assert_eq!(value("a"), Value::from("5"));
        assert_eq!(value("n ?? \"none\""), Value::from("none"));
        assert_eq!(value("$v"), Value::from(7));
        assert_eq!(value("list"), serde_json::json!(["1", "2"]));
        assert_eq!(value("o/~"), serde_json::json!(["k"]));
        assert_eq!(value("a | is(\"5\", \"6\")"), Value::from(true));
        assert_eq!(value("add(a, $v)"), Value::Null);
        assert_eq!(value("a | add($v)"), Value::from(12.0));
    }

    #[test]
    fn faults_are_named() {
        for faulty in ["", "a |", "a | unheard_of", "\"x", "a b", "a | re(\"(\")"] {
            assert!(Expr::parse(faulty).is_err(), "{faulty}");
        }
    }
}
