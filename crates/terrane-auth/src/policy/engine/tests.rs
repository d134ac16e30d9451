use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use terrane_types::AccountId;

use super::super::{OwnerSays, Why};
use super::*;

fn account(n: u32) -> AccountId {
    AccountId::parse(&format!("{n:012}")).unwrap()
}

fn context() -> RequestContext {
    RequestContext {
        source_ip: Some("10.1.2.3".parse().unwrap()),
        secure_transport: false,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

fn policies(texts: &[(&str, &str)]) -> AccountPolicies {
    let named: Vec<_> = texts.iter().map(|(name, text)| (PolicyName::parse(name).unwrap(), *text)).collect();
    for (_, text) in &named {
        schema::validate(text).unwrap();
    }
    AccountPolicies::parse(named.iter().map(|(name, text)| (name, *text))).unwrap()
}

fn ask_in(
    policies: &AccountPolicies,
    managed: &[ManagedPolicy],
    user: &str,
    action: &str,
    target: Target<'_>,
    context: &RequestContext,
) -> Verdict {
    let owner = account(7);
    let mut managed = managed.iter().copied();
    let user = UserName::parse(user).unwrap();
    policies.ask(&user, &mut managed, action, &Resource::new(&owner, target), context)
}

fn ask(policies: &AccountPolicies, user: &str, action: &str, target: Target<'_>) -> Verdict {
    ask_in(policies, &[], user, action, target, &context())
}

fn permitted(ids: &[&str]) -> Verdict {
    Verdict::Permitted(ids.iter().map(ToString::to_string).collect())
}

fn forbidden(ids: &[&str]) -> Verdict {
    Verdict::Forbidden(ids.iter().map(ToString::to_string).collect())
}

const KEY: Target<'_> = Target::Object { bucket: "photos", key: "2026/x.jpg" };

#[test]
fn a_fresh_user_may_nothing_and_managed_policies_give_what_they_say() {
    let none = policies(&[]);
    assert_eq!(ask(&none, "alice", "s3:GetObject", KEY), Verdict::Silent);
    let (full, read) = ([ManagedPolicy::FullAccess], [ManagedPolicy::ReadOnly]);
    let full = |action, target| ask_in(&none, &full, "alice", action, target, &context());
    let read = |action, target| ask_in(&none, &read, "alice", action, target, &context());
    for action in actions::all() {
        for target in action.on.kinds().iter().copied().map(target_of) {
            assert_eq!(full(action.name, target), permitted(&["managed/full-access"]), "{}", action.name);
            let reads = action.access == actions::Access::Read;
            let expected = if reads { permitted(&["managed/read-only"]) } else { Verdict::Silent };
            assert_eq!(read(action.name, target), expected, "{}", action.name);
        }
    }
    assert_eq!(full("s3:NotInTheTable", KEY), permitted(&["managed/full-access"]));
    assert_eq!(read("s3:NotInTheTable", KEY), Verdict::Silent);
}

fn target_of(kind: &str) -> Target<'static> {
    match kind {
        "Account" => Target::Account,
        "Bucket" => Target::Bucket("photos"),
        "Object" => KEY,
        "Installation" => Target::Installation,
        "Volume" => Target::Volume("vol-12345678"),
        "Snapshot" => Target::Snapshot("snap-12345678"),
        "Instance" => Target::Instance("i-12345678"),
        other => panic!("no target for {other}"),
    }
}

#[test]
fn policies_name_volumes_and_instances() {
    let set = policies(&[(
        "attach",
        r#"permit (principal, action == Action::"ec2:AttachVolume", resource == Volume::"vol-12345678");
           permit (principal, action in Action::"ec2:write", resource is Instance)
           when { resource.id == "i-12345678" };"#,
    )]);
    let ask = |action, target| ask(&set, "alice", action, target);
    assert_eq!(ask("ec2:AttachVolume", Target::Volume("vol-12345678")), permitted(&["attach"]));
    assert_eq!(ask("ec2:AttachVolume", Target::Volume("vol-12345679")), Verdict::Silent);
    assert_eq!(ask("ec2:AttachVolume", Target::Instance("i-12345678")), permitted(&["attach#2"]));
    assert_eq!(ask("ec2:DeleteVolume", Target::Volume("vol-12345678")), Verdict::Silent);
    assert_eq!(ask("ec2:DescribeVolumes", Target::Account), Verdict::Silent);
}

#[test]
fn policies_name_users_buckets_and_keys_and_say_what_decided() {
    let set = policies(&[
        (
            "photos",
            r#"permit (principal == User::"alice", action in Action::"s3:read", resource in Bucket::"photos");
               permit (principal == User::"bob", action == Action::"s3:PutObject", resource)
               when { resource.bucket == "photos" && resource.key like "2026/*" };"#,
        ),
        ("no-deletes", r#"forbid (principal, action == Action::"s3:DeleteObject", resource);"#),
    ]);
    assert_eq!(ask(&set, "alice", "s3:GetObject", KEY), permitted(&["photos"]));
    assert_eq!(ask(&set, "alice", "s3:ListBucket", Target::Bucket("photos")), permitted(&["photos"]));
    assert_eq!(ask(&set, "alice", "s3:ListBucket", Target::Bucket("other")), Verdict::Silent);
    assert_eq!(ask(&set, "alice", "s3:PutObject", KEY), Verdict::Silent);
    assert_eq!(ask(&set, "bob", "s3:PutObject", KEY), permitted(&["photos#2"]));
    let other = Target::Object { bucket: "photos", key: "2025/x.jpg" };
    assert_eq!(ask(&set, "bob", "s3:PutObject", other), Verdict::Silent);
    assert_eq!(ask(&set, "bob", "s3:DeleteObject", KEY), forbidden(&["no-deletes"]));
    let full = [ManagedPolicy::FullAccess];
    let decided = ask_in(&set, &full, "bob", "s3:DeleteObject", KEY, &context());
    assert_eq!(decided, forbidden(&["no-deletes"]), "a forbid wins");
}

#[test]
fn policies_see_the_circumstances() {
    let set = policies(&[(
        "inside",
        r#"permit (principal, action, resource)
           when { context has source_ip && context.source_ip.isInRange(ip("10.0.0.0/8")) };
           forbid (principal, action, resource) when { context.now >= datetime("2040-01-01") };"#,
    )]);
    let at = |context| ask_in(&set, &[], "alice", "s3:GetObject", KEY, &context);
    assert_eq!(at(context()), permitted(&["inside"]));
    assert_eq!(
        at(RequestContext { source_ip: Some("1.1.1.1".parse().unwrap()), ..context() }),
        Verdict::Silent
    );
    let mapped = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(at(RequestContext { source_ip: Some(mapped), ..context() }), permitted(&["inside"]));
    assert_eq!(at(RequestContext { source_ip: None, ..context() }), Verdict::Silent);
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(2_300_000_000);
    assert_eq!(at(RequestContext { now: late, ..context() }), forbidden(&["inside#2"]));
}

#[test]
fn a_forbid_that_fails_forbids() {
    // Arithmetic overflow is an evaluation error that validation cannot exclude.
    let set = policies(&[(
        "overflow",
        r#"permit (principal, action, resource);
           forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };"#,
    )]);
    assert_eq!(ask(&set, "alice", "s3:GetObject", KEY), forbidden(&["overflow#2"]));
}

#[test]
fn eleven_statements_keep_their_numbers() {
    let mut text = r#"permit (principal == User::"nobody", action, resource);"#.repeat(10);
    text.push_str(r#"permit (principal == User::"alice", action, resource);"#);
    let set = policies(&[("many", &text)]);
    assert_eq!(ask(&set, "alice", "s3:GetObject", KEY), permitted(&["many#11"]));
}

#[test]
fn users_of_other_accounts_need_both_sides() {
    let set = policies(&[("all", "permit (principal, action, resource);")]);
    let (mine, theirs) = (account(7), account(8));
    let alice = UserName::parse("alice").unwrap();
    let decide = |owner: &AccountId, owner_says, policies: &AccountPolicies| {
        let principal = crate::Identity::user(mine.clone(), alice.clone()).into();
        let resource = Resource { target: KEY, owner, owner_says };
        super::super::decide_at_once(&principal, &resource).unwrap_or_else(|| {
            let managed = BTreeSet::new();
            let who =
                super::super::UserPolicies { account: &mine, user: &alice, managed: &managed, policies };
            super::super::decide_for_user(&who, "s3:GetObject", &resource, &context())
        })
    };
    let none = policies(&[]);
    assert!(decide(&mine, OwnerSays::Nothing, &set).allowed);
    assert!(!decide(&mine, OwnerSays::Nothing, &none).allowed);
    assert!(decide(&mine, OwnerSays::Allow, &none).allowed);
    assert!(!decide(&theirs, OwnerSays::Nothing, &set).allowed);
    assert!(decide(&theirs, OwnerSays::Allow, &set).allowed);
    assert_eq!(decide(&theirs, OwnerSays::Allow, &none).why, Why::NothingAllows);
    assert!(!decide(&mine, OwnerSays::Deny, &set).allowed);
}
