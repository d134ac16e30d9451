//! The schema of each kind's rows: one per kind, whatever the platform.

mod tables;

use std::net::IpAddr;

use serde_json::{Number, Value};

use crate::{Kind, Row};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text, as the router prints it.
    Text,
    /// True or false.
    Bool,
    /// An unsigned 64-bit integer.
    Unsigned,
    /// A signed 64-bit integer.
    Signed,
    /// A real number; the unit is the last part of the field's name.
    Real,
    /// An IP address in its canonical form (RFC 5952), with a `%zone` if the router printed one.
    Address,
    /// A MAC address, `AA:BB:CC:DD:EE:FF`.
    Mac,
    /// A list of texts.
    List,
    /// A list of numbers.
    Numbers,
}

/// One field of a row.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
}

/// The fields of a kind's rows.
#[derive(Debug)]
pub struct Schema {
    /// The kind.
    pub kind: Kind,
    /// Fields that together name a row. Empty: there is one row. Absent: rows are a list, nothing names them.
    pub key: Option<&'static [&'static str]>,
    /// The fields, key included.
    pub fields: &'static [Field],
}

impl Schema {
    /// The schema of a kind.
    pub fn of(kind: Kind) -> &'static Self {
        tables::of(kind)
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// The row's key; none if a part of it is missing. `afi`, `neighbor_address` and `network_instance` may be
    /// missing: the row then tells of the whole session, the whole instance, the default instance.
    pub(crate) fn key_of(&self, row: &Row) -> Option<Vec<String>> {
        let optional = ["afi", "network_instance", "neighbor_address"];
        self.key
            .unwrap_or_default()
            .iter()
            .map(|name| match row.get(*name) {
                Some(value) => Some(value.to_string()),
                None => optional.contains(name).then(String::new),
            })
            .collect()
    }
}

impl Type {
    /// Reads a raw value as this type. None: it cannot be read, which means that the router did not say.
    pub fn read(self, raw: &Value) -> Option<Value> {
        match (self, raw) {
            (_, Value::Null) => None,
            (Self::List | Self::Numbers, _) => {
                let item = if self == Self::List { Self::Text } else { Self::Unsigned };
                let items = match raw {
                    Value::Array(items) => items.iter().filter_map(|raw| item.read(raw)).collect(),
                    single => item.read(single).into_iter().collect(),
                };
                Some(Value::Array(items))
            }
            (_, Value::Array(items)) => items.iter().find_map(|item| self.read(item)),
            (Self::Text, Value::String(_)) | (Self::Bool, Value::Bool(_)) => Some(raw.clone()),
            (Self::Text, Value::Number(number)) => Some(Value::from(whole(number.as_f64()?).to_string())),
            (Self::Bool, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => Some(Value::Bool(true)),
                "false" | "no" => Some(Value::Bool(false)),
                _ => None,
            },
            (Self::Unsigned, Value::Number(number)) => match number.as_u64() {
                Some(number) => Some(Value::from(number)),
                None => {
                    let real = number.as_f64()?;
                    (0.0..9e18).contains(&real).then(|| Value::from(real as u64))
                }
            },
            (Self::Signed, Value::Number(number)) => match number.as_i64() {
                Some(number) => Some(Value::from(number)),
                None => {
                    let real = number.as_f64()?;
                    (-9e18..9e18).contains(&real).then(|| Value::from(real as i64))
                }
            },
            (Self::Signed, Value::String(text)) => figures(text).parse::<i64>().ok().map(Value::from),
            (Self::Real, Value::Number(number)) => Number::from_f64(number.as_f64()?).map(Value::Number),
            (Self::Unsigned, Value::String(text)) => figures(text).parse::<u64>().ok().map(Value::from),
            (Self::Real, Value::String(text)) => {
                Number::from_f64(figures(text).parse().ok()?).map(Value::Number)
            }
            (Self::Address, Value::String(text)) => address(text).map(Value::from),
            (Self::Mac, Value::String(text)) => mac(text).map(Value::from),
            _ => None,
        }
    }
}

fn figures(text: &str) -> String {
    text.trim().chars().filter(|c| *c != ',').collect()
}

fn whole(number: f64) -> Number {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Number::from(number as i64)
    } else {
        Number::from_f64(number).unwrap_or_else(|| Number::from(0))
    }
}

fn address(text: &str) -> Option<String> {
    let (plain, zone) = text.trim().split_once('%').map_or((text.trim(), None), |(a, z)| (a, Some(z)));
    let address: IpAddr = plain.parse().ok()?;
    Some(zone.map_or_else(|| address.to_string(), |zone| format!("{address}%{zone}")))
}

/// Twelve hexadecimal digits in any grouping.
fn mac(text: &str) -> Option<String> {
    let digits: Vec<char> = text
        .trim()
        .trim_start_matches("0x")
        .chars()
        .filter(|c| !matches!(c, ':' | '.' | '-'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if digits.len() != 12 || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    Some(digits.chunks(2).map(|pair| pair.iter().collect::<String>()).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_fields_and_names_are_unique() {
        for kind in Kind::ALL {
            let schema = Schema::of(kind);
            assert_eq!(schema.kind, kind);
            for key in schema.key.unwrap_or_default() {
                assert!(schema.field(key).is_some(), "{kind}: {key}");
            }
            let mut names: Vec<_> = schema.fields.iter().map(|field| field.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{kind}");
        }
    }

    #[test]
    fn canonical_forms() {
        assert_eq!(Type::Mac.read(&Value::from("dc38.e111.97cf")).unwrap(), "DC:38:E1:11:97:CF");
        assert_eq!(Type::Mac.read(&Value::from("Incomplete")), None);
        assert_eq!(Type::Address.read(&Value::from("2001:DB8:0::1")).unwrap(), "2001:db8::1");
        assert_eq!(Type::Address.read(&Value::from("FE80::1%Et1")).unwrap(), "fe80::1%Et1");
        assert_eq!(Type::Unsigned.read(&Value::from("1,024")).unwrap(), 1024);
        assert_eq!(Type::Unsigned.read(&Value::from("N/A")), None);
        assert_eq!(Type::Unsigned.read(&Value::from(u64::MAX)).unwrap(), u64::MAX);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            for ty in [Type::Text, Type::Bool, Type::Unsigned, Type::Signed, Type::Real, Type::Address, Type::Mac, Type::List] {
                let once = ty.read(&Value::from(text.clone()));
                // What was read once is canonical: reading it again changes nothing.
                if let Some(value) = once {
                    prop_assert_eq!(ty.read(&value), Some(value));
                }
            }
        }
    }
}
