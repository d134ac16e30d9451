//! What all operations of the model have in common, and how its closed sets of words are written.

use crate::form::FromForm;
use crate::xml::ToXml;

/// An operation; implemented by its request.
pub trait Operation: FromForm {
    /// The `Action`.
    const NAME: &'static str;
    /// Names that its filters may have, as documented; `tag:` stands for all that begin so.
    const FILTERS: &'static [&'static str];
    /// What is answered.
    type Answer: ToXml;
    /// Whether the caller only wants to know if it would be done.
    fn dry_run(&self) -> bool;
}

/// Enums of the model: one line for each word.
macro_rules! string_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl $crate::form::FromForm for $name {
            fn from_node(node: $crate::form::Node) -> Result<Self, $crate::Ec2Error> {
                let (path, word) = node.scalar()?;
                match word.as_str() {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::operation::not_a_word(&word, &path, &[$($text),*])),
                }
            }
        }

        impl $crate::xml::ToXml for $name {
            fn to_xml(&self, xml: &mut $crate::xml::Xml) {
                self.as_str().to_xml(xml);
            }
        }
    };
}
pub(crate) use string_enum;

/// The error of a word that an enum has not.
pub(crate) fn not_a_word(word: &str, path: &str, words: &[&str]) -> crate::Ec2Error {
    let expected = format_args!("It must be one of {}.", words.join(", ")).to_string();
    crate::Ec2Error::invalid_value(word, path, expected)
}
