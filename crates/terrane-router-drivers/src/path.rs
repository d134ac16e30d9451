//! Paths into a [`Node`]: `vrfs/{network_instance}/peers/{peer}`.
//!
//! | Step | Meaning |
//! |---|---|
//! | `name` | members of that name; lists are looked through |
//! | `*` | every member |
//! | `{name}` | every member, whose own name is bound to `$name` |
//! | `**name` | members of that name at any depth |
//! | `..` | one level up |
//! | `.` | where we are |
//! | `~` | the names of the members (only as the last step of a value) |
//! | `name[x=y]`, `name[x!=y]`, `name[x]`, `name[!x]` | only those whose member `x` is, is not, exists, does not |
//! | `name[.=y]` | only those that are `y` themselves |

use std::collections::BTreeMap;

use crate::Node;

/// A parsed path.
#[derive(Clone, Debug)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug)]
struct Step {
    kind: StepKind,
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
enum StepKind {
    Child(String),
    Any,
    Capture(String),
    Deep(String),
    Up,
    Here,
    Names,
}

#[derive(Clone, Debug)]
struct Condition {
    member: String,
    value: Option<String>,
    negated: bool,
}

/// A path that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("path `{path}`: {what}")]
pub struct PathError {
    path: String,
    what: String,
}

/// A place in a tree: the nodes from the root down to it, and the member names that were bound on the way.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub(crate) nodes: Vec<&'a Node>,
    pub(crate) bound: BTreeMap<String, String>,
}

impl<'a> Place<'a> {
    /// The root of a tree.
    pub fn root(node: &'a Node) -> Self {
        Self { nodes: vec![node], bound: BTreeMap::new() }
    }

    /// The node at this place.
    pub fn node(&self) -> &'a Node {
        self.nodes.last().copied().unwrap_or(&Node::Null)
    }

    pub(crate) fn down(&self, node: &'a Node) -> Self {
        let mut next = self.clone();
        next.nodes.push(node);
        next
    }
}

impl Path {
    /// Parses a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |what: &str| PathError { path: text.into(), what: what.into() };
        let steps = text
            .trim()
            .split('/')
            .map(|step| {
                let (name, condition) = match step.split_once('[') {
                    Some((name, rest)) => {
                        let inner = rest.strip_suffix(']').ok_or_else(|| fail("`[` without `]`"))?;
                        (name, Some(Condition::parse(inner)))
                    }
                    None => (step, None),
                };
                let kind = match name {
                    "" => return Err(fail("an empty step")),
                    "*" => StepKind::Any,
                    ".." => StepKind::Up,
                    "." => StepKind::Here,
                    "~" => StepKind::Names,
                    _ => match (name.strip_prefix("**"), name.strip_prefix('{')) {
                        (Some(deep), _) => StepKind::Deep(deep.into()),
                        (_, Some(capture)) => StepKind::Capture(
                            capture.strip_suffix('}').ok_or_else(|| fail("`{` without `}`"))?.into(),
                        ),
                        _ => StepKind::Child(name.into()),
                    },
                };
                Ok(Step { kind, condition })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(steps))
    }

    /// Every place that the path leads to, in the order of the output.
    pub fn places<'a>(&self, from: &Place<'a>) -> Vec<Place<'a>> {
        let mut places = vec![from.clone()];
        for step in &self.0 {
            let mut next = Vec::new();
            for place in &places {
                step.follow(place, &mut next);
            }
            places = next;
        }
        places
    }

    /// Whether the path leads anywhere; a list without items is somewhere.
    pub(crate) fn leads(&self, from: &Place<'_>) -> bool {
        let Some((Step { kind: StepKind::Child(wanted), condition: None }, before)) = self.0.split_last()
        else {
            return !self.places(from).is_empty();
        };
        let has = |node: &&Node| match node {
            Node::Map(members) => members.iter().any(|(name, _)| name == wanted),
            _ => false,
        };
        Self(before.to_vec()).places(from).iter().any(|place| {
            let mut items = Vec::new();
            place.node().items(&mut items);
            items.iter().any(has)
        })
    }

    /// The names of the members where the path leads, if it ends with `~`.
    pub(crate) fn names(&self, from: &Place<'_>) -> Option<Vec<String>> {
        let (last, before) = self.0.split_last()?;
        if !matches!(last.kind, StepKind::Names) {
            return None;
        }
        let mut names = Vec::new();
        for place in Self(before.to_vec()).places(from) {
            if let Node::Map(members) = place.node() {
                let holds =
                    |node: &Node| last.condition.as_ref().is_none_or(|condition| condition.holds(node));
                names.extend(members.iter().filter(|(_, node)| holds(node)).map(|(name, _)| name.clone()));
            }
        }
        Some(names)
    }
}

