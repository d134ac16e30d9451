//! Connections that fell silent.

use super::{Action, HELLO, Leader, Role};
use crate::liveness::{Millis, millis};

impl Leader {
    /// Closes connections that say nothing. After the manager itself was not running, nobody is blamed for it.
    pub(super) fn watch_sessions(&mut self, now: Millis) {
        let silence = millis(self.timing.silence);
        let late = self.live.was_late();
        for (id, session) in &mut self.sessions {
            if late {
                session.heard = now;
            }
            let most = if matches!(session.role, Role::Unknown) { HELLO } else { silence };
            if now.saturating_sub(session.heard) > most {
                session.heard = now;
                self.out.push(Action::Close(*id));
            }
        }
    }
}
