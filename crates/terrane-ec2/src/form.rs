//! Requests: a form whose parameter names are paths (`Filter.1.Value.2=gp3`), read into a tree of bounded
//! depth and breadth, and from there into the structures of [`crate::dto`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::error::Ec2Error;

/// Parameters that a request may have. EC2's own calls end at a thousand resources.
pub const PARAMETERS_MAX: usize = 10_000;
/// Steps that a parameter's path may have; the deepest one of the model has six.
const DEPTH_MAX: usize = 10;
/// The version of the model, and so of all that is answered.
pub(crate) const VERSION: &str = "2016-11-15";

/// What signatures of version 2 and presigned ones leave in a request.
const OF_SIGNATURES: &[&str] = &[
    "AWSAccessKeyId",
    "Expires",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
];

/// A request: what shall be done, and its parameters.
#[derive(Debug)]
pub struct Form {
    /// The `Action`.
    pub action: String,
    /// The parameters, without `Action`, `Version` and what belongs to the signature.
    pub parameters: Node,
}

/// A parameter, or what several have in common: the part of a path up to here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `Filter.1` — the whole path, to be named in errors; empty for the request itself.
    path: String,
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

/// What can be read from a parameter or a group of them.
pub trait FromForm: Sized {
    /// Reads all of a node: what is left over is an error.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidParameterValue`, `UnknownParameter`.
    fn from_node(node: Node) -> Result<Self, Ec2Error>;
}

/// Bytes, in base64 on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Form {
    /// Reads a request's query and body (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// `MalformedQueryString`, `InvalidQueryParameter` (twice the same, too many, too deep), `MissingAction`,
    /// `NoSuchVersion`.
    pub fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, Ec2Error> {
        let mut action = None;
        let mut parameters = Node::default();
        let parts = [query.unwrap_or_default().as_bytes(), body];
        let pairs = parts.into_iter().flat_map(|part| part.split(|b| *b == b'&')).filter(|p| !p.is_empty());
        for (number, pair) in pairs.enumerate() {
            if number >= PARAMETERS_MAX {
                let text = format!("The request has more than {PARAMETERS_MAX} parameters.");
                return Err(Ec2Error::new("InvalidQueryParameter", text));
            }
            let (name, value) = split(pair);
            let (name, value) = (decode(name)?, decode(value)?);
            match &*name {
                "Action" if action.is_none() => action = Some(value.into_owned()),
                "Action" => return Err(twice("Action")),
                "Version" if value == VERSION => {}
                "Version" => {
                    let text = format!("The version '{value}' does not exist; {VERSION} does.");
                    return Err(Ec2Error::new("NoSuchVersion", text));
                }
                name if OF_SIGNATURES.contains(&name) || name.starts_with("X-Amz-") => {}
                name => parameters.insert(name, value.into_owned())?,
            }
        }
        match action {
            Some(action) => Ok(Self { action, parameters }),
            None => Err(Ec2Error::new("MissingAction", "The request must contain the parameter Action")),
        }
    }
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = pair.splitn(2, |b| *b == b'=');
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

/// `%2F` and `+` of a form.
fn decode(text: &[u8]) -> Result<Cow<'_, str>, Ec2Error> {
    let blanks: Cow<'_, [u8]> = if text.contains(&b'+') {
        text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect::<Vec<_>>().into()
    } else {
        text.into()
    };
    let decoded = percent_encoding::percent_decode(&blanks).collect::<Vec<u8>>();
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Ec2Error::new("MalformedQueryString", "The request is not UTF-8."))
}

fn twice(path: &str) -> Ec2Error {
    let path = crate::error::shortened(path);
    Ec2Error::new("InvalidQueryParameter", format!("The parameter {path} is there twice."))
}

