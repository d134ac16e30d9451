//! Against a primary whose blocks change at any moment between a request's beginning and its end.

use proptest::prelude::*;

use super::*;

/// Blocks of the volume, of which the cache keeps fewer.
const VOLUME: u64 = 12;
const ROOM: u64 = 7;

fn cached(blocks: u64) -> (Cached, Gauge) {
    let gauge = Gauge::default();
    let store = Arc::new(Mutex::new(Store::new(blocks * BLOCK, gauge.clone())));
    (Cached::new(store, 1), gauge)
}

fn content(value: u8) -> Content<Bytes> {
    match value {
        0 => Content::Zero,
        value => Content::Data(Bytes::from(vec![value; BLOCK as usize])),
    }
}

fn contents(values: &[u8]) -> Vec<(u64, Content<Bytes>)> {
    join(&values.iter().map(|value| content(*value)).collect::<Vec<_>>())
}

/// One value per block again.
fn values(contents: &[(u64, Content<Bytes>)]) -> Vec<u8> {
    let block = |(len, content): &(u64, Content<Bytes>)| match content {
        Content::Zero => vec![0; *len as usize],
        Content::Data(data) => {
            assert_eq!(data.len() as u64, len * BLOCK);
            data.chunks(BLOCK as usize).map(|block| block[0]).collect()
        }
    };
    contents.iter().flat_map(block).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(u64, u64),
    /// With this value; whether all of it is known at the end.
    Write(u64, u64, u8, bool),
    /// A request under way reaches the primary.
    Arrive(usize),
    End(usize),
    /// A new session; what these blocks held is lost, as nothing was flushed.
    Switch(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..VOLUME, 1_u64..4).prop_map(|(at, len)| (at, len.min(VOLUME - at)));
    prop_oneof![
        4 => range.clone().prop_map(|(at, len)| Step::Read(at, len)),
        3 => (range, 0_u8..4, any::<bool>()).prop_map(|((at, len), value, known)| Step::Write(at, len, value, known)),
        3 => any::<usize>().prop_map(Step::Arrive),
        6 => any::<usize>().prop_map(Step::End),
        1 => (0..VOLUME, 0_u8..4).prop_map(|(block, value)| Step::Switch(block, value)),
    ]
}

enum Kind {
    Read(Option<Vec<u8>>),
    Write { value: u8, known: bool, arrived: bool },
}

struct Request {
    number: u64,
    at: u64,
    len: u64,
    kind: Kind,
}

impl Request {
    fn arrive(&mut self, primary: &mut [u8]) {
        let blocks = &mut primary[self.at as usize..(self.at + self.len) as usize];
        match &mut self.kind {
            Kind::Read(seen) => drop(seen.get_or_insert_with(|| blocks.to_vec())),
            Kind::Write { value, arrived: arrived @ false, .. } => {
                blocks.fill(*value);
                *arrived = true;
            }
            Kind::Write { .. } => {}
        }
    }

    fn end(mut self, primary: &mut [u8], cached: &mut Cached) {
        self.arrive(primary);
        match self.kind {
            Kind::Read(seen) => cached.end_read(self.number, &contents(&seen.unwrap())),
            Kind::Write { value, known, .. } => {
                let all = contents(&vec![value; self.len as usize]).remove(0).1;
                cached.end_write(self.number, known.then_some(&all));
            }
        }
    }
}

fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut cached, gauge) = cached(ROOM);
    let mut primary = vec![0; VOLUME as usize];
    let mut requests: Vec<Request> = Vec::new();
    for step in steps {
        match step {
            Step::Read(at, len) => match cached.look(Blocks { start: at, len }) {
                Looked::Hit(found, life) => {
                    prop_assert!(cached.lives(life));
                    prop_assert_eq!(&values(&found), &primary[at as usize..(at + len) as usize]);
                }
                Looked::Fill(number) => requests.push(Request { number, at, len, kind: Kind::Read(None) }),
                Looked::Pass => {}
            },
            Step::Write(at, len, value, known) => {
                let number = cached.begin_write(Blocks { start: at, len }).unwrap();
                let kind = Kind::Write { value, known, arrived: false };
                requests.push(Request { number, at, len, kind });
            }
            Step::Arrive(which) if !requests.is_empty() => {
                let which = which % requests.len();
                requests[which].arrive(&mut primary);
            }
            Step::End(which) if !requests.is_empty() => {
                let request = requests.swap_remove(which % requests.len());
                request.end(&mut primary, &mut cached);
            }
            Step::Switch(block, value) => {
                primary[block as usize] = value;
                cached.end_life();
                prop_assert_eq!(gauge.get(), 0);
            }
            Step::Arrive(_) | Step::End(_) => {}
        }
        prop_assert!(gauge.get() as u64 <= ROOM * BLOCK);
    }
    prop_assert_eq!(cached.under_way.len(), requests.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is found is what the primary holds at that moment.
    #[test]
    fn what_is_found_is_what_the_primary_holds(steps in prop::collection::vec(step(), 1..120)) {
        play(steps)?;
    }
}

