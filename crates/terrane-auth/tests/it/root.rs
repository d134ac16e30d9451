use terrane_auth::{RootAccess, Secret, Status};

use super::*;

#[tokio::test]
async fn the_root_key_is_made_once() {
    let installation = Installation::new().await;
    let auth = installation.auth(AuthConfig::default());
    let RootAccess { key: Some(first), created: true } = auth.ensure_root().await.unwrap() else {
        panic!("the first start makes a key")
    };
    assert_eq!(first.key.owner, Identity::root(AccountId::root()));
    let again = installation.auth(AuthConfig::default());
    let found = again.ensure_root().await.unwrap();
    let key = found.key.unwrap();
    assert!(!found.created && key.key == first.key && key.secret == first.secret);

    auth.set_access_key_status(&AccountId::root(), &first.key.id, Status::Disabled).await.unwrap();
    assert!(auth.ensure_root().await.unwrap().key.is_none(), "no key is made behind an operator's back");
}

#[tokio::test]
async fn two_first_starts_at_once_agree() {
    let installation = Installation::new().await;
    let (a, b) = (installation.auth(AuthConfig::default()), installation.auth(AuthConfig::default()));
    let (a, b) = tokio::join!(a.ensure_root(), b.ensure_root());
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.created ^ b.created);
    assert_eq!(a.key.unwrap().key, b.key.unwrap().key);
}

#[tokio::test]
async fn the_root_can_be_reset_but_not_locked_out() {
    let auth = fresh().await;
    let root = AccountId::root();
    let owner = Identity::root(root.clone());
    let first = auth.ensure_root().await.unwrap().key.unwrap();
    let token = auth.create_token(&owner, "t", None).await.unwrap();
    let password = Secret::new("correct horse battery".into());
    auth.set_password(&owner, &password).await.unwrap();
    let alice = user(&auth, &root, "alice").await;
    let hers = auth.create_access_key(&alice, None).await.unwrap();
    for refused in [
        auth.set_account_status(&root, Status::Disabled).await.unwrap_err(),
        auth.delete_account(&root).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), refused.status()), ("RootAccount", 409));
    }
    let new = auth.reset_root().await.unwrap();
    assert!(auth.lookup(&first.key.id).await.unwrap().is_none());
    assert!(auth.lookup_token(token.text.expose()).await.unwrap().is_none());
    assert!(auth.verify_password(&owner, &password).await.is_err());
    assert!(auth.lookup(&new.key.id).await.unwrap().is_some());
    assert!(auth.lookup(&hers.key.id).await.unwrap().is_some(), "users keep theirs");
    assert_eq!(auth.ensure_root().await.unwrap().key.unwrap().key, new.key);
}

#[tokio::test]
async fn a_reset_works_on_an_empty_store() {
    let auth = fresh().await;
    let key = auth.reset_root().await.unwrap();
    assert!(!auth.ensure_root().await.unwrap().created);
    assert!(auth.lookup(&key.key.id).await.unwrap().is_some());
}
