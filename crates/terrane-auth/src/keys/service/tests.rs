use std::path::PathBuf;

use super::*;

fn account(n: u32) -> AccountId {
    AccountId::parse(&format!("{n:012}")).unwrap()
}

const PURPOSE: Purpose<'_> = Purpose { kind: "test", id: "one" };

async fn ephemeral() -> KeyService {
    KeyService::ephemeral(Store::memory(), MasterKey::random()).await.unwrap()
}

#[tokio::test]
async fn secrets_open_only_for_their_account_and_purpose() {
    let keys = ephemeral().await;
    let sealed = keys.seal(&account(1), PURPOSE, b"secret").await.unwrap();
    assert_eq!(keys.open_sealed(&account(1), PURPOSE, &sealed).await.unwrap().as_slice(), b"secret");
    let other = Purpose { id: "two", ..PURPOSE };
    assert!(matches!(keys.open_sealed(&account(1), other, &sealed).await, Err(KeyError::Damaged("test"))));
    keys.seal(&account(2), PURPOSE, b"").await.unwrap();
    assert!(matches!(keys.open_sealed(&account(2), PURPOSE, &sealed).await, Err(KeyError::Damaged("test"))));
    assert!(matches!(
        keys.open_sealed(&account(3), PURPOSE, &sealed).await,
        Err(KeyError::NoSuchVersion { version: 1, .. })
    ));
    for bad in [&b""[..], b"\x01", b"\x02garbage that is long enough to be an envelope"] {
        assert!(keys.open_sealed(&account(1), PURPOSE, bad).await.is_err());
    }
}

#[tokio::test]
async fn old_versions_of_an_accounts_key_still_open() {
    let keys = ephemeral().await;
    let old = keys.seal(&account(1), PURPOSE, b"old").await.unwrap();
    assert_eq!(keys.rotate_account_key(&account(1)).await.unwrap(), 2);
    assert_eq!(keys.rotate_account_key(&account(1)).await.unwrap(), 3);
    let new = keys.seal(&account(1), PURPOSE, b"new").await.unwrap();
    assert_eq!((&old[1..5], &new[1..5]), (&[0, 0, 0, 1][..], &[0, 0, 0, 3][..]));
    // Also for a process that has nothing cached.
    let master = keys.0.masters.read().current.clone();
    let again = KeyService::ephemeral(keys.0.store.clone(), master).await.unwrap();
    assert_eq!(again.open_sealed(&account(1), PURPOSE, &old).await.unwrap().as_slice(), b"old");
    assert_eq!(again.open_sealed(&account(1), PURPOSE, &new).await.unwrap().as_slice(), b"new");
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let keys = ephemeral().await;
    let other = KeyService::ephemeral(keys.0.store.clone(), MasterKey::random()).await;
    assert!(matches!(other, Err(KeyError::MasterMissing { .. })));
}

/// A store with secrets of three accounts, and the path of its master key.
async fn on_disk() -> (tempfile::TempDir, PathBuf, Store, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys/master.key");
    let store = Store::memory();
    let keys = KeyService::open(store.clone(), &path).await.unwrap();
    let mut sealed = Vec::new();
    for n in 1..=3 {
        sealed.push(keys.seal(&account(n), PURPOSE, b"secret").await.unwrap());
    }
    (dir, path, store, sealed)
}

async fn all_open(keys: &KeyService, sealed: &[Vec<u8>]) {
    keys.0.keys.invalidate_all();
    for (n, sealed) in (1..).zip(sealed) {
        assert_eq!(keys.open_sealed(&account(n), PURPOSE, sealed).await.unwrap().as_slice(), b"secret");
    }
}

#[tokio::test]
async fn a_lost_master_key_is_not_silently_replaced() {
    let (_dir, path, store, sealed) = on_disk().await;
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let refused = KeyService::open(store.clone(), &path).await.unwrap_err();
    assert!(matches!(refused, KeyError::MasterMissing { .. }), "{refused}");
    assert!(!path.exists());
    std::fs::rename(&aside, &path).unwrap();
    all_open(&KeyService::open(store, &path).await.unwrap(), &sealed).await;
}

