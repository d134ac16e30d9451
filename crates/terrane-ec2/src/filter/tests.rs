use proptest::prelude::*;

use super::*;
use crate::dto::DescribeVolumesRequest;

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter { name: Some(name.into()), values: values.iter().map(|v| (*v).to_owned()).collect() }
}

struct Thing(Tags);

impl Filtered for Thing {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "size" => vec!["10".into()],
            "attachment.device" => vec!["/dev/sdf".into(), "/dev/sdg".into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0)
    }
}

fn passes(filters: Vec<Filter>) -> bool {
    let tags = [("Name", "db"), ("a:b", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Filters::of::<DescribeVolumesRequest>(filters).unwrap().pass(&Thing(tags.into()))
}

#[test]
fn all_filters_and_any_of_their_values() {
    assert!(passes(vec![]));
    assert!(passes(vec![filter("size", &["9", "10"])]));
    assert!(!passes(vec![filter("size", &["9", "10"]), filter("tag:Name", &["web"])]));
    assert!(passes(vec![filter("attachment.device", &["/dev/sdg"])]));
    assert!(!passes(vec![filter("snapshot-id", &["*"])]), "it has none");
}

#[test]
fn tags_by_key_and_value() {
    assert!(passes(vec![filter("tag:Name", &["d?"])]));
    assert!(!passes(vec![filter("tag:name", &["db"])]), "keys have a case");
    assert!(passes(vec![filter("tag:a:b", &[""])]));
    assert!(passes(vec![filter("tag-key", &["Na*"])]));
    assert!(!passes(vec![filter("tag-key", &["Na"])]));
}

#[test]
fn filters_that_are_none() {
    let code = |filters| Filters::of::<DescribeVolumesRequest>(filters).map(|_| ()).map_err(|e| e.code());
    assert_eq!(code(vec![filter("colour", &["red"])]), Err("InvalidParameterValue"));
    assert_eq!(code(vec![filter("tag:", &["red"])]), Err("InvalidParameterValue"));
    assert_eq!(code(vec![filter("size", &[])]), Err("MissingParameter"));
    assert_eq!(code(vec![Filter { name: None, values: vec!["x".into()] }]), Err("MissingParameter"));
    assert_eq!(code(vec![filter("size", &vec!["1"; 201])]), Err("FilterLimitExceeded"));
    assert_eq!(code(vec![filter("size", &[&"x".repeat(1025)])]), Err("FilterLimitExceeded"));
}

#[test]
fn wildcards() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("?", "", false),
        ("a*c", "abbbc", true),
        ("a*c", "abbbcd", false),
        ("*b*", "abc", true),
        ("a?c", "abc", true),
        ("a\\*c", "a*c", true),
        ("a\\*c", "abc", false),
        ("a\\?", "a?", true),
        ("\\\\", "\\", true),
        ("\\x", "\\x", true),
        ("é*", "éa", true),
        ("**a**", "a", true),
    ] {
        assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
    }
    let long = "a*".repeat(500) + "b";
    assert!(!Pattern::new(&long).matches(&"a".repeat(1000)), "and that in no long time");
}

/// The obvious way, which may take for ever.
fn slowly(steps: &[Step], text: &[char]) -> bool {
    match (steps.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((Step::AnyMany, more)), rest) => {
            slowly(more, text) || rest.is_some_and(|(_, rest)| slowly(steps, rest))
        }
        (Some((Step::AnyOne, more)), Some((_, rest))) => slowly(more, rest),
        (Some((Step::Exactly(c), more)), Some((d, rest))) => c == d && slowly(more, rest),
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn the_fast_way_is_the_obvious_way(pattern in "[ab*?\\\\]{0,8}", text in "[ab*]{0,8}") {
        let pattern = Pattern::new(&pattern);
        let chars: Vec<char> = text.chars().collect();
        prop_assert_eq!(pattern.matches(&text), slowly(&pattern.0, &chars));
    }
}
