//! Signatures made by botocore, the signer of the AWS CLI and boto3, on requests drawn at random: each must
//! verify here, and our own must be the same, byte for byte.

use std::process::Command;

use http::Request;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use terrane_auth::sigv4::{Body, Claim, How, Payload, Rules, Signer, SigningKeys};
use terrane_auth::{AuthError, Secret};
use terrane_types::{AccessKeyId, Region};

use super::*;

const SCRIPT: &str = include_str!("sign_with_botocore.py");
const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// One signed request, as the script prints it.
#[derive(Deserialize)]
struct Case {
    service: String,
    presigned: bool,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Case {
    /// The request as a server gets it: the target without scheme and host.
    fn received(&self) -> Request<()> {
        let uri: http::Uri = self.url.parse().unwrap();
        let mut builder = Request::builder().method(self.method.as_str());
        builder = builder.uri(uri.path_and_query().unwrap().as_str());
        let host = uri.authority().unwrap().as_str();
        builder = builder.header("host", host);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            builder = builder.header(name, value);
        }
        builder.body(()).unwrap()
    }

    fn service(&self) -> &'static str {
        if self.service == "s3" { "s3" } else { "ec2" }
    }
}

/// The output of the script; also what a machine without Python or botocore must fail with.
fn cases(count: usize) -> Vec<Case> {
    let output = Command::new("python3").args(["-c", SCRIPT, &count.to_string(), ID, SECRET]).output();
    let output = output.expect("python3 with botocore is needed (pip install botocore)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test]
fn what_botocore_signs_verifies_and_we_sign_the_same() {
    let secret = Secret::new(SECRET.into());
    let id = AccessKeyId::parse(ID).unwrap();
    let keys = SigningKeys::new(10);
    let (mut header, mut presigned, mut resigned) = (0, 0, 0);
    for case in cases(400) {
        let request = case.received();
        let claim = Claim::parse((&request).into()).unwrap().expect("signed");
        let key = keys.key(&claim.access_key, &secret, &claim.scope);
        let body: [u8; 32] = Sha256::digest(case.body.as_bytes()).into();
        let verified = claim.verify(
            (&request).into(),
            &key,
            &Rules::default(),
            case.service(),
            SystemTime::now(),
            Some(&body),
        );
        verified.unwrap_or_else(|error| panic!("{error}: {} {}\n{:?}", case.method, case.url, case.headers));
        assert_eq!(claim.how == How::Header, !case.presigned);
        if case.presigned {
            presigned += 1;
            continue;
        }
        header += 1;
        // Our signer adds x-amz-content-sha256; where botocore's did too, both sign the same headers.
        if claim.payload == Payload::Sha256(body) {
            let theirs = request.headers()["authorization"].clone();
            let at = request.headers()["x-amz-date"].to_str().unwrap().to_owned();
            let (mut parts, ()) = request.into_parts();
            let signer = Signer::new(id.clone(), secret.clone(), Region::us_east_1(), case.service());
            signer.sign(&mut parts, Body::Bytes(case.body.as_bytes()), time(&at)).unwrap();
            assert_eq!(parts.headers["authorization"], theirs, "{}", case.url);
            resigned += 1;
        }
    }
    assert!(header > 100 && presigned > 100 && resigned > 50, "{header} {presigned} {resigned}");
}

fn time(text: &str) -> SystemTime {
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).unwrap();
    civil.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().into()
}

#[tokio::test]
async fn another_secret_does_not_verify() {
    let auth = fresh().await;
    for case in cases(3) {
        let request = case.received();
        let refused = auth.authenticate((&request).into(), case.service(), None, SystemTime::now()).await;
        assert!(matches!(refused, Err(AuthError::InvalidAccessKey(_))));
    }
}
