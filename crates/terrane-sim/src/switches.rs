//! Switches that put a known bug back, to prove that a world would notice it.

use std::fmt;

/// The bug that a run has, if any. A world declares its names in [`crate::runner::World::bugs`]
/// and hands what it finds switched on to the core it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(Option<&'static str>);

impl Switches {
    /// No bug.
    pub const NONE: Self = Self(None);

    /// This one, by the name that the world declared.
    #[must_use]
    pub const fn bug(name: &'static str) -> Self {
        Self(Some(name))
    }

    /// Whether this bug is switched on.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0 == Some(name)
    }
}

/// As the command line takes it.
impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |bug| write!(f, " --bug {bug}"))
    }
}
