//! Names of what the core tells apart.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub $inner);
    )*};
}

ids! {
    /// A request, unique among all front ends and for all time that it can be heard of.
    RequestId(u128);
    /// Who asks: what rates and fairness go by.
    ClientId(u64);
    /// A router in the inventory.
    RouterId(u64);
    /// A process that leases shards.
    WorkerId(u64);
    /// Grows with every change of a shard's holder; the number of a store's lease epoch.
    Epoch(u64);
    /// A session of one holder of a router; never used twice within an epoch.
    SessionId(u64);
    /// An execution of a plan; never used twice by one core.
    RunId(u64);
    /// Something to log in with, of one version: a changed password is another credential.
    CredentialId(u64);
    /// What checks logins, and locks accounts: an authentication server, or a router by itself.
    RealmId(u64);
    /// Routers with a ceiling in common: behind one jump host, on one site.
    GroupId(u64);
}
