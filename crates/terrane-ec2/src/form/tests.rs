use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the generator makes of a structure with one member of each kind. The requests below are what the public
/// vectors of the `ec2` protocol make clients send.
#[derive(Debug, Default, PartialEq)]
struct Everything {
    name: Option<String>,
    count: Option<i32>,
    long: Option<i64>,
    rate: Option<f64>,
    flag: Option<bool>,
    at: Option<Timestamp>,
    data: Option<Blob>,
    names: Vec<String>,
    inner: Option<Inner>,
    inners: Vec<Inner>,
}

#[derive(Debug, Default, PartialEq)]
struct Inner {
    key: String,
    values: Vec<i32>,
}

impl FromForm for Everything {
    fn from_node(mut node: Node) -> Result<Self, Ec2Error> {
        let this = Self {
            name: node.optional("Name")?,
            count: node.optional_in("Count", 1, 5)?,
            long: node.optional("Long")?,
            rate: node.optional("Rate")?,
            flag: node.optional("Flag")?,
            at: node.optional("At")?,
            data: node.optional("Data")?,
            names: node.list("N")?,
            inner: node.optional("Inner")?,
            inners: node.list("Inners")?,
        };
        node.finish()?;
        Ok(this)
    }
}

impl FromForm for Inner {
    fn from_node(mut node: Node) -> Result<Self, Ec2Error> {
        let this = Self { key: node.required("Key")?, values: node.list("Value")? };
        node.finish()?;
        Ok(this)
    }
}

fn read(body: &str) -> Result<Everything, Ec2Error> {
    let form = Form::parse(None, format!("Action=A&Version=2016-11-15&{body}").as_bytes())?;
    Everything::from_node(form.parameters)
}

fn code(body: &str) -> &'static str {
    read(body).expect_err(body).code()
}

#[test]
fn scalars() {
    let everything = read(
        "Name=a%20b%2Bc+d&Count=5&Long=-9223372036854775808&Rate=1.5e3&Flag=true&\
         At=2015-01-25T08:00:00.123Z&Data=Zm9v",
    );
    let expected = Everything {
        name: Some("a b+c d".into()),
        count: Some(5),
        long: Some(i64::MIN),
        rate: Some(1500.0),
        flag: Some(true),
        at: Some("2015-01-25T08:00:00.123Z".parse().unwrap()),
        data: Some(Blob(b"foo".to_vec())),
        ..Everything::default()
    };
    assert_eq!(everything, Ok(expected));
    assert_eq!(read("Name=").unwrap().name.as_deref(), Some(""), "empty is not missing");
}

