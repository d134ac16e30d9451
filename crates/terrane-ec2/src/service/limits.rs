//! What each type of volume can be set to. Pure rules, for the front end and for who keeps the volumes.
//!
//! Ranges follow the public documentation of EBS. Sizes go from 1 GiB to 64 TiB for every type; ratios between
//! IOPS, size and throughput are not enforced.

use std::ops::RangeInclusive;

use super::volume::{Settings, VolumeChange, VolumeType};

/// Sizes that a volume can have, GiB.
pub const SIZE_GIB: RangeInclusive<u32> = 1..=64 << 10;
/// IOPS of a volume whose type was changed to one that has them, unless the request says more.
const IOPS_DEFAULT: u32 = 3000;
/// MiB/s of a `gp3` volume, unless the request says more.
const THROUGHPUT_DEFAULT: u32 = 125;

/// Settings that a type has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Smaller than any volume.
    #[error("Volume of {0}GiB is too small; minimum is {min}GiB.", min = SIZE_GIB.start())]
    TooSmall(u32),
    /// Larger than any volume.
    #[error("Volume of {size}GiB is too large for volume type {kind}; maximum is {max}GiB.", max = SIZE_GIB.end())]
    TooLarge {
        /// What was asked for.
        size: u32,
        /// Of which type.
        kind: VolumeType,
    },
    /// Fewer IOPS than the type begins with.
    #[error("Volume iops of {iops} is too low; minimum is {min}.")]
    IopsTooLow {
        /// What was asked for.
        iops: u32,
        /// The least.
        min: u32,
    },
    /// More IOPS than the type has.
    #[error("Volume iops of {iops} is too high; maximum is {max}.")]
    IopsTooHigh {
        /// What was asked for.
        iops: u32,
        /// The most.
        max: u32,
    },
    /// The type needs to be told its IOPS.
    #[error("The request must contain the parameter iops for {0} volumes.")]
    IopsMissing(VolumeType),
    /// The type's IOPS cannot be chosen.
    #[error("The parameter iops is not supported for {0} volumes.")]
    IopsNotSettable(VolumeType),
    /// Less throughput than the type begins with.
    #[error("Volume throughput of {throughput} MiB/s is too low; minimum is {min} MiB/s.")]
    ThroughputTooLow {
        /// What was asked for.
        throughput: u32,
        /// The least.
        min: u32,
    },
    /// More throughput than the type has.
    #[error("Volume throughput of {throughput} MiB/s is too high; maximum is {max} MiB/s.")]
    ThroughputTooHigh {
        /// What was asked for.
        throughput: u32,
        /// The most.
        max: u32,
    },
    /// The type's throughput cannot be chosen.
    #[error("The parameter Throughput is not supported for {0} volumes.")]
    ThroughputNotSettable(VolumeType),
    /// The type cannot be attached more than once.
    #[error("The parameter MultiAttachEnabled is not supported for {0} volumes: only for io1 and io2.")]
    MultiAttachNotOffered(VolumeType),
}

/// The settings of a new volume, as they were asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    pub kind: VolumeType,
    /// IOPS.
    pub iops: Option<u32>,
    /// MiB/s.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    pub multi_attach: bool,
}

/// IOPS that can be chosen for a type.
pub fn iops_range(kind: VolumeType) -> Option<RangeInclusive<u32>> {
    match kind {
        VolumeType::Gp3 => Some(3000..=80_000),
        VolumeType::Io1 => Some(100..=64_000),
        VolumeType::Io2 => Some(100..=256_000),
        VolumeType::Gp2 | VolumeType::St1 | VolumeType::Sc1 => None,
    }
}

/// Throughput that can be chosen for a type, MiB/s.
pub fn throughput_range(kind: VolumeType) -> Option<RangeInclusive<u32>> {
    (kind == VolumeType::Gp3).then_some(125..=2000)
}

