//! The history in memory: one ring of times, and per series one ring of values of the same length.

use std::collections::{BTreeMap, VecDeque};

use super::text::{self, Sample};
use super::{Query, SeriesPoints};

#[derive(Debug)]
struct Series {
    is_counter: bool,
    /// Time and value of a counter when last seen by this process.
    last: Option<(u64, f64)>,
    /// NaN where there was no sample.
    values: VecDeque<f32>,
}

/// Bounded in samples and in series.
#[derive(Debug)]
pub(super) struct Ring {
    samples_max: usize,
    series_max: usize,
    times: VecDeque<u64>,
    series: BTreeMap<Box<str>, Series>,
    left_out: u64,
}

impl Ring {
    pub(super) fn new(samples_max: usize, series_max: usize) -> Self {
        Self { samples_max, series_max, times: VecDeque::new(), series: BTreeMap::new(), left_out: 0 }
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Begins a sample; `false` if time has not moved on since the newest one.
    fn begin(&mut self, now: u64) -> bool {
        if self.times.back().is_some_and(|&newest| newest >= now) {
            return false;
        }
        if self.times.len() == self.samples_max {
            self.times.pop_front();
            self.series.retain(|_, series| {
                series.values.pop_front();
                series.values.iter().any(|value| !value.is_nan())
            });
        }
        self.times.push_back(now);
        for series in self.series.values_mut() {
            series.values.push_back(f32::NAN);
        }
        true
    }

    /// Sets a series' newest value; `false` if it is beyond the bound.
    fn entry(&mut self, name: &str, is_counter: bool) -> Option<&mut Series> {
        if !self.series.contains_key(name) {
            if self.series.len() >= self.series_max {
                self.left_out += 1;
                return None;
            }
            let values = std::iter::repeat_n(f32::NAN, self.times.len()).collect();
            self.series.insert(name.into(), Series { is_counter, last: None, values });
        }
        self.series.get_mut(name)
    }

    /// Adds a sample of all metrics in a text; `false` if time has not moved on.
    pub(super) fn push_text(&mut self, now: u64, text: &str) -> bool {
        if !self.begin(now) {
            return false;
        }
        for Sample { series: name, is_counter, value } in text::samples(text) {
            let Some(series) = self.entry(name, is_counter) else { continue };
            let kept = if is_counter {
                let rate =
                    series.last.map(|(then, old)| (value - old) / now.saturating_sub(then).max(1) as f64);
                series.last = Some((now, value));
                // A counter that fell was reset: its rate is not known.
                rate.filter(|rate| *rate >= 0.0)
            } else {
                Some(value)
            };
            if let (Some(kept), Some(newest)) = (kept, series.values.back_mut()) {
                *newest = kept as f32;
            }
        }
        true
    }

    /// Adds a sample that was kept in a file; `false` if it is not newer than the newest.
    pub(super) fn push_kept<'a>(
        &mut self,
        time: u64,
        values: impl Iterator<Item = (&'a str, bool, f32)>,
    ) -> bool {
        if !self.begin(time) {
            return false;
        }
        for (name, is_counter, value) in values {
            if let Some(newest) = self.entry(name, is_counter).and_then(|series| series.values.back_mut()) {
                *newest = value;
            }
        }
        true
    }

    /// The newest sample: its time, and name, kind and value of each series that has one.
    pub(super) fn newest(&self) -> Option<(u64, impl Iterator<Item = (&str, bool, f32)>)> {
        let time = *self.times.back()?;
        let values = self.series.iter().filter_map(|(name, series)| {
            let value = *series.values.back()?;
            (!value.is_nan()).then_some((&**name, series.is_counter, value))
        });
        Some((time, values))
    }

    pub(super) fn query(&self, query: &Query) -> Vec<SeriesPoints> {
        let first = self.times.partition_point(|&time| time < query.since);
        let count = self.times.len() - first;
        let step = if query.points_max == 0 { 1 } else { count.div_ceil(query.points_max).max(1) };
        let matching = self
            .series
            .range::<str, _>((std::ops::Bound::Included(&*query.prefix), std::ops::Bound::Unbounded));
        matching
            .take_while(|(name, _)| name.starts_with(&query.prefix))
            .map(|(name, series)| SeriesPoints {
                series: name.to_string(),
                per_second: series.is_counter,
                points: (first..self.times.len())
                    .step_by(step)
                    .map(|at| (self.times[at], mean(series.values.iter().skip(at).take(step))))
                    .collect(),
            })
            .filter(|series| series.points.iter().any(|(_, value)| value.is_some()))
            .collect()
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a f32>) -> Option<f32> {
    let (sum, count) = values
        .filter(|value| !value.is_nan())
        .fold((0.0, 0u32), |(sum, count), &value| (sum + f64::from(value), count + 1));
    (count > 0).then(|| (sum / f64::from(count)) as f32)
}