#[test]
fn lists_and_structures() {
    let all = read("N.2=b&N.10=c&N.1=a&Inner.Key=k&Inner.Value.1=7&Inners.1.Key=x&Inners.2.Key=y").unwrap();
    assert_eq!(all.names, ["a", "b", "c"], "by number, not by text");
    assert_eq!(all.inner, Some(Inner { key: "k".into(), values: vec![7] }));
    assert_eq!(all.inners.iter().map(|inner| inner.key.as_str()).collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(read("N=").unwrap().names, [""; 0], "an empty list");
    assert_eq!(read("N.3=a&N.7=b").unwrap().names, ["a", "b"], "gaps are no matter");
}

#[test]
fn what_is_wrong_is_named() {
    for (body, expected) in [
        ("Count=6", "InvalidParameterValue"),
        ("Count=x", "InvalidParameterValue"),
        ("Count=", "InvalidParameterValue"),
        ("Count=2147483648", "InvalidParameterValue"),
        ("Rate=NaN", "InvalidParameterValue"),
        ("Flag=yes", "InvalidParameterValue"),
        ("At=yesterday", "InvalidParameterValue"),
        ("Data=%21", "InvalidParameterValue"),
        ("N=x", "InvalidParameterValue"),
        ("Inner.Value.1=1", "MissingParameter"),
        ("Inners.1.Value.1=1", "MissingParameter"),
        ("Nome=x", "UnknownParameter"),
        ("name=x", "UnknownParameter"),
        ("Name.1=x", "UnknownParameter"),
        ("Name=x&Name.1=x", "UnknownParameter"),
        ("Inner=x", "MissingParameter"),
        ("Inner=x&Inner.Key=x", "UnknownParameter"),
        ("N.0=x", "UnknownParameter"),
        ("N.01=x", "UnknownParameter"),
        ("N.x=x", "UnknownParameter"),
        ("N.1.1=x", "UnknownParameter"),
        ("N..1=x", "UnknownParameter"),
        (".=x", "UnknownParameter"),
        ("Name=x&Name=y", "InvalidQueryParameter"),
        ("Name=%ff", "MalformedQueryString"),
    ] {
        assert_eq!(code(body), expected, "{body}");
    }
    assert_eq!(
        read("Inners.1.Key=a&Inners.2.Value.1=1").unwrap_err().message(),
        "The request must contain the parameter Inners.2.Key"
    );
    assert_eq!(
        read("Inner.Key=a&Inner.Nonsense.1.X=1").unwrap_err().message(),
        "The parameter Inner.Nonsense.1.X is not recognized"
    );
}

#[test]
fn actions_versions_and_signatures() {
    let parse = |query: Option<&str>, body: &str| {
        Form::parse(query, body.as_bytes()).map(|form| form.action).map_err(|error| error.code())
    };
    assert_eq!(parse(None, "Action=DescribeVolumes&Version=2016-11-15"), Ok("DescribeVolumes".into()));
    assert_eq!(parse(Some("Action=DescribeVolumes&X-Amz-Date=1"), ""), Ok("DescribeVolumes".into()));
    assert_eq!(parse(Some("Version=2016-11-15"), "Action=A&&"), Ok("A".into()));
    assert_eq!(parse(None, ""), Err("MissingAction"));
    assert_eq!(parse(None, "Action=A&Action=B"), Err("InvalidQueryParameter"));
    assert_eq!(parse(Some("Action=A"), "Action=B"), Err("InvalidQueryParameter"));
    assert_eq!(parse(None, "Action=A&Version=2010-01-01"), Err("NoSuchVersion"));
    let form = Form::parse(None, b"Action=A&AWSAccessKeyId=x&Signature=y&X-Amz-Algorithm=z").unwrap();
    assert!(form.parameters.finish().is_ok());
}

#[test]
fn requests_are_bounded() {
    let many: String = (1..=PARAMETERS_MAX).map(|n| format!("N.{n}=x&")).collect();
    assert_eq!(code(&many), "InvalidQueryParameter");
    assert_eq!(code(&format!("{}=x", ["A"; 11].join("."))), "UnknownParameter");
    let message = read(&format!("{}=x", "x".repeat(100_000))).unwrap_err().message().to_owned();
    assert!(message.len() < 1000, "errors are short");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in vec(any::<u8>(), 0..200), query in ".{0,40}") {
        if let Ok(form) = Form::parse(Some(&query), &body) {
            drop(Everything::from_node(form.parameters));
        }
    }

    #[test]
    fn no_form_makes_it_panic(body in "((N|Name|Inner|Inners|Key|Value|[0-9]{1,3})[.=&]){0,30}") {
        drop(read(&body));
    }

    #[test]
    fn what_is_sent_is_what_is_read(name in ".{0,40}", names in vec(".{0,10}", 0..12)) {
        let escape = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let list: String = (1..).zip(&names).map(|(n, text)| format!("&N.{n}={}", escape(text))).collect();
        let all = read(&format!("Name={}{list}", escape(&name))).unwrap();
        prop_assert_eq!(all.name, Some(name));
        prop_assert_eq!(all.names, names);
    }
}

#[test]
fn identifiers_are_found_wherever_they_are() {
    let body = "Action=A&VolumeId=vol-1&ResourceId.2=i-2&ResourceId.1=vol-2&InstanceSpecification.InstanceId=i-1\
                &SourceSnapshotId=snap-1&Tag.1.Key=Id&Filter.1.Value.1=vol-9&ResourceId.1.x=no&ClientToken=vol-8";
    let form = Form::parse(None, body.as_bytes()).unwrap();
    assert_eq!(form.parameters.identifiers(), ["i-1", "vol-2", "i-2", "snap-1", "vol-1"]);
}
