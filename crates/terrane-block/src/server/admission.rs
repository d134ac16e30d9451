//! What clients may have: the limits of their volume, kept where their requests come in, at the primary.
//!
//! A request within the limits passes after a comparison. One beyond them waits here, with all that follow it in the
//! stripe, and enters the core when its time has come; so the core, the mirrors and the drives never hear of more than a
//! volume may have. Other volumes' requests pass meanwhile.

use super::clock::{Boot, Due};
use super::hosted::Hosted;
use super::reactor::Reactor;
use bytes::Bytes;
use std::collections::VecDeque;
use terrane_block_core::copy::Event;
use terrane_block_core::message::{Op, ToPrimary};
use terrane_block_core::{ClientId, Content};
use terrane_block_wire::control::{self, Performance};
use terrane_block_wire::data::BLOCK;
use terrane_qos::{Allowance, Cost, Limiter, Limits, Rate, Share};

/// Requests that wait for their time, per stripe: what is more is dropped, as by the core.
const WAITING_MAX: usize = 4096;
/// A tenth of a second's worth may come at once.
const BURST_PARTS: u64 = 10;
/// Operations are committed for so many bytes each.
const COMMITTED_BYTES: u64 = 16 << 10;
/// All volumes have the same weight: what they are to have beyond that, they reserve.
const WEIGHT: u32 = 100;

/// The limits of a stripe's clients.
#[derive(Default)]
pub(super) struct Admission {
    /// As the manager has said.
    performance: Option<Performance>,
    limiter: Limiter,
    /// Beyond the limits, in order.
    waiting: VecDeque<(ClientId, ToPrimary<Bytes>)>,
}

impl Admission {
    /// A new life begins: its clients ask again.
    pub(super) fn restart(&mut self) {
        self.waiting.clear();
    }

    /// What the drive promises the copy.
    pub(super) fn share(&self) -> Share {
        let reserve = self.performance.map_or(Rate::NONE, |performance| {
            let Performance { reserved_iops: ops, reserved_bytes, .. } = performance;
            let bytes = if reserved_bytes > 0 { reserved_bytes } else { ops.saturating_mul(COMMITTED_BYTES) };
            Rate { ops, bytes }
        });
        Share { reserve, weight: WEIGHT, ceiling: Rate::NONE }
    }

    fn cost(&self, message: &ToPrimary<Bytes>) -> Cost {
        let bytes = match message {
            ToPrimary::Request { op: Op::Read(extent), .. }
            | ToPrimary::Request { op: Op::Write(extent, Content::Data(_)), .. } => {
                u32::try_from(extent.len.saturating_mul(BLOCK as u64)).unwrap_or(u32::MAX)
            }
            _ => 0,
        };
        let unit = self.performance.map_or(u32::MAX, |performance| performance.op_bytes.max(1));
        Cost { ops: bytes.div_ceil(unit).max(1), bytes }
    }
}

/// The two rates of an allowance: for ever, with the credit; and the peak.
fn rates(allowance: Option<control::Allowance>) -> [Option<Allowance>; 2] {
    let Some(control::Allowance { rate, peak, credit }) = allowance else { return [None, None] };
    let burst = |rate: u64| (rate / BURST_PARTS).max(1);
    let peak = (peak > rate).then(|| Allowance { rate: peak, burst: burst(peak) });
    [Some(Allowance { rate, burst: credit.saturating_add(burst(rate)) }), peak]
}

impl Hosted {
    /// Whether a client's message has to wait for its volume's limits. Only a primary keeps them, and only of requests.
    fn is_beyond(&mut self, now: Boot, message: &ToPrimary<Bytes>) -> Option<Boot> {
        let admission = &mut self.admission;
        if admission.performance.is_none() || !matches!(message, ToPrimary::Request { .. }) {
            return None;
        }
        if !self.running.as_ref().is_some_and(|running| running.state.rules()) {
            return None;
        }
        if !admission.waiting.is_empty() {
            return Some(Boot::from_nanos(admission.limiter.open_at()));
        }
        let cost = admission.cost(message);
        admission.limiter.admit(now.nanos(), cost).err().map(Boot::from_nanos)
    }
}

