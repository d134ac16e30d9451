//! Rules that can be left out, so that tests show that they are needed. Never in a product.

/// Which rules are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// Reservations are not looked at: only weights.
    pub weights_only: bool,
    /// Ceilings are not looked at.
    pub no_ceilings: bool,
    /// Who was idle gets what it did not use, before all others.
    pub idle_banks: bool,
    /// What was used beyond the reservation is taken from it later.
    pub spare_is_charged: bool,
    /// The device is given everything at once.
    pub no_depth: bool,
    /// Who has a reservation and nothing left of it gets nothing more.
    pub wastes_idle: bool,
}

impl Bugs {
    /// The rules as they are.
    pub const NONE: Self = Self {
        weights_only: false,
        no_ceilings: false,
        idle_banks: false,
        spare_is_charged: false,
        no_depth: false,
        wastes_idle: false,
    };
}
