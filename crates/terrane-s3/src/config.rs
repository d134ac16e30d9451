//! Everything about the front end that an installation may choose.

use std::time::Duration;

use terrane_types::Region;

/// Settings of an [`S3Front`](crate::S3Front).
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The region that buckets without a location constraint are in.
    pub region: Region,
    /// Regions that a signature may name; `None`: any.
    pub regions: Option<Vec<Region>>,
    /// Base domains of virtual-hosted buckets (`bucket.DOMAIN`), without port.
    pub domains: Vec<String>,
    /// Bounds on requests.
    pub limits: Limits,
}

impl Default for S3Config {
    fn default() -> Self {
        Self { region: Region::us_east_1(), regions: None, domains: Vec::new(), limits: Limits::default() }
    }
}

/// Bounds on what one request may ask for. The defaults are S3's where S3 has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all header names and values together.
    pub header_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of an XML document in a request.
    pub xml_bytes: usize,
    /// Bytes of one PUT (object or part).
    pub put_bytes: u64,
    /// Bytes of an object made by a multipart upload.
    pub object_bytes: u64,
    /// Bytes of one chunk of a signed `aws-chunked` body; a chunk is held in memory until its signature is verified.
    pub signed_chunk_bytes: u64,
    /// Bytes of user metadata: names and values together.
    pub metadata_bytes: usize,
    /// A body that delivers nothing for so long is given up.
    pub body_stall: Duration,
    /// Difference between a request's clock and ours.
    pub clock_skew: Duration,
    /// Longest validity of a presigned URL.
    pub presign: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 16 << 10,
            headers: 100,
            xml_bytes: 2 << 20,
            put_bytes: 5 << 30,
            object_bytes: 5 << 40,
            signed_chunk_bytes: 16 << 20,
            metadata_bytes: 2 << 10,
            body_stall: Duration::from_secs(60),
            clock_skew: Duration::from_secs(15 * 60),
            presign: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
