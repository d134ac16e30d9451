//! The plain bucket: a key holds one value or none.

use super::Model;
use std::marker::PhantomData;

/// A bucket without versions. Values should be unique in a history: the checker is exact either way, but sees
/// more when it can tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register<K>(PhantomData<K>);

/// An operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    /// Stores a value.
    Put(u64),
    /// Stores a value if there is none.
    PutIfNone(u64),
    /// Stores a value if this one is there.
    PutIf {
        /// The value that must be there.
        expected: u64,
        /// The value to store.
        value: u64,
    },
    /// Reads.
    Get,
    /// Removes, whatever is there.
    Delete,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterRet {
    /// Done.
    Done,
    /// The condition did not hold; nothing was done.
    Failed,
    /// What was read.
    Value(Option<u64>),
}

impl<K: Clone + Ord + std::fmt::Debug + std::hash::Hash> Model for Register<K> {
    type Key = K;
    type State = Option<u64>;
    type Op = RegisterOp;
    type Ret = RegisterRet;
    type Item = u64;

    fn step(state: &Self::State, op: &RegisterOp, ret: Option<&RegisterRet>) -> Option<Self::State> {
        let (answer, next) = match op {
            RegisterOp::Put(value) => (RegisterRet::Done, Some(*value)),
            RegisterOp::PutIfNone(value) if state.is_none() => (RegisterRet::Done, Some(*value)),
            RegisterOp::PutIf { expected, value } if *state == Some(*expected) => {
                (RegisterRet::Done, Some(*value))
            }
            RegisterOp::PutIfNone(_) | RegisterOp::PutIf { .. } => (RegisterRet::Failed, *state),
            RegisterOp::Get => (RegisterRet::Value(*state), *state),
            RegisterOp::Delete => (RegisterRet::Done, None),
        };
        (ret.is_none_or(|ret| *ret == answer)).then_some(next)
    }

    fn item(state: &Self::State) -> Option<u64> {
        *state
    }
}