/// What a new volume will be set to.
///
/// # Errors
/// What its type cannot be set to.
pub fn resolve_new(wish: &Wish) -> Result<Settings, LimitError> {
    let Wish { size_gib, kind, iops, throughput, multi_attach } = *wish;
    if iops.is_none() && matches!(kind, VolumeType::Io1 | VolumeType::Io2) {
        return Err(LimitError::IopsMissing(kind));
    }
    resolve(size_gib, kind, iops, throughput, multi_attach)
}

/// What a volume will be set to after a change. Settings that a new type has not are dropped; those that the
/// old one had not, or had in another sense, begin at the new one's defaults.
///
/// # Errors
/// What its type cannot be set to.
pub fn resolve_change(now: &Settings, change: &VolumeChange) -> Result<Settings, LimitError> {
    let kind = change.kind.unwrap_or(now.kind);
    let kept = |value: Option<u32>| if kind == now.kind { value } else { None };
    let kept_iops = kept(now.iops).filter(|_| iops_range(kind).is_some());
    resolve(
        change.size_gib.unwrap_or(now.size_gib),
        kind,
        change.iops.or(kept_iops),
        change.throughput.or(kept(now.throughput)),
        change.multi_attach.unwrap_or(now.multi_attach),
    )
}

fn resolve(
    size_gib: u32,
    kind: VolumeType,
    iops: Option<u32>,
    throughput: Option<u32>,
    multi_attach: bool,
) -> Result<Settings, LimitError> {
    if size_gib < *SIZE_GIB.start() {
        return Err(LimitError::TooSmall(size_gib));
    }
    if size_gib > *SIZE_GIB.end() {
        return Err(LimitError::TooLarge { size: size_gib, kind });
    }
    if multi_attach && !matches!(kind, VolumeType::Io1 | VolumeType::Io2) {
        return Err(LimitError::MultiAttachNotOffered(kind));
    }
    let iops = resolve_iops(size_gib, kind, iops)?;
    let throughput = resolve_throughput(kind, throughput)?;
    Ok(Settings { size_gib, kind, iops, throughput, multi_attach })
}

fn resolve_iops(size_gib: u32, kind: VolumeType, iops: Option<u32>) -> Result<Option<u32>, LimitError> {
    match (iops_range(kind), iops) {
        (None, Some(_)) => Err(LimitError::IopsNotSettable(kind)),
        (None, None) if kind == VolumeType::Gp2 => Ok(Some((3 * size_gib).clamp(100, 16_000))),
        (None, None) => Ok(None),
        (Some(range), Some(iops)) if iops < *range.start() => {
            Err(LimitError::IopsTooLow { iops, min: *range.start() })
        }
        (Some(range), Some(iops)) if iops > *range.end() => {
            Err(LimitError::IopsTooHigh { iops, max: *range.end() })
        }
        (Some(_), Some(iops)) => Ok(Some(iops)),
        (Some(_), None) => Ok(Some(IOPS_DEFAULT)),
    }
}

