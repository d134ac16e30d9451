//! The named converters of the knowledge base. Each turns one value into another; what it cannot read becomes null,
//! which the schema takes for "the router did not say". Converters of scalars apply to every item of a list.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde_json::Value;

use crate::expr::Tables;
use crate::units;

/// A converter by its name, with what can be prepared of its arguments.
#[derive(Clone)]
pub(crate) struct Converter {
    name: &'static str,
    apply: Apply,
    regex: Option<Regex>,
}

#[derive(Clone, Copy)]
enum Apply {
    /// One text to one value.
    Text(fn(&str) -> Value),
    /// One scalar and the arguments.
    Scalar(fn(&Value, &[Value]) -> Value),
    /// The first group of the regular expression that is the first argument.
    Regex(fn(&Regex, &str, &[Value]) -> Value),
    /// The whole value, list or not.
    Whole(fn(Value, &[Value]) -> Value),
    /// The whole value and the tables of the plan.
    Table(fn(&Value, &[Value], &Tables) -> Value),
}

/// Every converter. Sorted by name.
const CONVERTERS: &[(&str, Apply)] = &[
    ("abs", Apply::Scalar(|v, _| number(v).map_or(Value::Null, |n| real(n.abs())))),
    ("add", Apply::Scalar(|v, a| arithmetic(v, a, |x, y| x + y))),
    ("as_number", Apply::Text(|t| units::as_number(t).map_or(Value::Null, Value::from))),
    ("capability", Apply::Text(|t| units::capability(t).map_or_else(|| Value::from(t), Value::from))),
    ("column", Apply::Table(column)),
    ("compact", Apply::Whole(|v, _| list(v).into_iter().filter(truth).collect())),
    ("concat", Apply::Scalar(concat)),
    ("count", Apply::Whole(|v, _| Value::from(list(v).len()))),
    ("div", Apply::Scalar(|v, a| arithmetic(v, a, |x, y| if y == 0.0 { f64::NAN } else { x / y }))),
    ("duration", Apply::Text(|t| units::duration(t).map_or(Value::Null, real))),
    ("equals", Apply::Whole(|v, a| Value::from(a.first().is_some_and(|other| *other == v)))),
    ("exists", Apply::Whole(|v, _| Value::from(!v.is_null()))),
    ("first", Apply::Whole(|v, _| list(v).into_iter().next().unwrap_or(Value::Null))),
    ("greater", Apply::Scalar(|v, a| compare(v, a).map_or(Value::Null, |(x, y)| Value::from(x > y)))),
    ("int", Apply::Scalar(|v, _| number(v).map_or(Value::Null, |n| real(n.trunc())))),
    ("interface", Apply::Text(|t| Value::from(crate::names::long(t)))),
    ("is", Apply::Scalar(|v, a| Value::from(a.iter().any(|x| text(x) == text(v) && text(v).is_some())))),
    ("join", Apply::Whole(join)),
    ("last", Apply::Whole(|v, _| list(v).into_iter().next_back().unwrap_or(Value::Null))),
    ("lookup", Apply::Table(lookup)),
    ("lower", Apply::Text(|t| Value::from(t.to_lowercase()))),
    ("mac", Apply::Text(|t| terrane_router_model::Type::Mac.read(&Value::from(t)).unwrap_or(Value::Null))),
    ("map", Apply::Scalar(map)),
    ("mask", Apply::Text(|t| units::mask(t).map_or(Value::Null, Value::from))),
    ("matches", Apply::Regex(|regex, t, _| Value::from(regex.is_match(t)))),
    ("max", Apply::Whole(|v, _| extreme(v, f64::max))),
    ("mbps", Apply::Text(|t| units::mbps(t).map_or(Value::Null, real))),
    ("megabytes", Apply::Text(|t| units::bytes(t).map_or(Value::Null, |n| real(n / 1_048_576.0)))),
    ("min", Apply::Whole(|v, _| extreme(v, f64::min))),
    ("mul", Apply::Scalar(|v, a| arithmetic(v, a, |x, y| x * y))),
    ("netmask", Apply::Text(|t| units::prefix_length(t).map_or(Value::Null, Value::from))),
    ("nonempty", Apply::Text(|t| if t.trim().is_empty() { Value::Null } else { Value::from(t) })),
    ("not", Apply::Whole(|v, _| Value::from(!truth(&v)))),
    (
        "not_in",
        Apply::Scalar(|v, a| if a.iter().any(|x| text(x) == text(v)) { Value::Null } else { v.clone() }),
    ),
    ("nth", Apply::Whole(nth)),
    ("number", Apply::Scalar(|v, _| number(v).map_or(Value::Null, real))),
    ("octets", Apply::Text(|t| units::bytes(t).map_or(Value::Null, real))),
    ("one_line", Apply::Text(|t| Value::from(t.split_whitespace().collect::<Vec<_>>().join(" ")))),
    (
        "ports",
        Apply::Whole(|v, _| {
            list(v).iter().filter_map(text).flat_map(|t| crate::names::ports(&t)).map(Value::from).collect()
        }),
    ),
    (
        "probes",
        Apply::Scalar(|v, a| match text(v) {
            Some(t) => units::probes(&t, a.is_empty()).into_iter().map(Value::from).collect(),
            None => Value::Null,
        }),
    ),
    ("re", Apply::Regex(group)),
    (
        "replace",
        Apply::Regex(|regex, t, a| {
            Value::from(regex.replace_all(t, a.get(1).and_then(Value::as_str).unwrap_or("")).into_owned())
        }),
    ),
    ("round", Apply::Scalar(round)),
    ("sort", Apply::Whole(|v, _| natural_sort(list(v)))),
    ("split", Apply::Whole(split)),
    ("sub", Apply::Scalar(|v, a| arithmetic(v, a, |x, y| x - y))),
    ("sum", Apply::Whole(|v, _| if v.is_null() { v } else { real(list(v).iter().filter_map(number).sum()) })),
    ("text", Apply::Scalar(|v, _| text(v).map_or(Value::Null, Value::from))),
    ("timestamp", Apply::Text(|t| units::timestamp(t).map_or(Value::Null, real))),
    ("title", Apply::Text(title)),
    ("trim", Apply::Text(|t| Value::from(t.trim()))),
    ("unique", Apply::Whole(unique)),
    ("upper", Apply::Text(|t| Value::from(t.to_uppercase()))),
];

