//! EC2 behind the front door, over the model: who is let in, what policy says, what the audit log keeps.

use std::time::{Duration, SystemTime};

use http::Method;
use terrane_api::ServerConfig;
use terrane_auth::{AuthConfig, Identity, ManagedPolicy, PolicyName, RateLimit, Secret, UserName};
use terrane_types::AccountId;

use crate::fixture::{Answer, Fixture, signer};

fn element<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = answer.text.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    inner.map_or("", |(inner, _)| inner)
}

fn refused(answer: &Answer) -> (u16, &str) {
    assert!(answer.header("content-type").starts_with("text/xml"), "{answer:?}");
    assert_eq!(element(answer, "RequestID"), answer.header("x-amz-request-id"), "{answer:?}");
    (answer.status, element(answer, "Code"))
}

async fn call(door: &Fixture, signer: &terrane_auth::sigv4::Signer, form: &str) -> Answer {
    let body = format!("Action={form}&Version=2016-11-15");
    door.signed(signer, Method::POST, "/", body.as_bytes()).await
}

async fn create(door: &Fixture, signer: &terrane_auth::sigv4::Signer) -> String {
    let made = call(door, signer, "CreateVolume&AvailabilityZone=us-east-1a&Size=1").await;
    assert_eq!(made.status, 200, "{made:?}");
    element(&made, "volumeId").to_owned()
}

#[tokio::test]
async fn forms_and_queries_are_calls() {
    let door = Fixture::new().await;
    let root = door.signer("ec2");
    let id = create(&door, &root).await;
    let uri = format!("/?Action=DescribeVolumes&Version=2016-11-15&VolumeId.1={id}");
    let by_query = door.signed(&root, Method::GET, &uri, b"").await;
    assert_eq!(element(&by_query, "volumeId"), id, "{by_query:?}");
    let presigned = root.presign(
        &Method::GET,
        &door.url(&uri).parse().unwrap(),
        Duration::from_secs(60),
        SystemTime::now(),
    );
    let presigned = door.http.get(presigned.unwrap().to_string()).send().await.unwrap();
    let presigned = Answer::of(presigned).await;
    assert_eq!(element(&presigned, "volumeId"), id, "{presigned:?}");
    let rehearsal = call(&door, &root, &format!("DeleteVolume&VolumeId={id}&DryRun=true")).await;
    assert_eq!(refused(&rehearsal), (412, "DryRunOperation"));
    assert_eq!(call(&door, &root, &format!("DeleteVolume&VolumeId={id}")).await.status, 200);
}

#[tokio::test]
async fn strangers_are_refused_in_ec2s_words() {
    let door = Fixture::new().await;
    let form = "Action=DescribeVolumes&Version=2016-11-15";
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let unsigned = door.http.post(door.url("/")).header(kind.0, kind.1).body(form).send().await.unwrap();
    assert_eq!(refused(&Answer::of(unsigned).await), (403, "MissingAuthenticationToken"));
    let unsigned = door.plain(Method::GET, &format!("/?{form}")).await;
    assert_eq!(refused(&unsigned), (403, "MissingAuthenticationToken"));
    let malformed = door.http.post(door.url("/")).header(kind.0, kind.1);
    let malformed =
        malformed.header("authorization", "AWS4-HMAC-SHA256 Credential=x").body(form).send().await;
    assert_eq!(refused(&Answer::of(malformed.unwrap()).await), (400, "IncompleteSignature"));

    let mut other = door.root.clone();
    other.secret = Secret::new("x".repeat(40));
    let wrong = call(&door, &signer(&other, "ec2"), "DescribeVolumes").await;
    assert_eq!(refused(&wrong), (403, "SignatureDoesNotMatch"));
    other.key.id = "AKIAAAAAAAAAAAAAAAAA".parse().unwrap();
    let nobody = call(&door, &signer(&other, "ec2"), "DescribeVolumes").await;
    assert_eq!(refused(&nobody), (401, "AuthFailure"));
    let late = door.signer("ec2").presign(
        &Method::GET,
        &door.url(&format!("/?{form}")).parse().unwrap(),
        Duration::from_secs(1),
        SystemTime::now() - Duration::from_secs(60),
    );
    let late = door.http.get(late.unwrap().to_string()).send().await.unwrap();
    assert_eq!(refused(&Answer::of(late).await), (400, "RequestExpired"));

    let root = door.signer("ec2");
    assert_eq!(refused(&call(&door, &root, "EatVolume").await), (400, "InvalidAction"));
    let empty = door.signed(&root, Method::POST, "/", b"Version=2016-11-15").await;
    assert_eq!(refused(&empty), (400, "MissingAction"));
    let long = format!("DescribeVolumes&Filter.1.Name={}", "x".repeat(600 << 10));
    assert_eq!(refused(&call(&door, &root, &long).await), (400, "InvalidRequest"));
}

