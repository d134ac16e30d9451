use serde::{Deserialize, Serialize};
use terrane_store::tuple::Pack;
use terrane_store::{Index, Record, Sequence, Store, StoreError, Table};
use tokio::task::JoinSet;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    mail: String,
    groups: Vec<String>,
}

impl Record for User {
    const VERSION: u8 = 2;

    /// Version 1 had no groups.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, String> {
        if version != 1 {
            return Err(format!("version {version}"));
        }
        let mail = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())?;
        Ok(Self { mail, groups: Vec::new() })
    }
}

static BY_MAIL: Index<User> = Index { name: "mail", keys: |user| vec![user.mail.pack()] };
static BY_GROUP: Index<User> =
    Index { name: "group", keys: |user| user.groups.iter().map(Pack::pack).collect() };
static USERS: Table<(String, u64), User> = Table::new("users", &[&BY_MAIL, &BY_GROUP]);

fn user(mail: &str, groups: &[&str]) -> User {
    User { mail: mail.into(), groups: groups.iter().map(|group| (*group).into()).collect() }
}

pub(crate) async fn tables_keep_their_indexes(store: &Store) {
    let id = |n: u64| ("acme".to_string(), n);
    store
        .transact(|tx| async move {
            USERS.put(&tx, &id(1), &user("a@x", &["dev", "ops"])).await?;
            USERS.put(&tx, &id(2), &user("b@x", &["dev"])).await?;
            USERS.put(&tx, &("other".into(), 1), &user("c@x", &[])).await?;
            USERS.put(&tx, &id(1), &user("a2@x", &["ops"])).await
        })
        .await
        .unwrap();
    store
        .read(|tx| async move {
            assert_eq!(USERS.get(&tx, &id(1)).await?, Some(user("a2@x", &["ops"])));
            assert!(USERS.find(&tx, &BY_MAIL, &"a@x", 9).await?.is_empty(), "the old mail is not found");
            assert_eq!(USERS.find(&tx, &BY_MAIL, &"a2@x", 9).await?, [(id(1), user("a2@x", &["ops"]))]);
            assert_eq!(USERS.find(&tx, &BY_GROUP, &"dev", 9).await?, [(id(2), user("b@x", &["dev"]))]);
            assert_eq!(USERS.scan(&tx, None, 9).await?.len(), 3);
            assert_eq!(USERS.scan(&tx, Some(&id(1)), 9).await?.len(), 2);
            let acme = USERS.scan_prefix(&tx, &("acme",), None, 9).await?;
            assert_eq!(acme.into_iter().map(|(key, _)| key.1).collect::<Vec<_>>(), [1, 2]);
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let deleted = store
        .transact(|tx| async move {
            Ok::<_, StoreError>((USERS.delete(&tx, &id(2)).await?, USERS.delete(&tx, &id(9)).await?))
        })
        .await
        .unwrap();
    assert_eq!(deleted, (true, false));
    // A row in the previous form is read, one in an unknown form is an error.
    let key = |n: u64| ("t", "users", "acme", n).pack();
    super::put(store, &key(3), b"\x01old@x").await;
    super::put(store, &key(4), b"\x09?").await;
    store
        .read(|tx| async move {
            assert!(USERS.find(&tx, &BY_GROUP, &"dev", 9).await?.is_empty());
            assert_eq!(USERS.get(&tx, &id(3)).await?, Some(user("old@x", &[])));
            let unknown = USERS.get(&tx, &id(4)).await;
            assert!(matches!(unknown, Err(StoreError::Decode { .. })), "{unknown:?}");
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

pub(crate) async fn sequences_have_no_gaps(store: &Store) {
    static IDS: Sequence = Sequence::new("ids");
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            for round in 0..10 {
                let number = store
                    .transact(|tx| async move {
                        let number = IDS.next(&tx).await?;
                        if round == 5 { Err(StoreError::Usage("changed my mind")) } else { Ok(number) }
                    })
                    .await;
                taken.extend(number);
            }
            taken
        });
    }
    let mut taken = tasks.join_all().await.concat();
    taken.sort_unstable();
    assert_eq!(taken, (1..=36).collect::<Vec<u64>>());
}