fn resolve_throughput(kind: VolumeType, throughput: Option<u32>) -> Result<Option<u32>, LimitError> {
    match (throughput_range(kind), throughput) {
        (None, Some(_)) => Err(LimitError::ThroughputNotSettable(kind)),
        (None, None) => Ok(None),
        (Some(range), Some(throughput)) if throughput < *range.start() => {
            Err(LimitError::ThroughputTooLow { throughput, min: *range.start() })
        }
        (Some(range), Some(throughput)) if throughput > *range.end() => {
            Err(LimitError::ThroughputTooHigh { throughput, max: *range.end() })
        }
        (Some(_), throughput) => Ok(Some(throughput.unwrap_or(THROUGHPUT_DEFAULT))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VolumeType::{Gp2, Gp3, Io1, Io2, Sc1, St1};

    fn new(
        size_gib: u32,
        kind: VolumeType,
        iops: Option<u32>,
        throughput: Option<u32>,
    ) -> Result<Settings, LimitError> {
        resolve_new(&Wish { size_gib, kind, iops, throughput, multi_attach: false })
    }

    #[test]
    fn each_type_has_its_own_settings() {
        let settings =
            |kind, iops, throughput| new(10, kind, iops, throughput).map(|s| (s.iops, s.throughput));
        assert_eq!(settings(Gp2, None, None), Ok((Some(100), None)));
        assert_eq!(settings(Gp3, None, None), Ok((Some(3000), Some(125))));
        assert_eq!(settings(Gp3, Some(80_000), Some(2000)), Ok((Some(80_000), Some(2000))));
        assert_eq!(settings(Io1, Some(100), None), Ok((Some(100), None)));
        assert_eq!(settings(Io2, Some(256_000), None), Ok((Some(256_000), None)));
        assert_eq!(settings(St1, None, None), Ok((None, None)));
        assert_eq!(settings(Gp2, Some(100), None), Err(LimitError::IopsNotSettable(Gp2)));
        assert_eq!(settings(Sc1, Some(100), None), Err(LimitError::IopsNotSettable(Sc1)));
        assert_eq!(settings(St1, None, Some(500)), Err(LimitError::ThroughputNotSettable(St1)));
        assert_eq!(settings(Io1, None, None), Err(LimitError::IopsMissing(Io1)));
        assert_eq!(settings(Gp3, Some(2999), None), Err(LimitError::IopsTooLow { iops: 2999, min: 3000 }));
        assert_eq!(
            settings(Io1, Some(64_001), None),
            Err(LimitError::IopsTooHigh { iops: 64_001, max: 64_000 })
        );
        let low = LimitError::ThroughputTooLow { throughput: 124, min: 125 };
        assert_eq!(settings(Gp3, None, Some(124)), Err(low));
        let high = LimitError::ThroughputTooHigh { throughput: 2001, max: 2000 };
        assert_eq!(settings(Gp3, None, Some(2001)), Err(high));
    }

    #[test]
    fn every_type_goes_from_1_gib_to_64_tib() {
        for kind in VolumeType::ALL {
            let iops = iops_range(kind).map(|range| *range.start());
            assert!(new(1, kind, iops, None).is_ok(), "{kind}");
            assert!(new(65_536, kind, iops, None).is_ok(), "{kind}");
            assert_eq!(new(0, kind, iops, None), Err(LimitError::TooSmall(0)), "{kind}");
            assert_eq!(
                new(65_537, kind, iops, None),
                Err(LimitError::TooLarge { size: 65_537, kind }),
                "{kind}"
            );
        }
        assert_eq!(new(65_536, Gp2, None, None).map(|s| s.iops), Ok(Some(16_000)));
    }

    #[test]
    fn only_committed_types_attach_many_times() {
        for kind in VolumeType::ALL {
            let wish = Wish {
                size_gib: 1,
                kind,
                iops: iops_range(kind).map(|r| *r.end()),
                throughput: None,
                multi_attach: true,
            };
            assert_eq!(resolve_new(&wish).is_ok(), matches!(kind, Io1 | Io2), "{kind}");
        }
    }

    #[test]
    fn a_change_keeps_what_still_makes_sense() {
        let now = new(10, Gp3, Some(5000), Some(500)).unwrap();
        let change =
            |change| resolve_change(&now, &change).map(|s| (s.size_gib, s.kind, s.iops, s.throughput));
        let none = VolumeChange::default();
        assert_eq!(change(none), Ok((10, Gp3, Some(5000), Some(500))));
        assert_eq!(change(VolumeChange { size_gib: Some(5), ..none }), Ok((5, Gp3, Some(5000), Some(500))));
        assert_eq!(change(VolumeChange { kind: Some(St1), ..none }), Ok((10, St1, None, None)));
        assert_eq!(change(VolumeChange { kind: Some(Io2), ..none }), Ok((10, Io2, Some(3000), None)));
        let too_much = VolumeChange { kind: Some(St1), iops: Some(100), ..none };
        assert_eq!(change(too_much), Err(LimitError::IopsNotSettable(St1)));
        let gp2 = new(100, Gp2, None, None).unwrap();
        let grown = resolve_change(&gp2, &VolumeChange { size_gib: Some(200), ..none }).unwrap();
        assert_eq!(grown.iops, Some(600), "they follow the size");
    }
}
