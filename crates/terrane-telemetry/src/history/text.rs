//! Reading the process's own OpenMetrics text.

/// A sample line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// Name with labels.
    pub(super) series: &'a str,
    /// Whether it only ever grows (until a restart).
    pub(super) is_counter: bool,
    /// Its value.
    pub(super) value: f64,
}

/// All gauges, counters, and histograms' counts and sums of a text; buckets and other lines are passed over.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    let mut kind = "";
    text.lines().filter_map(move |line| {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.rsplit(' ').next().unwrap_or("");
            return None;
        }
        if line.starts_with('#') {
            return None;
        }
        // An exemplar follows the value after " # ".
        let line = line.split(" # ").next().unwrap_or(line);
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next().unwrap_or(series);
        let is_counter = match kind {
            "gauge" => false,
            "counter" => true,
            "histogram" if name.ends_with("_count") || name.ends_with("_sum") => true,
            _ => return None,
        };
        let value: f64 = value.parse().ok()?;
        value.is_finite().then_some(Sample { series, is_counter, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;
    use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};

    #[test]
    fn what_prometheus_client_writes_is_read() {
        let metrics = Metrics::new();
        let by_class = Family::<Vec<(String, String)>, Gauge>::default();
        let puts = Counter::<u64>::default();
        let seconds = Histogram::new([0.1, 1.0]);
        metrics.with(|registry| {
            registry.register("terrane_depth", "Depth # of a queue", by_class.clone());
            registry.register("terrane_puts", "Puts", puts.clone());
            registry.register("terrane_latency_seconds", "Latency", seconds.clone());
        });
        by_class.get_or_create(&vec![("class".into(), "high # 1".into())]).set(-7);
        puts.inc_by(2);
        seconds.observe(0.5);
        let text = metrics.render();
        let found: Vec<_> = samples(&text).map(|s| (s.series, s.is_counter, s.value)).collect();
        assert!(found.contains(&("terrane_puts_total", true, 2.0)), "{found:?}");
        assert!(found.contains(&("terrane_latency_seconds_count", true, 1.0)), "{found:?}");
        assert!(found.contains(&("terrane_latency_seconds_sum", true, 0.5)), "{found:?}");
        assert!(!found.iter().any(|(series, ..)| series.contains("_bucket")), "{found:?}");
    }
}
