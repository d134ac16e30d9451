//! Any sequence of requests against a model of bytes.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Two extents and a half.
const BLOCKS: u64 = 2560;

#[derive(Clone, Debug)]
enum Act {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Read(u64, u64),
    Flush,
    Retire,
    /// The process dies and comes back.
    Reopen,
    Grow(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let range = || (0..BLOCKS, prop_oneof![4 => 1..20_u64, 2 => 60..300_u64]);
    prop_oneof![
        6 => (range(), 1..=255_u8).prop_map(|((first, len), byte)| Act::Write(first, len, byte)),
        2 => range().prop_map(|(first, len)| Act::Zero(first, len)),
        4 => range().prop_map(|(first, len)| Act::Read(first, len)),
        2 => Just(Act::Flush),
        1 => Just(Act::Retire),
        1 => Just(Act::Reopen),
        1 => (1..2000_u64).prop_map(Act::Grow),
    ]
}

struct Subject {
    dir: tempfile::TempDir,
    open: Option<(Pool, Arc<Copy>)>,
    /// The first byte of each block; all of a block's bytes are equal.
    model: Vec<u8>,
}

impl Subject {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pool = open(&dir);
        let copy = pool.create_copy(KEY, BLOCKS, vec![]).unwrap();
        Self { dir, open: Some((pool, copy)), model: vec![0; BLOCKS as usize] }
    }

    fn copy(&self) -> &Arc<Copy> {
        &self.open.as_ref().unwrap().1
    }

    /// The range, cut at the end, with its extents in the log.
    fn logged(&self, first: u64, len: u64) -> std::ops::Range<usize> {
        let end = (first + len).min(self.model.len() as u64);
        self.copy().commit(vec![Op::Enter((first / 1024..=(end - 1) / 1024).collect())]).unwrap();
        first as usize..end as usize
    }

    fn check(&self, first: u64, len: u64) {
        let range = first as usize..((first + len) as usize).min(self.model.len());
        let mut buf = vec![0xee; range.len() * BLOCK];
        let found = self.copy().read(first, &mut buf).unwrap();
        assert!(!found.is_damaged(), "{found:?}");
        for (block, byte) in buf.chunks(BLOCK).zip(&self.model[range]) {
            assert!(block.iter().all(|found| found == byte));
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Write(first, len, byte) => {
                let range = self.logged(first, len);
                self.copy().write(first, &vec![byte; range.len() * BLOCK]).unwrap();
                self.model[range].fill(byte);
            }
            Act::Zero(first, len) => {
                let range = self.logged(first, len);
                self.copy().zero(first, range.len() as u64).unwrap();
                self.model[range].fill(0);
            }
            Act::Read(first, len) => self.check(first, len),
            Act::Flush => self.copy().flush().unwrap(),
            Act::Retire => {
                self.copy().flush().unwrap();
                let log = self.copy().state().unwrap().log;
                self.copy().commit(vec![Op::Retire(log.into_iter().collect())]).unwrap();
            }
            Act::Reopen => {
                self.open = None;
                let pool = open(&self.dir);
                let copy = pool.open_copy(KEY).unwrap();
                self.open = Some((pool, copy));
            }
            Act::Grow(more) => {
                self.model.resize(self.model.len() + more as usize, 0);
                self.copy().commit(vec![Op::Grow(self.model.len() as u64)]).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn reads_what_was_written(acts in vec(act(), 1..40)) {
        let mut subject = Subject::new();
        acts.iter().for_each(|act| subject.act(act));
        (0..subject.model.len() as u64).step_by(256).for_each(|first| subject.check(first, 256));
    }
}
