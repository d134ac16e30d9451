use terrane_auth::policy::{OwnerSays, Resource, Target, Why};
use terrane_auth::{ManagedPolicy, PolicyName, Principal};

use super::*;

const KEY: Target<'_> = Target::Object { bucket: "b", key: "k" };

async fn may(auth: &Auth, who: &Identity, action: &str, owner: &AccountId, target: Target<'_>) -> bool {
    let resource = Resource::new(owner, target);
    let principal = Principal::from(who.clone());
    auth.authorize(&principal, action, &resource, &context()).await.unwrap().allowed
}

fn policy(name: &str) -> PolicyName {
    PolicyName::parse(name).unwrap()
}

#[tokio::test]
async fn an_account_does_everything_with_its_own_and_nothing_with_others() {
    let auth = fresh().await;
    let (mine, theirs) = (account(&auth).await, account(&auth).await);
    let root = Identity::root(mine.clone());
    for action in ["s3:PutObject", "s3:DeleteBucket", "terrane:CreateUser", "something:New"] {
        assert!(may(&auth, &root, action, &mine, KEY).await);
        assert!(!may(&auth, &root, action, &theirs, KEY).await);
    }
    let (root_account, installation) = (AccountId::root(), Target::Installation);
    assert!(!may(&auth, &root, "terrane:ControlQueues", &root_account, installation).await);
    let operator = Identity::root(root_account.clone());
    assert!(may(&auth, &operator, "terrane:ControlQueues", &root_account, installation).await);
    assert!(!may(&auth, &operator, "s3:GetObject", &mine, KEY).await, "not even the operator");
}

#[tokio::test]
async fn users_need_policies_and_see_changes_at_once() {
    let auth = fresh().await;
    let (mine, theirs) = (account(&auth).await, account(&auth).await);
    let alice = user(&auth, &mine, "alice").await;
    let name = alice.user.as_ref().unwrap();
    assert!(!may(&auth, &alice, "s3:GetObject", &mine, KEY).await);

    auth.attach_managed_policy(&mine, name, ManagedPolicy::ReadOnly).await.unwrap();
    assert!(may(&auth, &alice, "s3:GetObject", &mine, KEY).await);
    assert!(!may(&auth, &alice, "s3:PutObject", &mine, KEY).await);
    assert!(!may(&auth, &alice, "s3:GetObject", &theirs, KEY).await);

    let text =
        r#"permit (principal == User::"alice", action == Action::"s3:PutObject", resource in Bucket::"b");"#;
    auth.put_policy(&mine, &policy("write-b"), text).await.unwrap();
    assert!(may(&auth, &alice, "s3:PutObject", &mine, KEY).await);
    let elsewhere = Target::Object { bucket: "c", key: "k" };
    assert!(!may(&auth, &alice, "s3:PutObject", &mine, elsewhere).await);

    auth.put_policy(&mine, &policy("freeze"), r#"forbid (principal, action in Action::"write", resource);"#)
        .await
        .unwrap();
    let principal = Principal::from(alice.clone());
    let resource = Resource::new(&mine, KEY);
    let decision = auth.authorize(&principal, "s3:PutObject", &resource, &context()).await.unwrap();
    assert_eq!((decision.allowed, decision.why), (false, Why::Policies(vec!["freeze".into()])));
    assert!(
        may(&auth, &Identity::root(mine.clone()), "s3:PutObject", &mine, KEY).await,
        "the root stands above"
    );

    auth.delete_policy(&mine, &policy("freeze")).await.unwrap();
    assert!(may(&auth, &alice, "s3:PutObject", &mine, KEY).await);
    auth.delete_user(&mine, name).await.unwrap();
    assert!(!may(&auth, &alice, "s3:PutObject", &mine, KEY).await);
}

#[tokio::test]
async fn what_the_owner_says_on_the_resource_counts() {
    let auth = fresh().await;
    let (mine, theirs) = (account(&auth).await, account(&auth).await);
    let says = |owner_says, who: Principal| {
        let (auth, theirs) = (&auth, &theirs);
        async move {
            let resource = Resource { owner_says, ..Resource::new(theirs, KEY) };
            auth.authorize(&who, "s3:GetObject", &resource, &context()).await.unwrap().allowed
        }
    };
    let (me, owner) = (Identity::root(mine), Identity::root(theirs.clone()));
    assert!(!says(OwnerSays::Nothing, Principal::Anonymous).await);
    assert!(says(OwnerSays::Allow, Principal::Anonymous).await);
    assert!(says(OwnerSays::Allow, me.into()).await);
    assert!(!says(OwnerSays::Deny, owner.into()).await);
}

#[tokio::test]
async fn policies_are_validated_listed_and_bounded() {
    let auth = fresh().await;
    let mine = account(&auth).await;
    let refused = auth.put_policy(&mine, &policy("p"), "permit (everything);").await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("InvalidPolicy", 400));
    assert!(auth.policies(&mine).await.unwrap().is_empty());
    let text = "permit (principal, action, resource);";
    for n in 0..terrane_auth::POLICIES_MAX {
        auth.put_policy(&mine, &policy(&format!("p{n:02}")), text).await.unwrap();
    }
    assert_eq!(auth.put_policy(&mine, &policy("q"), text).await.unwrap_err().code(), "LimitExceeded");
    auth.put_policy(&mine, &policy("p00"), "forbid (principal, action, resource);").await.unwrap();
    let all = auth.policies(&mine).await.unwrap();
    assert_eq!(all.len(), terrane_auth::POLICIES_MAX);
    assert_eq!(all[0], auth.policy(&mine, &policy("p00")).await.unwrap());
    assert!(all[0].text.starts_with("forbid"));
    auth.delete_policy(&mine, &policy("p00")).await.unwrap();
    for result in [
        auth.delete_policy(&mine, &policy("p00")).await.unwrap_err(),
        auth.policy(&mine, &policy("p00")).await.unwrap_err(),
    ] {
        assert_eq!((result.code(), result.status()), ("NoSuchPolicy", 404));
    }
}
