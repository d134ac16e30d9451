use terrane_auth::{ACCESS_KEYS_PER_OWNER_MAX, ManagedPolicy, Secret, Status, TOKENS_PER_OWNER_MAX};

use super::*;

#[tokio::test]
async fn accounts_are_made_renamed_listed_and_deleted() {
    let auth = fresh().await;
    for bad in ["", "a\nb", &"x".repeat(129)] {
        assert_eq!(auth.create_account(bad).await.unwrap_err().code(), "InvalidArgument");
    }
    let mut ids = Vec::new();
    for n in 0..5 {
        let made = auth.create_account(&format!("account {n}")).await.unwrap();
        assert_eq!(auth.account(&made.id).await.unwrap(), made);
        ids.push(made.id);
    }
    ids.sort();
    let listed = |after: Option<AccountId>, limit| {
        let auth = &auth;
        async move {
            let accounts = auth.accounts(after.as_ref(), limit).await.unwrap();
            accounts.into_iter().map(|account| account.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(None, 100).await, ids);
    assert_eq!(listed(Some(ids[1].clone()), 2).await, ids[2..4]);
    assert_eq!(auth.rename_account(&ids[0], "new name").await.unwrap().name, "new name");

    let owner = user(&auth, &ids[0], "alice").await;
    let keys = [
        auth.create_access_key(&owner, None).await.unwrap(),
        auth.create_access_key(&Identity::root(ids[0].clone()), None).await.unwrap(),
    ];
    let token = auth.create_token(&owner, "t", None).await.unwrap();
    auth.delete_account(&ids[0]).await.unwrap();
    assert_eq!(listed(None, 100).await, ids[1..]);
    for key in &keys {
        assert!(auth.lookup(&key.key.id).await.unwrap().is_none());
    }
    assert!(auth.lookup_token(token.text.expose()).await.unwrap().is_none());
    let refused = auth.delete_account(&ids[0]).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("NoSuchAccount", 404));
}

#[tokio::test]
async fn an_account_with_many_users_can_be_deleted() {
    let auth = fresh().await;
    let id = account(&auth).await;
    for n in 0..250 {
        user(&auth, &id, &format!("user{n}")).await;
    }
    let neighbour = account(&auth).await;
    user(&auth, &neighbour, "bob").await;
    auth.delete_account(&id).await.unwrap();
    assert_eq!(auth.users(&id, None, 10).await.unwrap_err().code(), "NoSuchAccount");
    assert_eq!(auth.users(&neighbour, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn users_are_made_changed_listed_and_deleted() {
    let auth = fresh().await;
    let id = account(&auth).await;
    let name = |text: &str| UserName::parse(text).unwrap();
    for text in ["carol", "alice", "bob"] {
        user(&auth, &id, text).await;
    }
    assert_eq!(auth.create_user(&id, &name("bob")).await.unwrap_err().code(), "UserExists");
    let users = auth.users(&id, None, 100).await.unwrap();
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    let rest = auth.users(&id, Some(&name("alice")), 1).await.unwrap();
    assert_eq!(rest[0].name, name("bob"));
    let bob = auth.attach_managed_policy(&id, &name("bob"), ManagedPolicy::FullAccess).await.unwrap();
    assert_eq!(bob, auth.user(&id, &name("bob")).await.unwrap());
    let bob = auth.detach_managed_policy(&id, &name("bob"), ManagedPolicy::FullAccess).await.unwrap();
    assert!(bob.managed_policies.is_empty() && !bob.has_password);
    auth.delete_user(&id, &name("bob")).await.unwrap();
    for refused in [
        auth.user(&id, &name("bob")).await.unwrap_err(),
        auth.delete_user(&id, &name("bob")).await.unwrap_err(),
        auth.set_user_status(&id, &name("bob"), Status::Disabled).await.unwrap_err(),
        auth.create_access_key(&Identity::user(id.clone(), name("bob")), None).await.unwrap_err(),
        auth.create_token(&Identity::user(id.clone(), name("bob")), "t", None).await.unwrap_err(),
        auth.set_password(&Identity::user(id.clone(), name("bob")), &Secret::new("x".repeat(20)))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.code(), "NoSuchUser");
    }
    let nowhere = AccountId::parse("999999999999").unwrap();
    assert_eq!(auth.create_user(&nowhere, &name("x")).await.unwrap_err().code(), "NoSuchAccount");
}

#[tokio::test]
async fn access_keys_belong_to_one_owner_and_rotate() {
    let auth = fresh().await;
    let (id, other) = (account(&auth).await, account(&auth).await);
    let alice = user(&auth, &id, "alice").await;
    let first = auth.create_access_key(&alice, None).await.unwrap();
    let root = auth.create_access_key(&Identity::root(id.clone()), None).await.unwrap();
    assert!(!format!("{first:?}").contains(first.secret.expose()));
    let listed = auth.access_keys(&id).await.unwrap();
    assert_eq!(listed, [root.key.clone(), first.key.clone()]);
    let refused = auth.delete_access_key(&other, &first.key.id).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("NoSuchAccessKey", 404));

    let second = auth.rotate_access_key(&id, &first.key.id, HOUR).await.unwrap();
    assert_eq!(second.key.owner, alice);
    assert!(auth.lookup(&first.key.id).await.unwrap().is_some(), "in its hour of grace");
    assert!(auth.lookup(&second.key.id).await.unwrap().is_some());
    let third = auth.rotate_access_key(&id, &first.key.id, Duration::ZERO).await.unwrap();
    assert!(auth.lookup(&first.key.id).await.unwrap().is_none());
    for _ in 0..ACCESS_KEYS_PER_OWNER_MAX - 2 {
        auth.create_access_key(&alice, None).await.unwrap();
    }
    let refused = auth.create_access_key(&alice, None).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("LimitExceeded", 409));
    auth.delete_access_key(&id, &third.key.id).await.unwrap();
    assert!(auth.lookup(&third.key.id).await.unwrap().is_none());
    auth.create_access_key(&alice, None).await.unwrap();
}

#[tokio::test]
async fn tokens_are_bounded_and_expired_ones_make_room() {
    let auth = fresh().await;
    let owner = Identity::root(account(&auth).await);
    let past = Some(SystemTime::now() - HOUR);
    auth.create_token(&owner, "old", past).await.unwrap();
    for _ in 0..TOKENS_PER_OWNER_MAX {
        auth.create_token(&owner, "new", None).await.unwrap();
    }
    assert_eq!(auth.create_token(&owner, "more", None).await.unwrap_err().code(), "LimitExceeded");
    assert!(auth.tokens(&owner).await.unwrap().iter().all(|token| token.name == "new"));
}

#[tokio::test]
async fn nothing_in_the_store_shows_a_secret() {
    let installation = Installation::new().await;
    let auth = installation.auth(AuthConfig::default());
    let owner = Identity::root(account(&auth).await);
    let key = auth.create_access_key(&owner, None).await.unwrap();
    let token = auth.create_token(&owner, "t", None).await.unwrap();
    auth.set_password(&owner, &Secret::new("correct horse battery".into())).await.unwrap();
    let all = |tx: terrane_store::Tx| async move { tx.scan(&terrane_store::KeyRange::all(), 1000).await };
    let rows = installation.store.read(all).await.unwrap();
    assert!(rows.len() >= 4);
    let token_secret = token.text.expose().split_once('.').unwrap().1;
    for secret in [key.secret.expose(), token_secret, "correct horse battery", "argon2id"] {
        let shows = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!rows.iter().any(|(key, value)| shows(key) || shows(value)));
    }
}
