//! `cargo xtask bench NAME`: figures beside a peer's, from the same load tool on the same machine.

mod loadgen;
mod objects;
mod report;
mod servers;
mod store;
mod volumes;

use anyhow::{Result, bail};

pub(crate) use objects::Scale;

/// Runs the benchmark `name`.
pub(crate) fn run(name: &str, scale: &Scale) -> Result<()> {
    match name {
        "objects" => objects::run(scale),
        "store" => store::run(),
        "volumes" => volumes::run(scale),
        other => bail!("no benchmark {other:?}; there are `objects`, `store` and `volumes`"),
    }
}

/// The median; of an even number the mean of the middle two. 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len(), values.get(middle)) {
        (0, _) | (_, None) => 0.0,
        (n, Some(value)) if n % 2 == 1 => *value,
        (_, Some(value)) => f64::midpoint(values[middle - 1], *value),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert!(median(vec![]).abs() < 1e-9);
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
