//! What a volume's type entitles and limits its stripes to.
//!
//! Limits, bursts and credits follow the public documentation of EBS. Where a type's rate follows its size, a volume
//! smaller than EBS has them gets what the smallest there gets. Each stripe has the volume's whole allowance: I/O of the
//! moment may concentrate on one.

use terrane_block_wire::control::{Allowance, Performance};
use terrane_ec2::service::VolumeType;

use crate::rows::SettingsRow;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// I/O credits of a `gp2` volume: 3,000 IOPS for half an hour.
const GP2_CREDIT: u64 = 5_400_000;
/// What `gp2` does while there is credit.
const GP2_PEAK: u64 = 3_000;
/// The smallest `st1` and `sc1` of EBS, GiB.
const HDD_LEAST_GIB: u64 = 125;

/// The performance of each stripe of a volume with these settings.
pub(crate) fn performance(settings: &SettingsRow) -> Performance {
    let iops = u64::from(settings.iops.unwrap_or(0));
    let chosen = settings.throughput.map(|mib| u64::from(mib) * MIB);
    let gib = u64::from(settings.size_gib);
    let (op_bytes, iops, bytes) = match settings.kind.0 {
        VolumeType::Gp2 => {
            let iops = Allowance { rate: iops, peak: iops.max(GP2_PEAK), credit: GP2_CREDIT };
            (256 << 10, iops, steady(if gib <= 170 { 128 * MIB } else { 250 * MIB }))
        }
        VolumeType::Gp3 => (256 << 10, steady(iops), steady(chosen.unwrap_or(125 * MIB))),
        VolumeType::Io1 => {
            let bytes = if iops <= 32_000 { (iops * (256 << 10)).min(500 * MIB) } else { iops * (16 << 10) };
            (256 << 10, steady(iops), steady(bytes))
        }
        VolumeType::Io2 => (256 << 10, steady(iops), steady((iops * (256 << 10)).min(4000 * MIB))),
        VolumeType::St1 => (1 << 20, steady(500), rotating(gib, (40, 250), 500)),
        VolumeType::Sc1 => (1 << 20, steady(250), rotating(gib, (12, 80), 250)),
    };
    let demand = settings.demand();
    Performance {
        op_bytes,
        iops: Some(iops),
        bytes: Some(bytes),
        reserved_iops: demand.iops,
        reserved_bytes: demand.throughput,
    }
}

fn steady(rate: u64) -> Allowance {
    let rate = rate.max(1);
    Allowance { rate, peak: rate, credit: 0 }
}

/// Of a type whose throughput (MiB/s per TiB, for ever and with credit) follows the size up to so many MiB/s. It saves as
/// many bytes as it has.
fn rotating(gib: u64, (base, peak): (u64, u64), most: u64) -> Allowance {
    let gib = gib.max(HDD_LEAST_GIB);
    let rate = |per_tib: u64| (per_tib * MIB * gib / 1024).min(most * MIB);
    Allowance { rate: rate(base), peak: rate(peak), credit: gib * GIB }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::KindRow;

    fn of(kind: VolumeType, size_gib: u32, iops: Option<u32>, throughput: Option<u32>) -> Performance {
        performance(&SettingsRow { size_gib, kind: KindRow(kind), iops, throughput, multi_attach: false })
    }

    fn rates(performance: &Performance) -> [(u64, u64); 2] {
        let both = [performance.iops, performance.bytes].map(|a| a.expect("every type has both limits"));
        both.map(|allowance| (allowance.rate, allowance.peak))
    }

    #[test]
    fn limits_are_those_of_the_type() {
        let gp2 = of(VolumeType::Gp2, 100, Some(300), None);
        assert_eq!(rates(&gp2), [(300, 3000), (128 * MIB, 128 * MIB)]);
        let gp2 = of(VolumeType::Gp2, 2000, Some(6000), None);
        assert_eq!(rates(&gp2), [(6000, 6000), (250 * MIB, 250 * MIB)]);
        let gp3 = of(VolumeType::Gp3, 1, Some(3000), Some(125));
        assert_eq!(rates(&gp3), [(3000, 3000), (125 * MIB, 125 * MIB)]);
        assert_eq!(rates(&of(VolumeType::Io1, 1, Some(100), None))[1].0, 25 * MIB);
        assert_eq!(rates(&of(VolumeType::Io1, 1, Some(64_000), None))[1].0, 1000 * MIB);
        assert_eq!(rates(&of(VolumeType::Io2, 1, Some(256_000), None))[1].0, 4000 * MIB);
        let st1 = of(VolumeType::St1, 1024, None, None);
        assert_eq!(rates(&st1), [(500, 500), (40 * MIB, 250 * MIB)]);
        assert_eq!(st1.bytes.map(|bytes| bytes.credit), Some(1 << 40));
        assert_eq!(rates(&of(VolumeType::St1, 1, None, None)), rates(&of(VolumeType::St1, 125, None, None)));
        assert_eq!(rates(&of(VolumeType::Sc1, 65_536, None, None))[1], (250 * MIB, 250 * MIB));
    }

    #[test]
    fn only_what_is_committed_is_reserved() {
        let reserved = |performance: Performance| (performance.reserved_iops, performance.reserved_bytes);
        assert_eq!(reserved(of(VolumeType::Io2, 1, Some(500), None)), (500, 0));
        assert_eq!(reserved(of(VolumeType::Gp3, 1, Some(3000), Some(125))), (0, 0));
        assert_eq!(reserved(of(VolumeType::Gp3, 1, Some(4000), Some(250))), (4000, 250 * MIB));
        assert_eq!(reserved(of(VolumeType::Gp2, 100, Some(300), None)), (0, 0));
    }
}