#[tokio::test]
async fn the_master_key_rotates_without_touching_secrets() {
    let (_dir, path, store, sealed) = on_disk().await;
    let keys = KeyService::open(store.clone(), &path).await.unwrap();
    let stranger = KeyService::open(store.clone(), &path).await.unwrap();
    let old = std::fs::read(&path).unwrap();
    let first = keys.rotate_master().await.unwrap();
    let second = keys.rotate_master().await.unwrap();
    assert_ne!(first, second);
    assert_ne!(std::fs::read(&path).unwrap(), old);
    all_open(&keys, &sealed).await;
    all_open(&KeyService::open(store.clone(), &path).await.unwrap(), &sealed).await;
    // A process that was running meanwhile finds the new key, for opening and for sealing.
    all_open(&stranger, &sealed).await;
    let late = KeyService::open(store.clone(), &path).await.unwrap();
    keys.rotate_master().await.unwrap();
    late.seal(&account(9), PURPOSE, b"x").await.unwrap();
    std::fs::write(&path, old).unwrap();
    assert!(matches!(KeyService::open(store, &path).await, Err(KeyError::MasterMissing { .. })));
}

#[tokio::test]
async fn a_rotation_cut_off_anywhere_is_finished_at_the_next_start() {
    for steps in 0..3 {
        let (_dir, path, store, sealed) = on_disk().await;
        let file = MasterFile::new(&path);
        let next = MasterKey::random();
        file.write_next(&next).unwrap();
        if steps >= 1 {
            let fingerprint = next.fingerprint();
            let record = |tx: Tx| async move {
                let row = super::super::rows::CurrentMaster { fingerprint };
                MASTER.put(&tx, &0, &row).await
            };
            store.transact(record).await.unwrap();
        }
        if steps >= 2 {
            // One of the three is wrapped anew already.
            let masters = rotation::load(&store, &file).await.unwrap();
            let half = KeyService::with(store.clone(), Some(file.clone()), masters);
            let rewrap = |tx: Tx| {
                let half = &half;
                async move {
                    let row = KEYS.get(&tx, &(account(1), 1)).await?.unwrap();
                    let key = half.unwrap(&account(1), 1, &row)?;
                    Ok::<_, KeyError>(
                        KEYS.put(&tx, &(account(1), 1), &half.wrap(&account(1), 1, &key)).await?,
                    )
                }
            };
            store.transact(rewrap).await.unwrap();
        }
        let keys = KeyService::open(store.clone(), &path).await.unwrap();
        all_open(&keys, &sealed).await;
        let finished = file.read().unwrap().unwrap().fingerprint() == next.fingerprint();
        assert_eq!(finished, steps >= 1, "after step {steps}");
        all_open(&KeyService::open(store.clone(), &path).await.unwrap(), &sealed).await;
        keys.rotate_master().await.unwrap();
        all_open(&KeyService::open(store, &path).await.unwrap(), &sealed).await;
    }
}

#[tokio::test]
async fn the_only_copy_of_the_new_key_is_never_overwritten() {
    let (_dir, path, store, _) = on_disk().await;
    let keys = KeyService::open(store.clone(), &path).await.unwrap();
    keys.rotate_master().await.unwrap();
    let sealed = keys.seal(&account(9), PURPOSE, b"secret").await.unwrap();
    // As if the rename had not been done and somebody had cleaned the old key away.
    std::fs::rename(&path, path.with_extension("key.next")).unwrap();
    let keys = KeyService::open(store.clone(), &path).await.unwrap();
    assert!(path.exists());
    keys.rotate_master().await.unwrap();
    let again = KeyService::open(store, &path).await.unwrap();
    assert_eq!(again.open_sealed(&account(9), PURPOSE, &sealed).await.unwrap().as_slice(), b"secret");
}

#[tokio::test]
async fn two_rotations_at_once_do_not_mix() {
    let (_dir, path, store, sealed) = on_disk().await;
    let keys = KeyService::open(store.clone(), &path).await.unwrap();
    let lock = MasterFile::new(&path).lock().unwrap().unwrap();
    assert!(matches!(keys.rotate_master().await, Err(KeyError::MasterRotating)));
    drop(lock);
    keys.rotate_master().await.unwrap();
    all_open(&keys, &sealed).await;
}

#[tokio::test]
async fn a_deleted_accounts_secrets_are_gone() {
    let keys = ephemeral().await;
    let sealed = keys.seal(&account(1), PURPOSE, b"secret").await.unwrap();
    let (handle, owner) = (&keys, &account(1));
    keys.0.store.transact(|tx| async move { handle.delete_account_keys(&tx, owner).await }).await.unwrap();
    assert!(matches!(keys.open_sealed(owner, PURPOSE, &sealed).await, Err(KeyError::NoSuchVersion { .. })));
}
