//! ETag and checksum of an object that is made of parts, from those of the parts.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum_combine};
use s3s::crypto::{Checksum, Md5};
use s3s::dto::{ChecksumType, CompletedPart as NamedPart};
use s3s::{S3Error, S3ErrorCode, S3Result};
use terrane_objects::service::{ObjectAttrs, ObjectError, PartInfo};

use crate::checksums::{Algorithm, hex};
use crate::errors::from_store;
use crate::multipart::{part_tag, upload_checksum};
use crate::objects_read::sum;

/// What follows from the parts.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) etag: String,
    /// Algorithm and value in S3's spelling, if all parts have one.
    pub(crate) checksum: Option<(String, String)>,
    pub(crate) size: u64,
}

/// S3's ETag of multipart objects: MD5 of the parts' MD5s, and their number.
pub(crate) fn part_etag<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut md5 = Md5::new();
    let mut count = 0u32;
    for etag in etags {
        count += 1;
        match unhex(etag) {
            Some(digest) => md5.update(&digest),
            None => md5.update(etag.as_bytes()),
        }
    }
    format!("{}-{count}", hex(&md5.finalize()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Puts the named parts together, as far as their descriptions go.
///
/// # Errors
/// Part missing, ETag or checksum other than stored, numbers not ascending.
pub(crate) fn assemble(
    stored: &BTreeMap<u32, PartInfo>,
    named: &[NamedPart],
    upload: &ObjectAttrs,
) -> S3Result<Assembly> {
    let mut parts: Vec<&PartInfo> = Vec::with_capacity(named.len());
    for name in named {
        let number = name.part_number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        if parts.last().is_some_and(|before| before.number >= number) {
            return Err(from_store(ObjectError::InvalidPartOrder));
        }
        let part = stored.get(&number).filter(|p| p.etag == part_tag(name) && sums_agree(p, name));
        parts.push(part.ok_or_else(|| from_store(ObjectError::InvalidPart(number)))?);
    }
    let size = parts.iter().try_fold(0u64, |size, part| size.checked_add(part.size)).unwrap_or(u64::MAX);
    let algorithm = upload_checksum(upload);
    let checksum = match algorithm {
        None => None,
        Some(algorithm) => {
            let values = values(&parts, algorithm)?;
            let full = upload.checksum_type.as_deref() == Some(ChecksumType::FULL_OBJECT);
            let text =
                if full { combined(algorithm, &parts, &values) } else { Some(composed(algorithm, &values)) };
            text.map(|text| (algorithm.as_str().to_owned(), text))
        }
    };
    Ok(Assembly { etag: part_etag(parts.iter().map(|p| p.etag.as_str())), checksum, size })
}

/// Whether the checksums that a completion names are the part's.
fn sums_agree(part: &PartInfo, named: &NamedPart) -> bool {
    [
        ("CRC32", &named.checksum_crc32),
        ("CRC32C", &named.checksum_crc32c),
        ("CRC64NVME", &named.checksum_crc64nvme),
        ("SHA1", &named.checksum_sha1),
        ("SHA256", &named.checksum_sha256),
    ]
    .into_iter()
    .all(|(name, value)| value.is_none() || *value == sum(&part.checksums, name))
}

fn values(parts: &[&PartInfo], algorithm: Algorithm) -> S3Result<Vec<Vec<u8>>> {
    let value = |part: &&PartInfo| {
        let text = sum(&part.checksums, algorithm.as_str())?;
        BASE64.decode(text).ok()
    };
    parts.iter().map(value).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let message = "A part has no checksum of the upload's algorithm";
        S3Error::with_message(S3ErrorCode::InvalidRequest, message)
    })
}

/// Checksum of the parts' checksums, and their number.
fn composed(algorithm: Algorithm, values: &[Vec<u8>]) -> String {
    format!("{}-{}", BASE64.encode(algorithm.of(&values.concat())), values.len())
}

