use terrane_router_model::{Filter, Kind};

use super::*;
use crate::CredentialId;
use crate::question::{Class, CommandKey, Cost, Grant};

const SECOND: Duration = Duration::from_secs(1);

fn ticket(id: u128) -> Ticket {
    let key = CommandKey {
        kind: Kind::Arp,
        credential: CredentialId(1),
        network_instance: None,
        neighbor: None,
        address_family: None,
        command: "show arp".into(),
        knowledge: 1,
    };
    let request = Request {
        id: RequestId(id),
        client: ClientId(7),
        class: Class::Internal,
        key,
        cost: Cost::Light,
        grant: Grant::All,
        owned_for: SECOND,
        filter: Filter::default(),
        max_age: SECOND,
        allow_stale: None,
        deadline: SECOND * 30,
    };
    Ticket { router: RouterId(1), request }
}

fn answer(id: u128, epoch: u64) -> Answer {
    Answer { id: RequestId(id), epoch: Epoch(epoch), result: Err(AskError::Maintenance) }
}

fn outputs(desk: &mut Desk) -> (Vec<(WorkerId, Epoch, Request)>, Vec<Answer>) {
    let (mut forwarded, mut replies) = (Vec::new(), Vec::new());
    while let Some(output) = desk.poll_output() {
        match output {
            DeskOutput::Forward { worker, epoch, ticket } => forwarded.push((worker, epoch, ticket.request)),
            DeskOutput::Reply(answer) => replies.push(*answer),
            DeskOutput::Cancel { .. } => {}
        }
    }
    (forwarded, replies)
}

#[test]
fn a_successor_gets_what_is_open_and_its_predecessor_is_not_heard() {
    let mut desk = Desk::new(DeskConfig::default());
    let shard = Shard::of(RouterId(1));
    desk.submit(Time(0), ticket(1));
    assert!(outputs(&mut desk).0.is_empty(), "nobody holds the shard yet");
    desk.route(Time(1), shard, WorkerId(1), Epoch(5));
    desk.route(Time(1_000_000), shard, WorkerId(2), Epoch(6));
    desk.route(Time(1_000_000), shard, WorkerId(1), Epoch(5));
    let (forwarded, _) = outputs(&mut desk);
    let to: Vec<_> = forwarded.iter().map(|(worker, epoch, _)| (worker.0, epoch.0)).collect();
    assert_eq!(to, [(1, 5), (2, 6)]);
    let again = &forwarded[1].2;
    assert_eq!((again.deadline, again.max_age, again.owned_for), (SECOND * 29, SECOND * 2, SECOND * 2));
    assert!(!desk.answered(Time(1_000_001), answer(1, 5)));
    assert!(desk.answered(Time(1_000_002), answer(1, 6)));
    assert!(desk.answered(Time(1_000_003), answer(1, 6)));
    assert_eq!((outputs(&mut desk).1.len(), desk.open()), (1, 0));
    assert!(desk.clients.is_empty() && desk.timers.is_empty() && desk.by_shard.is_empty());
}

#[test]
fn without_word_a_request_is_sent_again_and_ends_at_its_deadline() {
    let mut desk = Desk::new(DeskConfig::default());
    desk.route(Time(0), Shard::of(RouterId(1)), WorkerId(1), Epoch(1));
    desk.submit(Time(0), ticket(1));
    let mut now = Time(0);
    let (mut sent, mut replies) = (0, Vec::new());
    while desk.open() > 0 {
        now = now.max(desk.next_wake());
        desk.tick(now);
        let (forwarded, answered) = outputs(&mut desk);
        sent += forwarded.len();
        replies.extend(answered);
    }
    assert_eq!((sent, now), (16, Time(30_250_000)));
    assert!(matches!(replies[..], [Answer { result: Err(AskError::DeadlineExceeded), .. }]));
}

#[test]
fn bounds_are_of_requests_and_of_bytes_not_taken() {
    let mut desk =
        Desk::new(DeskConfig { client_open_max: 2, client_bytes_max: 10, ..DeskConfig::default() });
    (0..3).for_each(|id| desk.submit(Time(0), ticket(id)));
    let replies = outputs(&mut desk).1;
    assert!(matches!(
        replies[..],
        [Answer { result: Err(AskError::Throttled { scope: Throttle::Client, .. }), .. }]
    ));
    desk.revoke(Time(1), ClientId(7));
    let replies = outputs(&mut desk).1;
    assert!(replies.len() == 2 && replies.iter().all(|answer| answer.result.is_err()));
    desk.holds(ClientId(7), 11);
    desk.submit(Time(2), ticket(9));
    let replies = outputs(&mut desk).1;
    assert!(matches!(
        replies[..],
        [Answer { result: Err(AskError::Throttled { scope: Throttle::Results, .. }), .. }]
    ));
    desk.holds(ClientId(7), -11);
    assert!(desk.clients.is_empty());
}
