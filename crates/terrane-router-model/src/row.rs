//! Rows of an answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Kind, Schema};

/// One row: fields of the kind's schema. What the router did not say is absent, never a made-up default.
pub type Row = Map<String, Value>;

/// The rows of one answer, in the order in which the router told them. Rows of equal key are one row: a later one
/// fills in what the earlier one lacks, and lists grow.
#[derive(Clone, Debug)]
pub struct Rows {
    schema: &'static Schema,
    rows: Vec<Row>,
    by_key: BTreeMap<Vec<String>, usize>,
}

impl Rows {
    /// No rows yet.
    pub fn new(kind: Kind) -> Self {
        Self { schema: Schema::of(kind), rows: Vec::new(), by_key: BTreeMap::new() }
    }

    /// What the rows are.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Adds a row of raw values: each is read as its field's type; what cannot be read, and what the schema does
    /// not have, is left out. A row that lacks a part of its key is refused: false.
    pub fn add(&mut self, raw: impl IntoIterator<Item = (String, Value)>) -> bool {
        let row = self.typed(raw);
        let Some(key) = self.schema.key_of(&row) else { return false };
        match self.by_key.get(&key).copied().filter(|_| self.schema.is_keyed()) {
            Some(index) => self.rows.get_mut(index).map_or((), |held| merge(held, row)),
            None => {
                self.by_key.insert(key, self.rows.len());
                self.rows.push(row);
            }
        }
        true
    }

    /// Fills in what rows lack that agree with the raw row in the fields `on`; adds none. Returns how many agreed.
    pub fn complete(&mut self, on: &[String], raw: impl IntoIterator<Item = (String, Value)>) -> usize {
        let row = self.typed(raw);
        let agrees = |held: &&mut Row| on.iter().all(|field| held.get(field) == row.get(field));
        let mut count = 0;
        for held in self.rows.iter_mut().filter(agrees) {
            merge(held, row.clone());
            count += 1;
        }
        count
    }

    fn typed(&self, raw: impl IntoIterator<Item = (String, Value)>) -> Row {
        let fields = raw.into_iter().filter_map(|(name, value)| {
            let field = self.schema.field(&name)?;
            Some((name, field.ty.read(&value)?))
        });
        fields.collect()
    }

    /// Keeps the rows for which the function is true.
    pub fn retain(&mut self, keep: impl FnMut(&Row) -> bool) {
        self.rows.retain(keep);
        let keys = self.rows.iter().enumerate();
        self.by_key = keys.filter_map(|(index, row)| Some((self.schema.key_of(row)?, index))).collect();
    }

    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn merge(held: &mut Row, other: Row) {
    for (name, value) in other {
        match (held.get_mut(&name), value) {
            (Some(Value::Array(items)), Value::Array(more)) => {
                for item in more {
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
            }
            (Some(_), _) => {}
            (None, value) => {
                held.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
    }

    #[test]
    fn rows_of_equal_key_are_one_row() {
        let mut rows = Rows::new(Kind::Vlans);
        assert!(rows.add(raw(&[("vlan_id", "7"), ("interfaces", "a")])));
        assert!(rows.add(raw(&[("vlan_id", "7"), ("name", "x"), ("interfaces", "b")])));
        assert!(!rows.add(raw(&[("name", "no key")])));
        let row = rows.iter().next().unwrap();
        assert_eq!((rows.len(), &row["name"]), (1, &Value::from("x")));
        assert_eq!(row["interfaces"], serde_json::json!(["a", "b"]));
    }

    #[test]
    fn completion_adds_no_rows() {
        let mut rows = Rows::new(Kind::Interfaces);
        rows.add(raw(&[("name", "e1")]));
        let on = vec!["name".to_owned()];
        assert_eq!(rows.complete(&on, raw(&[("name", "e1"), ("mtu", "1500")])), 1);
        assert_eq!(rows.complete(&on, raw(&[("name", "e2"), ("mtu", "1500")])), 0);
        assert_eq!(rows.iter().next().unwrap()["mtu"], 1500);
    }
}
