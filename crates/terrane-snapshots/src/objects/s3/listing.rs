//! S3's documents, as far as they are read: pages of ListObjectsV2, and the codes of errors.

use quick_xml::Reader;
use quick_xml::events::Event;
use terrane_snapshot::objects::Listed;

/// Entries of a page, at most.
const ENTRIES_MAX: usize = 10_000;

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) names: Vec<Listed>,
    pub(super) truncated: bool,
}

/// Calls `field` with the path of names (without the root) and the text of every element that has text.
fn walk(document: &[u8], mut field: impl FnMut(&[String], &str) -> Result<(), String>) -> Result<(), String> {
    let text = std::str::from_utf8(document).map_err(|_| "not UTF-8")?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                if path.len() >= 16 {
                    return Err("too deep".into());
                }
                path.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                content.clear();
            }
            Event::Text(part) => content.push_str(&part.decode().map_err(|error| error.to_string())?),
            Event::CData(part) => content.push_str(&part.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| error.to_string())?;
                let resolved = match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(character) => character,
                    None => match &*name {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err("an unknown entity".into()),
                    },
                };
                content.push(resolved);
            }
            Event::End(_) => {
                if let Some((_, inner)) = path.split_first() {
                    field(inner, &content)?;
                }
                path.pop();
                content.clear();
            }
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err("cut short".into()),
            _ => {}
        }
    }
}

/// Reads a page of ListObjectsV2.
pub(super) fn parse(document: &[u8]) -> Result<Page, String> {
    let mut page = Page::default();
    let (mut key, mut size, mut is_told) = (None, None, false);
    walk(document, |path, text| {
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["IsTruncated"] => {
                page.truncated = text == "true";
                is_told = true;
            }
            ["Contents", "Key"] => key = Some(text.to_owned()),
            ["Contents", "Size"] => size = Some(text.parse::<u64>().map_err(|_| "a size that is none")?),
            ["Contents"] => {
                let (Some(name), Some(len)) = (key.take(), size.take()) else {
                    return Err("an object without name or size".into());
                };
                if page.names.len() >= ENTRIES_MAX || page.names.last().is_some_and(|last| last.name >= name)
                {
                    return Err("too many names, or not in order".into());
                }
                page.names.push(Listed { name, len });
            }
            _ => {}
        }
        Ok(())
    })?;
    if is_told { Ok(page) } else { Err("not a listing".into()) }
}

/// The code of an error document.
pub(super) fn error_code(document: &[u8]) -> Option<String> {
    let mut code = None;
    let read = walk(document, |path, text| {
        if path == ["Code"] && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            code = Some(text.to_owned());
        }
        Ok(())
    });
    read.ok().and(code)
}

/// Reads whatever bytes are; for fuzzing.
pub fn fuzz_decode(bytes: &[u8]) {
    if let Ok(page) = parse(bytes) {
        assert!(page.names.is_sorted_by(|a, b| a.name < b.name));
    }
    let _ = error_code(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Name>b</Name><Prefix>p&amp;</Prefix><IsTruncated>true</IsTruncated>\
        <Contents><Key>a&lt;b</Key><Size>7</Size><ETag>&quot;x&quot;</ETag></Contents>\
        <Contents><Key>c</Key><Size>0</Size></Contents></ListBucketResult>";

    #[test]
    fn a_page_is_read() {
        let page = parse(PAGE.as_bytes()).unwrap();
        let name = |name: &str, len| Listed { name: name.into(), len };
        assert_eq!(page, Page { names: vec![name("a<b", 7), name("c", 0)], truncated: true });
        for bad in ["", "<a>", "<a></a>", "<a><Contents><Key>x</Key></Contents></a>"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let unsorted = PAGE.replace(">c<", ">a<");
        assert!(parse(unsorted.as_bytes()).is_err());
    }

    #[test]
    fn the_code_of_an_error_is_read() {
        let document = b"<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>";
        assert_eq!(error_code(document).as_deref(), Some("NoSuchBucket"));
        assert_eq!(error_code(b"<Error><Code>a b</Code></Error>"), None);
        assert_eq!(error_code(b"gateway"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_survived(bytes: Vec<u8>, at in 0usize..400, byte: u8) {
            fuzz_decode(&bytes);
            let mut mutated = PAGE.as_bytes().to_vec();
            let at = at % mutated.len();
            mutated[at] = byte;
            fuzz_decode(&mutated);
        }
    }
}