impl Node {
    fn insert(&mut self, path: &str, value: String) -> Result<(), Ec2Error> {
        let mut node = self;
        for (depth, step) in path.split('.').enumerate() {
            if step.is_empty() || depth >= DEPTH_MAX {
                return Err(Ec2Error::unknown_parameter(crate::error::shortened(path)));
            }
            let parent = &node.path;
            let path = if parent.is_empty() { step.to_owned() } else { format!("{parent}.{step}") };
            node = node.children.entry(step.to_owned()).or_insert_with(|| Self { path, ..Self::default() });
        }
        match node.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(twice(path)),
        }
    }

    /// A parameter that may be left out.
    pub(crate) fn optional<T: FromForm>(&mut self, name: &str) -> Result<Option<T>, Ec2Error> {
        self.children.remove(name).map(T::from_node).transpose()
    }

    /// A parameter that must be there.
    pub(crate) fn required<T: FromForm>(&mut self, name: &str) -> Result<T, Ec2Error> {
        self.optional(name)?.ok_or_else(|| self.missing(name))
    }

    /// The values of all parameters in here whose name ends in `Id`, and of the members of such lists, in the
    /// order of their names.
    pub(crate) fn identifiers(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.collect_identifiers(false, &mut found);
        found
    }

    /// No deeper than [`DEPTH_MAX`].
    fn collect_identifiers<'a>(&'a self, named: bool, found: &mut Vec<&'a str>) {
        found.extend(self.value.as_deref().filter(|_| named));
        for (step, child) in &self.children {
            let member = named && step.bytes().all(|b| b.is_ascii_digit());
            child.collect_identifiers(member || step.ends_with("Id"), found);
        }
    }

    fn missing(&self, name: &str) -> Ec2Error {
        match self.path.as_str() {
            "" => Ec2Error::missing(name),
            path => Ec2Error::missing(format_args!("{path}.{name}")),
        }
    }

    /// A number that may be left out, within the model's bounds.
    pub(crate) fn optional_in<T>(&mut self, name: &str, min: T, max: T) -> Result<Option<T>, Ec2Error>
    where
        T: FromForm + PartialOrd + std::fmt::Display,
    {
        let path = self.children.get(name).map(|node| node.path.clone()).unwrap_or_default();
        match self.optional::<T>(name)? {
            Some(value) if value < min || value > max => {
                let expected = format_args!("It must be between {min} and {max}.");
                Err(Ec2Error::invalid_value(&value.to_string(), path, expected))
            }
            value => Ok(value),
        }
    }

    /// The members of a list: `Name.1`, `Name.2`, … in the order of their numbers; gaps are no matter. An
    /// empty value is an empty list.
    pub(crate) fn list<T: FromForm>(&mut self, name: &str) -> Result<Vec<T>, Ec2Error> {
        let Some(node) = self.children.remove(name) else { return Ok(Vec::new()) };
        if let Some(value) = node.value.filter(|value| !value.is_empty()) {
            return Err(Ec2Error::invalid_value(&value, &node.path, "It must be a list: .1, .2 and so on."));
        }
        let mut members = Vec::with_capacity(node.children.len());
        for (step, child) in node.children {
            let number = step.parse::<u32>().ok().filter(|number| *number > 0 && number.to_string() == step);
            let Some(number) = number else { return Err(Ec2Error::unknown_parameter(child.leaf())) };
            members.push((number, child));
        }
        members.sort_by_key(|(number, _)| *number);
        members.into_iter().map(|(_, child)| T::from_node(child)).collect()
    }

    /// As [`Self::list`], of at least one member. EC2 says of one that is missing what it is called in answers:
    /// `resourceIdSet`, not `ResourceId`.
    pub(crate) fn required_list<T: FromForm>(&mut self, name: &str) -> Result<Vec<T>, Ec2Error> {
        let list = self.list(name)?;
        if list.is_empty() {
            let (first, rest) = name.split_at(name.len().min(1));
            return Err(self.missing(&format!("{}{rest}Set", first.to_ascii_lowercase())));
        }
        Ok(list)
    }

    /// Refuses what has not been read.
    pub(crate) fn finish(self) -> Result<(), Ec2Error> {
        if self.value.is_some() || !self.children.is_empty() {
            return Err(Ec2Error::unknown_parameter(self.leaf()));
        }
        Ok(())
    }

    /// The path of the first parameter in here.
    fn leaf(&self) -> &str {
        let mut node = self;
        while node.value.is_none()
            && let Some(child) = node.children.values().next()
        {
            node = child;
        }
        match node.path.char_indices().nth(200) {
            Some((end, _)) => &node.path[..end],
            None => &node.path,
        }
    }

    /// The value of a parameter that is nothing but a value.
    pub(crate) fn scalar(self) -> Result<(String, String), Ec2Error> {
        match self {
            Self { value: Some(value), children, path } if children.is_empty() => Ok((path, value)),
            Self { value: None, .. } => Err(Ec2Error::unknown_parameter(self.leaf())),
            Self { children, .. } => {
                let inner = children.into_values().next().unwrap_or_default();
                Err(Ec2Error::unknown_parameter(inner.leaf()))
            }
        }
    }

    /// A value that a parser understands.
    fn parsed<T>(self, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Ec2Error> {
        let (path, value) = self.scalar()?;
        parse(&value).ok_or_else(|| Ec2Error::invalid_value(&value, path, expected))
    }
}

impl FromForm for String {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.scalar().map(|(_, value)| value)
    }
}

impl FromForm for i32 {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.parsed("It must be an integer.", |text| text.parse().ok())
    }
}

impl FromForm for i64 {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.parsed("It must be an integer.", |text| text.parse().ok())
    }
}

impl FromForm for f64 {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        let finite = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        node.parsed("It must be a number.", finite)
    }
}

impl FromForm for bool {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.parsed("It must be true or false.", |text| match text {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        })
    }
}

impl FromForm for Timestamp {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.parsed("It must be a time such as 2026-01-31T12:00:00Z.", |text| text.parse().ok())
    }
}

impl FromForm for Blob {
    fn from_node(node: Node) -> Result<Self, Ec2Error> {
        node.parsed("It must be base64.", |text| STANDARD.decode(text).ok().map(Self))
    }
}

#[cfg(test)]
mod tests;