#[test]
fn what_was_read_and_written_is_found() {
    let (mut cached, gauge) = cached(8);
    let number = cached.begin_write(Blocks { start: 0, len: 2 }).unwrap();
    cached.end_write(number, Some(&Content::Data(Bytes::from(vec![5; 2 * BLOCK as usize]))));
    let Looked::Fill(number) = cached.look(Blocks { start: 1, len: 3 }) else { panic!("it was never read") };
    cached.end_read(number, &contents(&[5, 0, 0]));
    let Looked::Hit(found, life) = cached.look(Blocks { start: 0, len: 4 }) else { panic!("all are there") };
    assert_eq!(values(&found), [5, 5, 0, 0]);
    assert_eq!(found.len(), 2, "runs are joined");
    assert_eq!(gauge.get(), 4 * BLOCK as i64);
    cached.end_life();
    assert!(!cached.lives(life));
    assert_eq!(cached.look(Blocks { start: 0, len: 1 }), Looked::Fill(3));
    assert_eq!(gauge.get(), 0);
}

#[test]
fn what_is_asked_for_stays_and_streams_pass() {
    let (mut cached, gauge) = cached(4);
    let mut read = |block: u64| match cached.look(Blocks { start: block, len: 1 }) {
        Looked::Fill(number) => {
            cached.end_read(number, &contents(&[1]));
            false
        }
        other => matches!(other, Looked::Hit(..)),
    };
    assert!(!read(0) && read(0));
    for block in 1..40 {
        read(block);
        assert!(read(0), "after block {block}");
    }
    assert_eq!(gauge.get(), 4 * BLOCK as i64);
    let long = Blocks { start: 0, len: REQUEST_BLOCKS_MAX + 1 };
    assert_eq!(cached.look(long), Looked::Pass);
    let number = cached.begin_write(long).unwrap();
    assert_eq!(gauge.get(), 0, "it overwrites them all the same");
    cached.end_write(number, Some(&Content::Zero));
    assert_eq!(gauge.get(), 0);
}

#[test]
fn an_abandoned_write_ends_it_and_an_abandoned_read_does_not() {
    let (mut cached, _) = cached(4);
    let Looked::Fill(read) = cached.look(Blocks { start: 0, len: 1 }) else { panic!() };
    cached.abandon(read);
    let Looked::Fill(read) = cached.look(Blocks { start: 0, len: 1 }) else { panic!() };
    let write = cached.begin_write(Blocks { start: 3, len: 1 }).unwrap();
    cached.abandon(write);
    cached.end_read(read, &contents(&[1]));
    assert_eq!(cached.look(Blocks { start: 0, len: 1 }), Looked::Pass);
    assert_eq!(cached.begin_write(Blocks { start: 0, len: 1 }), None);
}

#[test]
fn a_question_counts_for_who_came_before_it() {
    let mut rounds = Rounds::default();
    let first = rounds.wanted();
    assert!(rounds.begin());
    let second = rounds.wanted();
    assert!(!rounds.begin(), "one at a time");
    assert_eq!((rounds.outcome(first), rounds.outcome(second)), (None, None));
    rounds.end(true);
    assert_eq!((rounds.outcome(first), rounds.outcome(second)), (Some(true), None));
    assert!(rounds.begin());
    rounds.end(false);
    assert_eq!((rounds.outcome(first), rounds.outcome(second)), (Some(true), Some(false)));
}
