//! Answers: XML as EC2 writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::error::Ec2Error;
use crate::form::{Blob, VERSION};

/// A document that is being written.
#[derive(Debug, Default)]
pub struct Xml(String);

/// What can be written between two tags.
pub trait ToXml {
    /// Writes itself.
    fn to_xml(&self, xml: &mut Xml);
}

/// The answer of calls that have nothing to say but that it was done: `<return>true</return>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done;

impl Xml {
    /// The document that answers an action.
    pub(crate) fn answer(action: &str, request_id: &str, body: &impl ToXml) -> String {
        let mut xml = Self(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/{VERSION}/\">"
        ));
        xml.field("requestId", request_id);
        body.to_xml(&mut xml);
        xml.0.push_str("</");
        xml.0.push_str(action);
        xml.0.push_str("Response>");
        xml.0
    }

    /// The document that says why not.
    pub(crate) fn refusal(error: &Ec2Error, request_id: &str) -> String {
        let mut xml = Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>".into());
        xml.field("Code", error.code());
        xml.field("Message", error.message());
        xml.0.push_str("</Error></Errors>");
        xml.field("RequestID", request_id);
        xml.0.push_str("</Response>");
        xml.0
    }

    /// An element.
    pub(crate) fn field<T: ToXml + ?Sized>(&mut self, name: &str, value: &T) {
        self.open(name);
        value.to_xml(self);
        self.close(name);
    }

    /// An element, or nothing.
    pub(crate) fn optional<T: ToXml>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// An element with an element of its own for each member of a list; also if the list is empty.
    pub(crate) fn list<T: ToXml>(&mut self, name: &str, member: &str, values: &[T]) {
        self.open(name);
        for value in values {
            self.field(member, value);
        }
        self.close(name);
    }

    /// As [`Self::list`], or nothing.
    pub(crate) fn optional_list<T: ToXml>(&mut self, name: &str, member: &str, values: Option<&Vec<T>>) {
        if let Some(values) = values {
            self.list(name, member, values);
        }
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// Text, with XML's special characters replaced, and what XML 1.0 cannot hold as U+FFFD.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\r' => self.0.push_str("&#13;"),
                '\t' | '\n' => self.0.push(c),
                c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
    }
}

impl ToXml for str {
    fn to_xml(&self, xml: &mut Xml) {
        xml.text(self);
    }
}

impl ToXml for String {
    fn to_xml(&self, xml: &mut Xml) {
        xml.text(self);
    }
}

macro_rules! displayed {
    ($($number:ty),*) => {$(
        impl ToXml for $number {
            fn to_xml(&self, xml: &mut Xml) {
                xml.0.push_str(&self.to_string());
            }
        }
    )*};
}
displayed!(bool, f64, i32, i64);

impl ToXml for Timestamp {
    /// `2026-01-31T12:00:00.000Z`
    fn to_xml(&self, xml: &mut Xml) {
        xml.0.push_str(&crate::filter::time(*self));
    }
}

impl ToXml for Blob {
    fn to_xml(&self, xml: &mut Xml) {
        STANDARD.encode_string(&self.0, &mut xml.0);
    }
}

impl ToXml for Done {
    fn to_xml(&self, xml: &mut Xml) {
        xml.field("return", &true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Volume {
        id: Option<String>,
        tags: Vec<String>,
        rates: Option<Vec<f64>>,
        created: Timestamp,
    }

    impl ToXml for Volume {
        fn to_xml(&self, xml: &mut Xml) {
            xml.optional("volumeId", self.id.as_ref());
            xml.list("tagSet", "item", &self.tags);
            xml.optional_list("rateSet", "item", self.rates.as_ref());
            xml.field("createTime", &self.created);
        }
    }

    #[test]
    fn lists_times_and_what_is_not_there() {
        let mut volume = Volume {
            id: Some("vol-1".into()),
            tags: Vec::new(),
            rates: Some(vec![1.0, 2.5]),
            created: "2026-01-31T12:00:00.5Z".parse().unwrap(),
        };
        let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CreateVolumeResponse \
                     xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>";
        assert_eq!(
            Xml::answer("CreateVolume", "r-1", &volume),
            format!(
                "{start}<volumeId>vol-1</volumeId><tagSet></tagSet><rateSet><item>1</item><item>2.5</item>\
                 </rateSet><createTime>2026-01-31T12:00:00.500Z</createTime></CreateVolumeResponse>"
            )
        );
        (volume.id, volume.rates, volume.tags) = (None, None, vec!["a".into()]);
        assert_eq!(
            Xml::answer("CreateVolume", "r-1", &volume),
            format!(
                "{start}<tagSet><item>a</item></tagSet><createTime>2026-01-31T12:00:00.500Z</createTime>\
                 </CreateVolumeResponse>"
            )
        );
    }

    #[test]
    fn blobs_are_base64_and_done_is_true() {
        let mut xml = Xml::default();
        xml.field("userData", &Blob(b"hello".to_vec()));
        Done.to_xml(&mut xml);
        assert_eq!(xml.0, "<userData>aGVsbG8=</userData><return>true</return>");
    }

    #[test]
    fn what_a_client_sent_cannot_break_out() {
        let error = Ec2Error::invalid("</Message><a>&\"\u{1}\r\n");
        assert_eq!(
            Xml::refusal(&error, "r"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
             <Code>InvalidParameterValue</Code><Message>&lt;/Message&gt;&lt;a&gt;&amp;&quot;\u{fffd}&#13;\n</Message>\
             </Error></Errors><RequestID>r</RequestID></Response>"
        );
    }
}