impl Reactor {
    /// A client asks for something: now, or when its volume's limits allow it.
    pub(super) fn client_asks(&mut self, slot: usize, client: ClientId, message: ToPrimary<Bytes>) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let Some(at) = hosted.is_beyond(now, &message) else {
            return self.client_enters(slot, client, message);
        };
        let life = hosted.life;
        let waiting = &mut hosted.admission.waiting;
        if waiting.len() < WAITING_MAX {
            waiting.push_back((client, message));
        }
        if waiting.len() == 1 {
            self.deadlines.add(at, slot, life, Due::Admit);
        }
        self.metrics.limited.inc();
    }

    /// Lets in what waited and may enter by now.
    pub(super) fn admit(&mut self, slot: usize) {
        let now = self.now;
        while let Some(hosted) = self.copy(slot) {
            let admission = &mut hosted.admission;
            let Some((client, message)) = admission.waiting.pop_front() else { return };
            let cost = admission.cost(&message);
            if let Err(at) = admission.limiter.admit(now.nanos(), cost) {
                admission.waiting.push_front((client, message));
                let life = hosted.life;
                return self.deadlines.add(Boot::from_nanos(at), slot, life, Due::Admit);
            }
            self.client_enters(slot, client, message);
        }
    }

    /// A client's message goes to the core, unless the copy makes it wait.
    fn client_enters(&mut self, slot: usize, client: ClientId, message: ToPrimary<Bytes>) {
        let Some(hosted) = self.copy(slot) else { return };
        if hosted.must_wait(&message) {
            return hosted.held.push_back((client, message));
        }
        hosted.requests += 1;
        self.push(slot, Event::Client(client, message));
    }

    /// The manager says what the clients of a stripe may have. Holds at once.
    pub(super) fn performance(&mut self, slot: usize, performance: Option<Performance>) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let admission = &mut hosted.admission;
        if admission.performance == performance {
            return;
        }
        admission.performance = performance;
        let limits = performance.map_or_else(Limits::default, |performance| Limits {
            ops: rates(performance.iops),
            bytes: rates(performance.bytes),
        });
        admission.limiter.set(now.nanos(), &limits);
        let (pool, client, share) = (hosted.pool, hosted.client, admission.share());
        self.promise(pool, client, share);
        self.admit(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terrane_block_core::message::ToPrimary;
    use terrane_block_core::{AttachmentEpoch, Extent, SessionId};

    fn request(op: Op<Bytes>) -> ToPrimary<Bytes> {
        ToPrimary::Request { epoch: AttachmentEpoch(1), session: SessionId(1), seq: 1, op }
    }

    #[test]
    fn large_requests_count_as_several() {
        let performance = Performance { op_bytes: 256 << 10, ..Performance::default() };
        let admission = Admission { performance: Some(performance), ..Admission::default() };
        let cost = |op| admission.cost(&request(op));
        let extent = |len| Extent { start: 7, len };
        assert_eq!(cost(Op::Read(extent(1))), Cost { ops: 1, bytes: 4096 });
        assert_eq!(cost(Op::Read(extent(64))), Cost { ops: 1, bytes: 256 << 10 });
        assert_eq!(cost(Op::Read(extent(256))), Cost { ops: 4, bytes: 1 << 20 });
        let data = Content::Data(Bytes::from(vec![0; 65 * BLOCK]));
        assert_eq!(cost(Op::Write(extent(65), data)), Cost { ops: 2, bytes: 65 * 4096 });
        assert_eq!(cost(Op::Write(extent(1 << 16), Content::Zero)), Cost { ops: 1, bytes: 0 });
        assert_eq!(cost(Op::Flush), Cost { ops: 1, bytes: 0 });
    }

    #[test]
    fn an_allowance_is_a_rate_with_its_credit_and_a_peak() {
        let allowance = |rate, peak, credit| rates(Some(control::Allowance { rate, peak, credit }));
        assert_eq!(allowance(3000, 3000, 0), [Some(Allowance { rate: 3000, burst: 300 }), None]);
        let gp2 = [Allowance { rate: 100, burst: 5_400_010 }, Allowance { rate: 3000, burst: 300 }];
        assert_eq!(allowance(100, 3000, 5_400_000), gp2.map(Some));
        assert_eq!(rates(None), [None, None]);
    }

    #[test]
    fn a_reservation_is_of_operations_of_16_kib() {
        let share = |reserved_iops, reserved_bytes| {
            let performance = Performance { reserved_iops, reserved_bytes, ..Performance::default() };
            Admission { performance: Some(performance), ..Admission::default() }.share().reserve
        };
        assert_eq!(share(1000, 0), Rate { ops: 1000, bytes: 16_384_000 });
        assert_eq!(share(4000, 1 << 30), Rate { ops: 4000, bytes: 1 << 30 });
        assert!(share(0, 0).is_none() && Admission::default().share().reserve.is_none());
    }
}
