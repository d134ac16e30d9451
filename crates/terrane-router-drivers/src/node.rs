//! What a device printed, as one tree: JSON, XML and plain text end up in the same shape, so that one path
//! language and one set of converters serve every platform.

mod json;

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Elements may nest this deep; devices stay below 30.
const DEPTH_MAX: usize = 64;

/// A tree of text. Numbers and booleans are kept as they were printed: what they mean is the schema's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// JSON's `null`.
    Null,
    /// A scalar, as printed.
    Text(String),
    /// Members in the order of the output. XML repeats names where JSON has a list.
    Map(Vec<(String, Node)>),
    /// A JSON list.
    List(Vec<Node>),
}

/// Why bytes are not a tree.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Not JSON.
    #[error("not JSON at byte {at}: {what}")]
    Json {
        /// Where.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Not XML.
    #[error("not XML: {0}")]
    Xml(String),
    /// Nested deeper than any device's output.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
}

impl Node {
    /// Reads one JSON document (RFC 8259).
    pub fn from_json(bytes: &[u8]) -> Result<Self, NodeError> {
        json::read(bytes)
    }

    /// Reads one XML document. Prefixes are dropped; attributes become members named `@name`, a
    /// default namespace other than the parent's `@xmlns`; the text of an element that has attributes or children
    /// becomes `#text`. Entities are the predefined ones: a document
    /// cannot define its own.
    pub fn from_xml(bytes: &[u8]) -> Result<Self, NodeError> {
        let text = String::from_utf8_lossy(bytes);
        let mut reader = Reader::from_str(&text);
        let mut open = vec![Element::default()];
        loop {
            let event = reader.read_event().map_err(|error| NodeError::Xml(error.to_string()))?;
            match event {
                Event::Eof => break,
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return Err(NodeError::Depth);
                    }
                    let element = Element::opened(&start, open.last());
                    open.push(element);
                }
                Event::Empty(start) => {
                    let element = Element::opened(&start, open.last());
                    close(&mut open, element)?;
                }
                Event::End(_) => {
                    let done = open.pop().ok_or_else(unbalanced)?;
                    close(&mut open, done)?;
                }
                Event::Text(piece) => top(&mut open)?.text.push_str(&String::from_utf8_lossy(&piece)),
                Event::CData(piece) => top(&mut open)?.text.push_str(&String::from_utf8_lossy(&piece)),
                Event::GeneralRef(reference) => {
                    let name = String::from_utf8_lossy(&reference).into_owned();
                    let character = reference.resolve_char_ref().ok().flatten();
                    let element = top(&mut open)?;
                    match (character, quick_xml::escape::resolve_predefined_entity(&name)) {
                        (Some(character), _) => element.text.push(character),
                        (None, Some(text)) => element.text.push_str(text),
                        (None, None) => return Err(NodeError::Xml(format!("unknown entity &{name};"))),
                    }
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(root), true) if !root.members.is_empty() => Ok(Self::Map(root.members)),
            (Some(_), true) => Err(NodeError::Xml("no element".into())),
            _ => Err(NodeError::Xml("ends inside an element".into())),
        }
    }

    /// The text of a scalar, or of an XML element that has attributes.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Map(members) => {
                members.iter().find(|(name, _)| name == "#text").and_then(|(_, n)| n.text())
            }
            Self::Null | Self::List(_) => None,
        }
    }

    /// The node itself, or the items of a list, nested ones included: paths do not see lists.
    pub(crate) fn items<'a>(&'a self, into: &mut Vec<&'a Node>) {
        match self {
            Self::List(items) => items.iter().for_each(|item| item.items(into)),
            node => into.push(node),
        }
    }

    /// One record of a text engine.
    pub(crate) fn record(columns: BTreeMap<String, Node>) -> Self {
        Self::Map(columns.into_iter().collect())
    }
}

#[derive(Default)]
struct Element {
    name: String,
    /// The default namespace: its own, or the one that it is in.
    namespace: Option<String>,
    text: String,
    members: Vec<(String, Node)>,
}

impl Element {
    fn opened(start: &BytesStart<'_>, parent: Option<&Self>) -> Self {
        let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
        let mut members = Vec::new();
        let inherited = parent.and_then(|parent| parent.namespace.clone());
        let mut namespace = inherited.clone();
        for attribute in start.attributes().flatten() {
            let key = String::from_utf8_lossy(attribute.key.local_name().as_ref()).into_owned();
            let value = String::from_utf8_lossy(&attribute.value).into_owned();
            if attribute.key.as_ref().starts_with(b"xmlns") {
                // Told only where it changes: an element of another namespace is another element.
                if key == "xmlns" && inherited.as_ref() != Some(&value) {
                    members.push(("@xmlns".into(), Node::Text(value.clone())));
                    namespace = Some(value);
                }
                continue;
            }
            members.push((format!("@{key}"), Node::Text(value)));
        }
        Self { name, namespace, text: String::new(), members }
    }
}

fn unbalanced() -> NodeError {
    NodeError::Xml("an element ends that did not begin".into())
}

fn top(open: &mut [Element]) -> Result<&mut Element, NodeError> {
    open.last_mut().ok_or_else(unbalanced)
}

fn close(open: &mut [Element], done: Element) -> Result<(), NodeError> {
    let text = done.text.trim().to_owned();
    let node = if done.members.is_empty() {
        Node::Text(text)
    } else {
        let mut members = done.members;
        if !text.is_empty() {
            members.push(("#text".into(), Node::Text(text)));
        }
        Node::Map(members)
    };
    top(open)?.members.push((done.name, node));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_keeps_attributes_and_repeated_elements() {
        let node = Node::from_xml(b"<a><j:b j:s=\"5\">1 &amp; 2</j:b><b/></a>").unwrap();
        let b = Node::Map(vec![
            ("@s".into(), Node::Text("5".into())),
            ("#text".into(), Node::Text("1 & 2".into())),
        ]);
        assert_eq!(b.text(), Some("1 & 2"));
        let a = Node::Map(vec![("b".into(), b), ("b".into(), Node::Text(String::new()))]);
        assert_eq!(node, Node::Map(vec![("a".into(), a)]));
    }

    #[test]
    fn truncated_and_deep_documents_are_errors() {
        assert!(Node::from_xml(b"<a><b>").is_err());
        assert!(Node::from_xml(b"</a>").is_err());
        assert!(Node::from_xml(b"").is_err());
        assert!(Node::from_xml("<a>".repeat(100).as_bytes()).is_err());
        assert!(Node::from_json(b"{").is_err());
    }
}
