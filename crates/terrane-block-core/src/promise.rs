//! What an acknowledgement promises, as something to check answers against.
//!
//! Nothing older than the last acknowledged state is ever read, unless every in-sync copy lost unflushed data; then
//! nothing older than the last FLUSH, and never two different answers. A [`Register`] knows what one block may
//! hold ("register configuration"); simulations and searches keep one per block.

use std::collections::BTreeSet;
use std::fmt;

/// What one block may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register<V: Ord> {
    /// It holds one of these.
    settled: BTreeSet<V>,
    /// Writes that nobody has seen yet: each may take effect at any time until it is acknowledged.
    pending: BTreeSet<V>,
    /// All that it may have held since the last FLUSH.
    since_flush: BTreeSet<V>,
    /// All that it may have held since the FLUSH under way began.
    flushing: Option<BTreeSet<V>>,
    /// Writes that were pending at a loss: their acknowledgement may be from before it.
    clouded: BTreeSet<V>,
    /// How often data was lost.
    losses: u8,
}

/// An answer that breaks the promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken<V> {
    /// What was read.
    pub read: V,
    /// What might have been.
    pub allowed: Vec<V>,
}

impl<V: fmt::Debug> fmt::Display for Broken<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {:?}, but it may only be one of {:?}", self.read, self.allowed)
    }
}

impl<V: Ord + Clone> Register<V> {
    /// Holds `value` since ever.
    pub fn new(value: V) -> Self {
        let settled = BTreeSet::from([value]);
        Self {
            since_flush: settled.clone(),
            settled,
            pending: BTreeSet::new(),
            flushing: None,
            clouded: BTreeSet::new(),
            losses: 0,
        }
    }

    /// A write begins. Every write of a register has a value of its own.
    pub fn write(&mut self, value: V) {
        self.since_flush.insert(value.clone());
        if let Some(flushing) = &mut self.flushing {
            flushing.insert(value.clone());
        }
        self.pending.insert(value);
    }

    /// A write is acknowledged.
    pub fn acknowledged(&mut self, value: &V) {
        self.pending.remove(value);
        if !self.clouded.remove(value) {
            self.settled.clear();
        }
        self.settled.insert(value.clone());
    }

    /// How often data was lost so far: what a read that begins now is judged with.
    pub fn losses(&self) -> u8 {
        self.losses
    }

    /// A read, during which no write was acknowledged, returned `value`. It began when there were so many losses: if
    /// there was one since, it may have read before it, and says nothing about what is there now.
    ///
    /// # Errors
    /// If it may not be there.
    pub fn read(&mut self, value: &V, losses: u8) -> Result<(), Broken<V>> {
        if !self.pending.contains(value) && !self.settled.contains(value) {
            let allowed = self.settled.union(&self.pending).cloned().collect();
            return Err(Broken { read: value.clone(), allowed });
        }
        if losses == self.losses {
            self.pending.remove(value);
            self.settled = BTreeSet::from([value.clone()]);
        }
        Ok(())
    }

    /// A FLUSH begins.
    pub fn flush(&mut self) {
        self.flushing = Some(self.settled.union(&self.pending).cloned().collect());
    }

    /// The FLUSH that began last is acknowledged.
    pub fn flushed(&mut self) {
        if let Some(flushing) = self.flushing.take() {
            self.since_flush = flushing;
        }
    }

    /// Whether a copy that has `value` on stable media does not break the last FLUSH's promise.
    pub fn is_flushed(&self, value: &V) -> bool {
        self.since_flush.contains(value)
    }

    /// From here on no pending write takes effect any more; those that did are known by reading only.
    pub fn fenced(&mut self) {
        self.settled.append(&mut self.pending);
        self.clouded.clear();
        self.flushing = None;
    }

    /// Every in-sync copy lost unflushed data.
    pub fn lost(&mut self) {
        self.settled.extend(self.since_flush.iter().cloned());
        if let Some(flushing) = &mut self.flushing {
            flushing.extend(self.since_flush.iter().cloned());
        }
        self.clouded.extend(self.pending.iter().cloned());
        self.losses = self.losses.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::Register;

    #[test]
    fn an_acknowledged_write_hides_what_was_before() {
        let mut register = Register::new(0);
        register.write(1);
        assert_eq!(register.clone().read(&0, 0), Ok(()));
        assert_eq!(register.clone().read(&1, 0), Ok(()));
        register.acknowledged(&1);
        assert_eq!(register.read(&0, 0).map_err(|broken| broken.allowed), Err(vec![1]));
    }

    #[test]
    fn a_write_seen_once_cannot_be_unseen() {
        let mut register = Register::new(0);
        register.write(1);
        assert_eq!(register.read(&0, 0), Ok(()));
        assert_eq!(register.read(&1, 0), Ok(()));
        assert!(register.read(&0, 0).is_err());
    }

    #[test]
    fn loss_goes_back_to_the_flush_and_gives_one_answer() {
        let mut register = Register::new(0);
        for value in 1..4 {
            register.write(value);
            register.acknowledged(&value);
            if value == 2 {
                register.flush();
                register.flushed();
            }
        }
        register.lost();
        assert!(register.clone().read(&1, 1).is_err());
        assert_eq!(register.read(&2, 1), Ok(()));
        assert!(register.read(&3, 1).is_err());
    }

    #[test]
    fn after_a_fence_an_old_write_has_happened_or_not() {
        let mut register = Register::new(0);
        register.write(1);
        register.fenced();
        assert_eq!(register.read(&0, 0), Ok(()));
        assert!(register.read(&1, 0).is_err());
    }

    #[test]
    fn answers_from_before_a_loss_bind_nobody_after_it() {
        let mut register = Register::new(0);
        register.write(1);
        register.lost();
        register.acknowledged(&1);
        assert_eq!(register.clone().read(&0, 1), Ok(()));
        assert_eq!(register.read(&1, 0), Ok(()));
        assert_eq!(register.read(&0, 1), Ok(()));
    }
}