/// The checksum that the whole object has.
fn combined(algorithm: Algorithm, parts: &[&PartInfo], values: &[Vec<u8>]) -> Option<String> {
    let crc = match algorithm {
        Algorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        Algorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
        Algorithm::Sha1 | Algorithm::Sha256 => return None,
    };
    let number = |value: &Vec<u8>| value.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    let mut whole: Option<u64> = None;
    for (part, value) in parts.iter().zip(values) {
        whole = Some(match whole {
            None => number(value),
            Some(before) => checksum_combine(crc, before, number(value), part.size),
        });
    }
    let width = values.first()?.len();
    Some(BASE64.encode(whole?.to_be_bytes().get(8 - width..)?))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use s3s::dto::ETag;

    use super::*;
    use crate::checksums::Hasher;
    use crate::multipart::CHECKSUM_ALGORITHM;

    fn parts(data: &[Vec<u8>], algorithm: Algorithm) -> (BTreeMap<u32, PartInfo>, Vec<NamedPart>) {
        let mut stored = BTreeMap::new();
        let mut named = Vec::new();
        for (number, bytes) in (1u32..).zip(data) {
            let mut hasher = Hasher::new(true, Some(algorithm));
            hasher.update(bytes);
            let digests = hasher.finish();
            let (etag, checksums) = (digests.etag(), digests.stored());
            let e_tag = Some(ETag::Strong(etag.clone()));
            named.push(NamedPart { part_number: Some(number as i32), e_tag, ..Default::default() });
            let part =
                PartInfo { number, size: digests.length, etag, checksums, modified: SystemTime::UNIX_EPOCH };
            stored.insert(number, part);
        }
        (stored, named)
    }

    fn upload(algorithm: Algorithm, kind: &str) -> ObjectAttrs {
        let mut attrs = ObjectAttrs { checksum_type: Some(kind.to_owned()), ..ObjectAttrs::default() };
        attrs.extra.insert(CHECKSUM_ALGORITHM.to_owned(), algorithm.as_str().to_owned());
        attrs
    }

    #[test]
    fn etags_of_multipart_objects() {
        // Two parts of 5 MiB of zeros, as md5(md5(part) ++ md5(part)) gives it.
        let zeros = vec![vec![0; 5 << 20]; 2];
        let (stored, named) = parts(&zeros, Algorithm::Crc32);
        let whole = assemble(&stored, &named, &ObjectAttrs::default()).unwrap();
        assert_eq!(whole.etag, "a7d414b9133d6483d9a1c4e04e856e3b-2");
        assert_eq!((whole.size, whole.checksum), (10 << 20, None));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (stored, named) = parts(&[vec![1], vec![2]], Algorithm::Sha1);
        let code = |named: &[NamedPart]| {
            assemble(&stored, named, &ObjectAttrs::default()).unwrap_err().code().as_str().to_owned()
        };
        let mut reversed = named.clone();
        reversed.reverse();
        assert_eq!(code(&reversed), "InvalidPartOrder");
        let mut twice = named.clone();
        twice[1].part_number = Some(1);
        assert_eq!(code(&twice), "InvalidPartOrder");
        let mut missing = named.clone();
        missing[1].part_number = Some(3);
        assert_eq!(code(&missing), "InvalidPart");
        let mut wrong = named;
        wrong[0].checksum_sha1 = Some("AAAA".into());
        assert_eq!(code(&wrong), "InvalidPart");
    }

    proptest! {
        #[test]
        fn combined_is_the_checksum_of_the_whole(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)
        ) {
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let (stored, named) = parts(&data, algorithm);
                let attrs = upload(algorithm, ChecksumType::FULL_OBJECT);
                let (_, text) = assemble(&stored, &named, &attrs).unwrap().checksum.unwrap();
                prop_assert_eq!(text, BASE64.encode(algorithm.of(&data.concat())));
            }
        }

        #[test]
        fn composed_counts_its_parts(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5)
        ) {
            let (stored, named) = parts(&data, Algorithm::Sha256);
            let attrs = upload(Algorithm::Sha256, ChecksumType::COMPOSITE);
            let (_, text) = assemble(&stored, &named, &attrs).unwrap().checksum.unwrap();
            let sums: Vec<u8> = data.iter().flat_map(|d| Algorithm::Sha256.of(d)).collect();
            let expected = format!("{}-{}", BASE64.encode(Algorithm::Sha256.of(&sums)), data.len());
            prop_assert_eq!(text, expected);
        }
    }
}