impl Condition {
    fn parse(text: &str) -> Self {
        let (text, bare_not) = text.strip_prefix('!').map_or((text, false), |rest| (rest, true));
        match (text.split_once("!="), text.split_once('=')) {
            (Some((member, value)), _) => {
                Self { member: member.into(), value: Some(value.into()), negated: true }
            }
            (None, Some((member, value))) => {
                Self { member: member.into(), value: Some(value.into()), negated: false }
            }
            (None, None) => Self { member: text.into(), value: None, negated: bare_not },
        }
    }

    fn holds(&self, node: &Node) -> bool {
        let found = match node {
            _ if self.member == "." => self.value.as_deref() == node.text(),
            Node::Map(members) => members
                .iter()
                .filter(|(name, _)| *name == self.member)
                .any(|(_, member)| self.value.as_ref().is_none_or(|value| member.text() == Some(value))),
            _ => false,
        };
        found != self.negated
    }
}

impl Step {
    fn follow<'a>(&self, place: &Place<'a>, next: &mut Vec<Place<'a>>) {
        let begin = next.len();
        match &self.kind {
            StepKind::Here => next.push(place.clone()),
            StepKind::Up => {
                let mut up = place.clone();
                if up.nodes.len() > 1 {
                    up.nodes.pop();
                }
                next.push(up);
            }
            StepKind::Child(name) => {
                members(place.node(), &mut |member, node| {
                    if member == name {
                        next.push(place.down(node));
                    }
                });
            }
            StepKind::Any | StepKind::Names => {
                members(place.node(), &mut |_, node| next.push(place.down(node)));
            }
            StepKind::Capture(variable) => members(place.node(), &mut |member, node| {
                let mut down = place.down(node);
                down.bound.insert(variable.clone(), member.to_owned());
                next.push(down);
            }),
            StepKind::Deep(name) => deep(place, name, next),
        }
        if let Some(condition) = &self.condition {
            let mut index = 0;
            next.retain(|place| {
                index += 1;
                index <= begin || condition.holds(place.node())
            });
        }
    }
}

fn members<'a>(node: &'a Node, each: &mut dyn FnMut(&str, &'a Node)) {
    let mut here = Vec::new();
    node.items(&mut here);
    for node in here {
        if let Node::Map(entries) = node {
            for (name, value) in entries {
                let mut items = Vec::new();
                value.items(&mut items);
                items.into_iter().for_each(|item| each(name, item));
            }
        }
    }
}

fn deep<'a>(place: &Place<'a>, wanted: &str, next: &mut Vec<Place<'a>>) {
    members(place.node(), &mut |name, node| {
        let down = place.down(node);
        if name == wanted {
            next.push(down);
        } else {
            deep(&down, wanted, next);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str, path: &str) -> Vec<String> {
        let node = Node::from_json(json.as_bytes()).unwrap();
        let places = Path::parse(path).unwrap().places(&Place::root(&node));
        places.iter().map(|place| place.node().text().unwrap_or("?").to_owned()).collect()
    }

    #[test]
    fn lists_are_looked_through_and_single_items_are_lists_of_one() {
        assert_eq!(texts(r#"{"row":[{"a":1},{"a":2}]}"#, "row/a"), ["1", "2"]);
        assert_eq!(texts(r#"{"row":{"a":1}}"#, "row/a"), ["1"]);
        assert_eq!(texts(r#"[{"a":1},[{"a":2}]]"#, "a"), ["1", "2"]);
    }

    #[test]
    fn depth_conditions_and_the_way_up() {
        let json = r#"{"x":{"y":{"a":1,"b":"k"},"z":{"a":2,"b":"l"}}}"#;
        assert_eq!(texts(json, "**a"), ["1", "2"]);
        assert_eq!(texts(json, "x/*[b=l]/a"), ["2"]);
        assert_eq!(texts(json, "x/*[b!=l]/a"), ["1"]);
        assert_eq!(texts(json, "x/y/../z/a"), ["2"]);
        assert_eq!(texts(json, "x/*[!c]/a"), ["1", "2"]);
        assert!(Path::parse("a//b").is_err());
        assert!(Path::parse("a[b").is_err());
    }

    #[test]
    fn names_of_members_are_bound() {
        let node = Node::from_json(br#"{"vrfs":{"red":{"n":[1,2]}}}"#).unwrap();
        let places = Path::parse("vrfs/{vrf}/n").unwrap().places(&Place::root(&node));
        assert_eq!(places.len(), 2);
        assert_eq!(places[1].bound["vrf"], "red");
        assert_eq!(Path::parse("vrfs/~").unwrap().names(&Place::root(&node)).unwrap(), ["red"]);
    }
}