impl Converter {
    /// Finds a converter and prepares its regular expression, if it takes one.
    pub(crate) fn named(name: &str, arguments: &[Option<&Value>]) -> Result<Self, String> {
        let (name, apply) =
            CONVERTERS.iter().find(|(known, _)| *known == name).ok_or(format!("no converter `{name}`"))?;
        let regex = match apply {
            Apply::Regex(_) => {
                let pattern = arguments.first().copied().flatten().and_then(Value::as_str);
                let pattern = pattern.ok_or(format!("`{name}` needs a constant regular expression"))?;
                Some(Regex::new(pattern).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        Ok(Self { name, apply: *apply, regex })
    }

    pub(crate) fn apply(&self, value: Value, arguments: &[Value], tables: &Tables) -> Value {
        match self.apply {
            Apply::Text(f) => each(value, |v| text(v).map_or(Value::Null, |t| f(&t))),
            Apply::Scalar(f) => each(value, |v| if v.is_null() { Value::Null } else { f(v, arguments) }),
            Apply::Regex(f) => each(value, |v| match (&self.regex, text(v)) {
                (Some(regex), Some(t)) => f(regex, &t, arguments),
                _ => Value::Null,
            }),
            Apply::Whole(f) => f(value, arguments),
            Apply::Table(f) => f(&value, arguments, tables),
        }
    }
}

impl fmt::Debug for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Neither null, nor false, nor empty.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "false",
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn each(value: Value, f: impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(f).filter(|item| !item.is_null()).collect(),
        other => f(&other),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => units::number(text),
        _ => None,
    }
}

fn real(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        other => vec![other],
    }
}

fn arithmetic(value: &Value, arguments: &[Value], f: impl Fn(f64, f64) -> f64) -> Value {
    compare(value, arguments).map_or(Value::Null, |(x, y)| real(f(x, y)))
}

fn compare(value: &Value, arguments: &[Value]) -> Option<(f64, f64)> {
    Some((number(value)?, number(arguments.first()?)?))
}

fn concat(value: &Value, arguments: &[Value]) -> Value {
    let parts: Option<String> = std::iter::once(value).chain(arguments).map(text).collect();
    parts.map_or(Value::Null, Value::from)
}

fn extreme(value: Value, f: fn(f64, f64) -> f64) -> Value {
    list(value).iter().filter_map(number).reduce(f).map_or(Value::Null, real)
}

fn group(regex: &Regex, text: &str, _: &[Value]) -> Value {
    let found = regex.captures(text).and_then(|found| found.get(1).or_else(|| found.get(0)));
    found.map_or(Value::Null, |group| Value::from(group.as_str()))
}

fn join(value: Value, arguments: &[Value]) -> Value {
    if value.is_null() {
        return value;
    }
    let parts: Vec<String> = list(value).iter().filter_map(text).collect();
    Value::from(parts.join(arguments.first().and_then(Value::as_str).unwrap_or("")))
}

/// `map("from=to", …, "*=otherwise")`. Without `*`, what is not listed becomes null.
fn map(value: &Value, arguments: &[Value]) -> Value {
    let Some(value) = text(value) else { return Value::Null };
    let pairs = arguments.iter().filter_map(Value::as_str).filter_map(|pair| pair.split_once('='));
    let mut pairs = pairs.filter(|(from, _)| *from == value || *from == "*");
    pairs.next().map_or(Value::Null, |(_, to)| Value::from(to))
}

fn nth(value: Value, arguments: &[Value]) -> Value {
    let index = arguments.first().and_then(number).unwrap_or(0.0);
    list(value).into_iter().nth(index as usize).unwrap_or(Value::Null)
}

fn round(value: &Value, arguments: &[Value]) -> Value {
    let digits = arguments.first().and_then(number).unwrap_or(0.0).clamp(0.0, 12.0);
    let scale = 10f64.powi(digits as i32);
    number(value).map_or(Value::Null, |n| real((n * scale).round() / scale))
}

fn split(value: Value, arguments: &[Value]) -> Value {
    if value.is_null() {
        return value;
    }
    let separator = arguments.first().and_then(Value::as_str).unwrap_or(",");
    let texts: Vec<String> = list(value).iter().filter_map(text).collect();
    let parts = texts.iter().flat_map(|text| text.split(separator)).map(str::trim);
    parts.filter(|part| !part.is_empty()).map(Value::from).collect()
}

/// `$key | lookup("table", "key column", "value column")`: all matching values.
fn lookup(value: &Value, arguments: &[Value], tables: &Tables) -> Value {
    let name = |index: usize| arguments.get(index).and_then(Value::as_str).unwrap_or_default();
    let Some(key) = text(value) else { return Value::Null };
    let rows = tables.get(name(0)).map(Vec::as_slice).unwrap_or_default();
    let matches = |row: &&BTreeMap<String, Value>| row.get(name(1)).and_then(text).as_ref() == Some(&key);
    let mut found: Vec<Value> =
        rows.iter().filter(matches).filter_map(|row| row.get(name(2)).cloned()).collect();
    match found.len() {
        0 => Value::Null,
        1 => found.remove(0),
        _ => Value::Array(found),
    }
}

/// `1 | column("table", "column")`: the column of every row.
fn column(_: &Value, arguments: &[Value], tables: &Tables) -> Value {
    let name = |index: usize| arguments.get(index).and_then(Value::as_str).unwrap_or_default();
    let rows = tables.get(name(0)).map(Vec::as_slice).unwrap_or_default();
    let found: Vec<Value> = rows.iter().filter_map(|row| row.get(name(1)).cloned()).collect();
    if found.is_empty() { Value::Null } else { Value::Array(found) }
}

/// By runs of letters and of digits, the latter by value: `Et2` before `Et10`.
fn natural_sort(mut items: Vec<Value>) -> Value {
    items.sort_by_cached_key(|item| {
        let text = text(item).unwrap_or_default();
        let mut key: Vec<(String, u64)> = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (prefix, after) = rest.split_at(letters);
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            key.push((prefix.to_owned(), after[..digits].parse().unwrap_or(0)));
            rest = &after[digits..];
        }
        key
    });
    Value::Array(items)
}

