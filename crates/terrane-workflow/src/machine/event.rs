//! Events: the log of a run.

use serde::{Deserialize, Serialize};
use terrane_store::Record;

use crate::action::{Outcome, StepError};

/// Longest text that an error leaves in the log, in bytes.
pub const ERROR_BYTES_MAX: usize = 1024;
/// Longest output of a step in bytes; an action that returns more has failed.
pub const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// Something that has happened to a run. Steps go by their number in the pinned template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An attempt begins; from here on it may have had its effect.
    Started {
        /// The step.
        step: usize,
        /// Whether it is taken back.
        undo: bool,
    },
    /// The attempt has ended.
    Ended {
        /// The step.
        step: usize,
        /// Whether it was taken back.
        undo: bool,
        /// How.
        how: Ended,
    },
    /// The engine ended during the attempt; whether it had its effect is unknown.
    Lost {
        /// The step.
        step: usize,
        /// Whether it was taken back.
        undo: bool,
    },
    /// Somebody paused the run.
    Paused,
    /// Somebody resumed it.
    Resumed,
    /// The run goes back from here.
    RollingBack {
        /// Why.
        cause: String,
    },
    /// Neither forward nor back is possible.
    Stuck {
        /// The step that failed.
        step: usize,
        /// Whether it was being taken back.
        undo: bool,
    },
    /// Somebody has looked at what was stuck and lets it go on.
    Retried,
    /// The end: everything is done.
    Completed,
    /// The end: everything is undone.
    RolledBack,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// With success and an output.
    Done(String),
    /// Before its end, since it was asked to.
    Interrupted,
    /// It may work later, and may have had its effect.
    Failed(String),
    /// It cannot work, and has had no effect that its undo does not take back.
    Refused(String),
}

impl Event {
    pub(super) fn ended(step: usize, undo: bool, outcome: Outcome) -> Self {
        let how = match outcome {
            Ok(output) if output.len() > OUTPUT_BYTES_MAX => {
                Ended::Refused(format!("an output of {} bytes", output.len()))
            }
            Ok(output) => Ended::Done(output),
            Err(StepError::Interrupted) => Ended::Interrupted,
            Err(StepError::Failed(why)) => Ended::Failed(clip(why)),
            Err(StepError::Refused(why)) => Ended::Refused(clip(why)),
        };
        Self::Ended { step, undo, how }
    }
}

/// Cuts a text at a character's end.
fn clip(mut text: String) -> String {
    let mut len = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    text.truncate(len);
    text
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Wall clock in milliseconds since 1970, for people: it orders nothing.
    pub at_unix_ms: u64,
    /// The epoch of the engine that wrote it.
    pub epoch: u64,
    /// What happened.
    pub event: Event,
}

impl Record for EventRecord {
    const VERSION: u8 = 1;
}

/// Decodes whatever bytes are; for fuzzing. What decodes is folded into a run of the template that the bytes
/// may also contain.
pub fn fuzz_decode(bytes: &[u8]) {
    let Ok((template, rest)) = postcard::take_from_bytes::<crate::Template>(bytes) else { return };
    let Ok(plan) = crate::Plan::new(template) else { return };
    let mut state = super::State::new(&plan);
    let Ok(records) = postcard::from_bytes::<Vec<EventRecord>>(rest) else { return };
    for record in records {
        state.apply(&plan, record.at_unix_ms, &record.event);
    }
    state.handle(&plan, u64::MAX, super::Input::Recovered);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Postcard behind the store's version byte: what is here must be readable for ever.
    #[test]
    fn the_bytes_are_pinned() {
        let pinned: [(Event, &[u8]); 10] = [
            (Event::Started { step: 1, undo: false }, &[0, 1, 0]),
            (Event::Ended { step: 1, undo: true, how: Ended::Done("x".into()) }, &[1, 1, 1, 0, 1, b'x']),
            (Event::Lost { step: 300, undo: false }, &[2, 0xac, 2, 0]),
            (Event::Paused, &[3]),
            (Event::Resumed, &[4]),
            (Event::RollingBack { cause: "c".into() }, &[5, 1, b'c']),
            (Event::Stuck { step: 0, undo: true }, &[6, 0, 1]),
            (Event::Retried, &[7]),
            (Event::Completed, &[8]),
            (Event::RolledBack, &[9]),
        ];
        for (event, bytes) in pinned {
            let record = EventRecord { at_unix_ms: 5, epoch: 2, event };
            let encoded = postcard::to_extend(&record, vec![EventRecord::VERSION]).unwrap();
            assert_eq!(encoded, [&[1, 5, 2], bytes].concat());
            assert_eq!(postcard::from_bytes::<EventRecord>(&encoded[1..]).unwrap(), record);
        }
        for (how, number) in
            [(Ended::Interrupted, 1u8), (Ended::Failed("".into()), 2), (Ended::Refused("".into()), 3)]
        {
            assert_eq!(postcard::to_extend(&how, Vec::new()).unwrap()[0], number);
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = format!("a{}", "ä".repeat(ERROR_BYTES_MAX));
        let Event::Ended { how: Ended::Failed(text), .. } =
            Event::ended(0, false, Err(StepError::Failed(long)))
        else {
            panic!("a failure stays one")
        };
        assert_eq!(text.len(), ERROR_BYTES_MAX - 1);
        let long = "x".repeat(OUTPUT_BYTES_MAX + 1);
        let ended = Event::ended(0, false, Ok(long));
        assert!(matches!(ended, Event::Ended { how: Ended::Refused(_), .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not(bytes: Vec<u8>) {
            fuzz_decode(&bytes);
        }
    }
}