#[tokio::test]
async fn accounts_and_policies_decide() {
    let door = Fixture::new().await;
    let root = door.signer("ec2");
    let (first, second) = (create(&door, &root).await, create(&door, &root).await);
    let instance = door.volumes.register(AccountId::root(), Default::default()).to_string();

    let lab = door.auth.create_account("lab").await.unwrap().id;
    let key = door.auth.create_access_key(&Identity::root(lab), None).await.unwrap();
    let foreign = call(&door, &signer(&key, "ec2"), &format!("DeleteVolume&VolumeId={first}")).await;
    assert_eq!(refused(&foreign), (400, "InvalidVolume.NotFound"));

    let account = AccountId::root();
    let name = UserName::parse("alice").unwrap();
    door.auth.create_user(&account, &name).await.unwrap();
    let alice = Identity::user(account.clone(), name.clone());
    let key = door.auth.create_access_key(&alice, None).await.unwrap();
    let alice = signer(&key, "ec2");
    let denied = (403, "UnauthorizedOperation");
    assert_eq!(refused(&call(&door, &alice, "DescribeVolumes").await), denied);
    door.auth.attach_managed_policy(&account, &name, ManagedPolicy::ReadOnly).await.unwrap();
    assert_eq!(call(&door, &alice, "DescribeVolumes").await.status, 200);
    assert_eq!(
        refused(&call(&door, &alice, "CreateVolume&AvailabilityZone=us-east-1a&Size=1").await),
        denied
    );

    let text = format!(
        "permit (principal, action in Action::\"ec2:write\", resource == Volume::\"{first}\");
         permit (principal, action == Action::\"ec2:AttachVolume\", resource == Instance::\"{instance}\");"
    );
    door.auth.put_policy(&account, &PolicyName::parse("one-volume").unwrap(), &text).await.unwrap();
    let attach =
        |volume: &str| format!("AttachVolume&VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf");
    assert_eq!(refused(&call(&door, &alice, &attach(&second)).await), denied);
    let rehearsal = call(&door, &alice, &format!("{}&DryRun=true", attach(&second))).await;
    assert_eq!(refused(&rehearsal), denied, "a rehearsal tells who may");
    assert_eq!(call(&door, &alice, &attach(&first)).await.status, 200);
    let both = format!("CreateTags&ResourceId.1={first}&ResourceId.2={second}&Tag.1.Key=k&Tag.1.Value=v");
    assert_eq!(refused(&call(&door, &alice, &both).await), denied);
    let one = format!("CreateTags&ResourceId.1={first}&Tag.1.Key=k&Tag.1.Value=v");
    assert_eq!(call(&door, &alice, &one).await.status, 200);
}

#[tokio::test]
async fn too_many_calls_are_told_so() {
    let limit = RateLimit { per_second: 1, burst: 2 };
    let auth = AuthConfig { default_rate_limit: Some(limit), ..AuthConfig::default() };
    let door = Fixture::with(ServerConfig::default(), auth, None).await;
    let root = door.signer("ec2");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(call(&door, &root, "DescribeVolumes").await);
    }
    let limited = answers.iter().find(|answer| answer.status != 200).expect("the third or the fourth");
    assert_eq!(refused(limited), (503, "RequestLimitExceeded"));
}

#[tokio::test]
async fn what_changes_something_is_audited() {
    let door = Fixture::new().await;
    let root = door.signer("ec2");
    let id = create(&door, &root).await;
    call(&door, &root, "DescribeVolumes").await;
    call(&door, &root, "EatVolume").await;
    call(&door, &root, &format!("DeleteVolume&VolumeId={id}")).await;
    call(&door, &root, &format!("DeleteVolume&VolumeId={id}")).await;
    let mut other = door.root.clone();
    other.secret = Secret::new("x".repeat(40));
    call(&door, &signer(&other, "ec2"), &format!("DeleteVolume&VolumeId={id}")).await;
    let lines = door.audit_lines();
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            (line["action"].as_str().unwrap(), line["status"].as_u64().unwrap(), line["error"].as_str())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("ec2:CreateVolume", 200, None),
            ("ec2:DeleteVolume", 200, None),
            ("ec2:DeleteVolume", 400, Some("InvalidVolume.NotFound")),
            ("ec2:DeleteVolume", 403, Some("SignatureDoesNotMatch")),
        ]
    );
    assert_eq!(lines[1]["resource"], id);
    assert_eq!(lines[1]["principal"], door.root.key.id.as_str());
    assert_eq!(lines[1]["account"], "000000000001");
    assert!(lines[3]["account"].is_null(), "nobody knows who that was");
}