fn title(text: &str) -> Value {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    Value::from(first + characters.as_str())
}

fn unique(value: Value, _: &[Value]) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in list(value) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    Value::Array(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, value: Value, arguments: &[Value]) -> Value {
        let constants: Vec<Option<&Value>> = arguments.iter().map(Some).collect();
        Converter::named(name, &constants).unwrap().apply(value, arguments, &Tables::new())
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(CONVERTERS.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn what_cannot_be_read_is_null() {
        for (name, apply) in CONVERTERS {
            if !matches!(apply, Apply::Whole(_) | Apply::Table(_)) {
                assert_eq!(run(name, Value::Null, &[Value::from("x")]), Value::Null, "{name}");
            }
        }
        assert_eq!(run("add", Value::from("x"), &[Value::from(1)]), Value::Null);
        assert_eq!(run("div", Value::from(1), &[Value::from(0)]), Value::Null);
    }

    #[test]
    fn lists_and_texts() {
        assert_eq!(run("split", Value::from("a, b,"), &[Value::from(",")]), serde_json::json!(["a", "b"]));
        assert_eq!(run("re", Value::from("abc12"), &[Value::from("([0-9]+)")]), Value::from("12"));
        assert_eq!(run("map", Value::from("x"), &[Value::from("y=1"), Value::from("*=2")]), Value::from("2"));
        assert_eq!(
            run("mul", serde_json::json!(["2", "3"]), &[Value::from(2)]),
            serde_json::json!([4.0, 6.0])
        );
    }
}
