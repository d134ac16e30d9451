//! A JSON reader that keeps numbers as they were printed: a 64-bit counter, or a time with 17 digits, must not pass
//! through a float on its way.

use super::{DEPTH_MAX, Node, NodeError};

pub(super) fn read(bytes: &[u8]) -> Result<Node, NodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let node = reader.value(0)?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.fault("something follows the document")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fault(&self, what: &'static str) -> NodeError {
        NodeError::Json { at: self.at, what }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, NodeError> {
        if depth > DEPTH_MAX {
            return Err(NodeError::Depth);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
            None => Err(self.fault("ends where a value should be")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, NodeError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Node::Map(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault("a member has no name"));
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.fault("no colon after a name"));
            }
            members.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Node::Map(members));
            }
            if !self.take(b',') {
                return Err(self.fault("an object is not closed"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Node, NodeError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Node::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Node::List(items));
            }
            if !self.take(b',') {
                return Err(self.fault("a list is not closed"));
            }
        }
    }

    fn number(&mut self) -> Result<Node, NodeError> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let text = self.bytes.get(start..self.at).unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        match text.parse::<f64>() {
            Ok(_) => Ok(Node::Text(text)),
            Err(_) => Err(self.fault("not a number")),
        }
    }

    fn word(&mut self) -> Result<Node, NodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for (word, node) in
            [("true", Node::Text("true".into())), ("false", Node::Text("false".into())), ("null", Node::Null)]
        {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(node);
            }
        }
        Err(self.fault("not a value"))
    }

    /// A string, from its opening quote. Bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD; control
    /// characters are taken as they are, since devices print them.
    fn string(&mut self) -> Result<String, NodeError> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let byte = self.bytes.get(self.at).copied();
            self.at += 1;
            match byte {
                None => return Err(self.fault("a string is not closed")),
                Some(b'"') => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Some(b'\\') => {
                    let escaped = self.escape()?;
                    bytes.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Result<char, NodeError> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        Ok(match byte {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.unicode(),
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            _ => return Err(self.fault("an unknown escape")),
        })
    }

    fn unicode(&mut self) -> Result<char, NodeError> {
        let high = self.hex()?;
        if !(0xd800..0xdc00).contains(&high) || self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Ok(char::from_u32(high).unwrap_or('\u{fffd}'));
        }
        self.at += 2;
        let low = self.hex()?;
        let pair = low.checked_sub(0xdc00).map(|low| 0x10000 + ((high - 0xd800) << 10) + low);
        Ok(pair.and_then(char::from_u32).unwrap_or('\u{fffd}'))
    }

    fn hex(&mut self) -> Result<u32, NodeError> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        value.ok_or_else(|| self.fault("four hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn numbers_stay_as_printed() {
        let node = read(br#" {"a":18446744073709551615,"b":[1466586841.4148579,-1e5]} "#).unwrap();
        let text = |text: &str| Node::Text(text.into());
        let b = Node::List(vec![text("1466586841.4148579"), text("-1e5")]);
        assert_eq!(node, Node::Map(vec![("a".into(), text("18446744073709551615")), ("b".into(), b)]));
        assert_eq!(read(br#""\u00e9\ud83d\ude00\n""#).unwrap(), text("\u{e9}\u{1f600}\n"));
    }

    fn agree(ours: &Node, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Node::Null, Value::Null) => true,
            (Node::Text(text), Value::String(string)) => text == string,
            (Node::Text(text), Value::Bool(truth)) => *text == truth.to_string(),
            (Node::Text(text), Value::Number(_)) => text.parse::<f64>().is_ok(),
            (Node::List(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| agree(a, b))
            }
            (Node::Map(ours), Value::Object(theirs)) => {
                ours.iter().all(|(name, node)| theirs.get(name).is_some_and(|value| agree(node, value)))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_is_read_alike(text in r#"[\[\]{}:,"\\a-c0-9eE.\-tru nl]{0,40}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let node = read(text.as_bytes());
                prop_assert!(node.is_ok(), "{text}");
                let duplicates = text.matches(':').count() > 1;
                prop_assert!(duplicates || agree(&node.unwrap(), &value), "{text}");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(read(&bytes));
        }
    }
}
