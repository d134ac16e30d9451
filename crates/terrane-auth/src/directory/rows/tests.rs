use serde::de::DeserializeOwned;

use super::*;

/// What is behind the version byte in a stored row.
fn pin<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, hex: &str) {
    let bytes = postcard::to_stdvec(value).unwrap();
    assert_eq!(hex::encode(&bytes), hex);
    assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), *value);
}

fn time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn alice() -> Identity {
    Identity::user(AccountId::root(), UserName::parse("alice").unwrap())
}

#[test]
fn the_rows_are_pinned() {
    let account = AccountRow {
        name: "n".into(),
        created: time(),
        status: Status::Disabled,
        rate_limit: Some(RateLimit { per_second: 5, burst: 6 }),
        policies: 7,
        root_password: Some(vec![8]),
    };
    pin(&account, "016e14323032372d30312d31355430383a30303a30305a0101050607010108");
    let user = UserRow {
        created: time(),
        status: Status::Enabled,
        managed_policies: BTreeSet::from([ManagedPolicy::FullAccess, ManagedPolicy::ReadOnly]),
        password: None,
    };
    pin(&user, "14323032372d30312d31355430383a30303a30305a0002000100");
    let key = AccessKeyRow {
        owner: alice(),
        created: time(),
        expires: Some(time()),
        status: Status::Enabled,
        secret: vec![1, 2],
    };
    pin(
        &key,
        "0c3030303030303030303030310105616c69636514323032372d30312d31355430383a30303a30305a0114323032372d30312d31355430383a30303a30305a00020102",
    );
    let token = TokenRow {
        owner: Identity::root(AccountId::root()),
        name: "t".into(),
        created: time(),
        expires: None,
        sha256: [9; 32],
    };
    pin(
        &token,
        "0c30303030303030303030303100017414323032372d30312d31355430383a30303a30305a000909090909090909090909090909090909090909090909090909090909090909",
    );
    pin(&PolicyRow { text: "p".into(), updated: time() }, "017014323032372d30312d31355430383a30303a30305a");
}

#[test]
fn the_versions_are_pinned() {
    let versions =
        [AccountRow::VERSION, UserRow::VERSION, AccessKeyRow::VERSION, TokenRow::VERSION, PolicyRow::VERSION];
    assert_eq!(versions, [1; 5]);
}
