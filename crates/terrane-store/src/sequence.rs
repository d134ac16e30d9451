use crate::tuple::Pack;
use crate::{Result, StoreError, Tx};

/// Numbers 1, 2, 3, … handed out in the order of the transactions that take them; a number taken
/// by a transaction that fails is taken again.
///
/// All takers of one sequence conflict with each other: for identities that need no order use
/// random ones.
#[derive(Debug, Clone, Copy)]
pub struct Sequence {
    name: &'static str,
}

impl Sequence {
    /// The sequence of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Takes the next number.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&self, tx: &Tx) -> Result<u64> {
        let key = ("s", self.name).pack();
        let last = match tx.get(&key).await? {
            None => 0,
            Some(value) => decode(self.name, &value)?,
        };
        let next = last + 1;
        tx.put(key, encode(next)).await?;
        Ok(next)
    }
}

/// Version byte, big-endian number.
fn encode(number: u64) -> Vec<u8> {
    [&[1], &number.to_be_bytes()[..]].concat()
}

fn decode(name: &str, value: &[u8]) -> Result<u64> {
    match value {
        [1, number @ ..] if number.len() == 8 => {
            Ok(number.iter().fold(0, |acc, byte| (acc << 8) | u64::from(*byte)))
        }
        _ => Err(StoreError::decode(format!("sequence {name}"), "not a version 1 counter")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_row_is_pinned() {
        assert_eq!(super::encode(258), [1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(super::decode("s", &super::encode(258)).unwrap(), 258);
        assert!(super::decode("s", &[2, 0]).is_err());
    }
}
