use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tuple::{Pack, Unpack};
use crate::{KeyRange, Result, StoreError, Tx};

/// A value that tables hold: serde (postcard) behind a version byte.
///
/// When the fields change, raise `VERSION` and turn the previous form into the new one in
/// `migrate`; a test should pin the bytes of each version.
pub trait Record: Serialize + DeserializeOwned {
    /// The form that is written.
    const VERSION: u8;

    /// Reads a form before `VERSION`.
    ///
    /// # Errors
    /// A text that says why not. By default every other version is refused.
    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, String> {
        let _ = bytes;
        Err(format!("version {version} is unknown, this program writes {}", Self::VERSION))
    }
}

/// Encodes a record: version byte, postcard.
pub(crate) fn encode<V: Record>(name: &str, value: &V) -> Result<Vec<u8>> {
    let failed = |error| StoreError::decode(name, error);
    postcard::to_extend(value, vec![V::VERSION]).map_err(failed)
}

pub(crate) fn decode<V: Record>(name: &str, bytes: &[u8]) -> Result<V> {
    let (version, rest) =
        bytes.split_first().ok_or_else(|| StoreError::decode(name, "the value is empty"))?;
    if *version == V::VERSION {
        postcard::from_bytes(rest).map_err(|error| StoreError::decode(name, error))
    } else {
        V::migrate(*version, rest).map_err(|why| StoreError::decode(name, why))
    }
}

/// A secondary index: for every row the packed tuples under which it is found.
#[derive(Debug)]
pub struct Index<V> {
    /// Names the index within its table; never reused for something else.
    pub name: &'static str,
    /// The tuples of a row, packed ([`Pack::pack`]); none leaves the row out.
    pub keys: fn(&V) -> Vec<Vec<u8>>,
}

/// Rows of one type under typed keys, with secondary indexes kept in the same transaction.
///
/// ```
/// use terrane_store::tuple::Pack;
/// use terrane_store::{Index, Record, Store, Table};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct User { mail: String }
/// impl Record for User { const VERSION: u8 = 1; }
///
/// static BY_MAIL: Index<User> = Index { name: "mail", keys: |user| vec![user.mail.pack()] };
/// static USERS: Table<u64, User> = Table::new("users", &[&BY_MAIL]);
///
/// # async fn example(store: Store) -> Result<(), terrane_store::StoreError> {
/// store.transact(|tx| async move {
///     USERS.put(&tx, &7, &User { mail: "a@b".into() }).await?;
///     let found = USERS.find(&tx, &BY_MAIL, &"a@b", 10).await?;
///     assert_eq!(found.len(), 1);
///     Ok(())
/// }).await
/// # }
/// ```
#[derive(Debug)]
pub struct Table<K: 'static, V: 'static> {
    name: &'static str,
    indexes: &'static [&'static Index<V>],
    _key: PhantomData<fn(K)>,
}

impl<K: Pack + Unpack, V: Record> Table<K, V> {
    /// The table of this name.
    pub const fn new(name: &'static str, indexes: &'static [&'static Index<V>]) -> Self {
        Self { name, indexes, _key: PhantomData }
    }

    /// The row of `key`.
    ///
    /// # Errors
    /// The store's; [`StoreError::Decode`].
    pub async fn get(&self, tx: &Tx, key: &K) -> Result<Option<V>> {
        let value = tx.get(self.row_key(key)).await?;
        value.map(|value| decode(self.name, &value)).transpose()
    }

    /// Inserts or replaces the row of `key`.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, tx: &Tx, key: &K, value: &V) -> Result<()> {
        let new = self.index_rows(key, value);
        self.drop_index_rows(tx, key, &new).await?;
        // An index row's value is a version byte and the packed primary key.
        let mut target = vec![1];
        key.pack_into(&mut target);
        for row in new {
            tx.put(row, target.clone()).await?;
        }
        tx.put(self.row_key(key), encode(self.name, value)?).await
    }

    /// Deletes the row of `key`; tells whether there was one.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, tx: &Tx, key: &K) -> Result<bool> {
        let row_key = self.row_key(key);
        if tx.get(&row_key).await?.is_none() {
            return Ok(false);
        }
        self.drop_index_rows(tx, key, &[]).await?;
        tx.delete(row_key).await?;
        Ok(true)
    }

    /// The first `limit` rows in key order, behind `after` if given.
    ///
    /// # Errors
    /// The store's; [`StoreError::Decode`].
    pub async fn scan(&self, tx: &Tx, after: Option<&K>, limit: usize) -> Result<Vec<(K, V)>> {
        self.scan_prefix(tx, &(), after, limit).await
    }

    /// As [`Table::scan`], only rows whose key begins with the elements of `prefix`.
    ///
    /// # Errors
    /// The store's; [`StoreError::Decode`].
    pub async fn scan_prefix(
        &self,
        tx: &Tx,
        prefix: &impl Pack,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let mut start = self.prefix();
        let skip = start.len();
        prefix.pack_into(&mut start);
        let mut range = KeyRange::prefix(&start);
        if let Some(after) = after {
            range = range.rest(&self.row_key(after), false);
        }
        let rows = tx.scan(&range, limit).await?;
        rows.into_iter()
            .map(|(key, value)| {
                let key = K::unpack(key.get(skip..).unwrap_or_default());
                let key = key.map_err(|error| StoreError::decode(self.name, error))?;
                Ok((key, decode(self.name, &value)?))
            })
            .collect()
    }

    /// The first `limit` rows whose tuple in `index` begins with `prefix`, in the index's order.
    ///
    /// # Errors
    /// The store's; [`StoreError::Decode`].
    pub async fn find(
        &self,
        tx: &Tx,
        index: &'static Index<V>,
        prefix: &impl Pack,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let mut start = self.index_prefix(index);
        prefix.pack_into(&mut start);
        let mut found = Vec::new();
        for (_, key) in tx.scan(&KeyRange::prefix(&start), limit).await?.into_iter() {
            let key = K::unpack(key.get(1..).unwrap_or_default());
            let key = key.map_err(|error| StoreError::decode(self.name, error))?;
            if let Some(value) = self.get(tx, &key).await? {
                found.push((key, value));
            }
        }
        Ok(found)
    }

    fn prefix(&self) -> Vec<u8> {
        ("t", self.name).pack()
    }

    fn row_key(&self, key: &K) -> Vec<u8> {
        let mut out = self.prefix();
        key.pack_into(&mut out);
        out
    }

    fn index_prefix(&self, index: &Index<V>) -> Vec<u8> {
        ("i", self.name, index.name).pack()
    }

    fn index_rows(&self, key: &K, value: &V) -> Vec<Vec<u8>> {
        let rows = self.indexes.iter().flat_map(|index| {
            (index.keys)(value).into_iter().map(|tuple| {
                let mut row = self.index_prefix(index);
                row.extend(tuple);
                key.pack_into(&mut row);
                row
            })
        });
        rows.collect()
    }

    /// Deletes the index rows of the stored row that are not among `keep`.
    async fn drop_index_rows(&self, tx: &Tx, key: &K, keep: &[Vec<u8>]) -> Result<()> {
        if self.indexes.is_empty() {
            return Ok(());
        }
        if let Some(old) = self.get(tx, key).await? {
            for row in self.index_rows(key, &old) {
                if !keep.contains(&row) {
                    tx.delete(row).await?;
                }
            }
        }
        Ok(())
    }
}
