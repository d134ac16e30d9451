//! Switches that take a rule away, to prove that simulations would notice.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The rules taken away. Only tests switch any on.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Bugs {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Bugs {
            /// Every rule as it is.
            pub const NONE: Self = Self { $($name: false,)* };

            /// All names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// The bug of this name; none if there is no such name.
            #[must_use]
            pub fn named(name: &str) -> Self {
                let mut bugs = Self::default();
                match name {
                    $(stringify!($name) => bugs.$name = true,)*
                    _ => {}
                }
                bugs
            }
        }
    };
}

bugs! {
    /// A request joins a command that was sent too long before it.
    join_too_old,
    /// An answer may show what was observed before the connection was the client's.
    show_before_owned,
    /// Facts are held against the connection without its instance.
    view_ignores_instance,
    /// Who joins an execution gets what the first one may see.
    share_first_view,
    /// A successor begins with full buckets.
    full_after_takeover,
    /// A successor does not count its predecessor's sessions.
    forget_predecessor,
    /// A session's slot is given back although its end is not certain.
    release_uncertain,
    /// A worker writes without looking at its lease.
    write_after_lease,
    /// A front end takes answers of an epoch that is over.
    accept_old_epoch,
    /// A front end does not send its open requests to a successor.
    no_resend,
    /// A refused credential is tried again.
    retry_refused,
    /// A credential that nobody has proven is tried at many routers at once.
    many_canaries,
    /// Requests are served in the order of their arrival, whoever sent them.
    first_come,
    /// A request that was answered at its deadline is answered again by the late result.
    answer_twice,
    /// A share that has expired goes on.
    keep_share,
    /// Tokens that routers have in common are whoever's comes first.
    no_turns,
    /// Commands of a plan after its first take no tokens.
    free_steps,
    /// A router is asked during maintenance.
    ignore_maintenance,
}
