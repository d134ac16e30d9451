//! Outcomes by feature.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Markers of the suite that name a feature, the telling ones first: a test of versioned copies is one of
/// versioning.
const MARKERS: &[(&str, &str)] = &[
    ("bucket_logging", "bucket logging"),
    ("object_lock", "object lock"),
    ("s3website", "static websites"),
    ("lifecycle", "lifecycle"),
    ("lifecycle_expiration", "lifecycle"),
    ("lifecycle_transition", "lifecycle"),
    ("cloud_transition", "cloud tiers"),
    ("cloud_restore", "cloud tiers"),
    ("sse_s3", "encryption"),
    ("encryption", "encryption"),
    ("bucket_encryption", "encryption"),
    ("storage_class", "storage classes"),
    ("appendobject", "append"),
    ("object_ownership", "ownership controls"),
    ("bucket_policy", "bucket policy"),
    ("checksum", "checksums"),
    ("conditional_write", "conditional writes"),
    ("tagging", "tagging"),
    ("delete_marker", "versioning"),
    ("versioning", "versioning"),
    ("copy", "copy"),
    ("list_objects_v2", "listing v2"),
    ("auth_aws2", "headers and signatures"),
    ("auth_common", "headers and signatures"),
];

/// Parts of names, for tests without a telling marker.
const NAMES: &[(&str, &str)] = &[
    ("logging", "bucket logging"),
    ("lifecycle", "lifecycle"),
    ("object_lock", "object lock"),
    ("encrypt", "encryption"),
    ("sse_", "encryption"),
    ("post_object", "POST forms"),
    ("listv2", "listing v2"),
    ("bucket_list", "listing v1"),
    ("list_multipart", "multipart"),
    ("multipart", "multipart"),
    ("version", "versioning"),
    ("copy", "copy"),
    ("acl", "ACLs"),
    ("access_bucket", "ACLs"),
    ("grant", "ACLs"),
    ("policy", "bucket policy"),
    ("public", "public access"),
    ("anonymous", "public access"),
    ("cors", "CORS"),
    ("tag", "tagging"),
    ("checksum", "checksums"),
    ("presign", "presigned URLs"),
    ("object_raw", "presigned URLs"),
    ("range", "ranges"),
    ("atomic", "atomicity"),
    ("ifmatch", "conditional requests"),
    ("ifnonmatch", "conditional requests"),
    ("if_match", "conditional requests"),
    ("if_none", "conditional requests"),
    ("ownership", "ownership controls"),
    ("bad_", "headers and signatures"),
    ("header", "headers and signatures"),
    ("bucket", "buckets"),
];

fn feature(name: &str, markers: &str) -> &'static str {
    let by_marker = MARKERS.iter().find(|(marker, _)| markers.split(',').any(|own| own == *marker));
    let by_name = || NAMES.iter().find(|(part, _)| name.contains(part));
    by_marker.or_else(by_name).map_or("objects", |(_, feature)| feature)
}

/// Renders lines of `outcome TAB name TAB markers` as a Markdown table.
pub(super) fn render(outcomes: &str) -> String {
    let mut features: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    let mut failed = Vec::new();
    for line in outcomes.lines() {
        let mut fields = line.split('\t');
        let (outcome, name, markers) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let feature = feature(name, markers);
        let column = match outcome {
            "passed" => 0,
            "failed" => 1,
            _ => 2,
        };
        features.entry(feature).or_default()[column] += 1;
        if column == 1 {
            failed.push((feature, name));
        }
    }
    let mut table = String::from("| Feature | passed | failed | skipped |\n|---|---:|---:|---:|\n");
    let mut sum = [0; 3];
    for (feature, counts) in &features {
        let _ = writeln!(table, "| {feature} | {} | {} | {} |", counts[0], counts[1], counts[2]);
        for (total, count) in sum.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let _ = writeln!(table, "| **all** | **{}** | **{}** | **{}** |", sum[0], sum[1], sum[2]);
    table.push_str("\n## Failed\n");
    let mut by_feature: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    for (feature, name) in failed {
        // Cases of one test that differ in parameters only are counted.
        let name = name.split('[').next().unwrap_or(name);
        *by_feature.entry(feature).or_default().entry(name).or_default() += 1;
    }
    for (feature, names) in by_feature {
        let _ = write!(table, "\n### {feature}\n\n");
        let names = names.into_iter().map(|(name, cases)| match cases {
            1 => format!("`{name}`"),
            _ => format!("`{name}` ({cases} cases)"),
        });
        table.push_str(&wrap(names));
    }
    table
}

/// Words in lines that fit a page, separated by commas.
fn wrap(words: impl Iterator<Item = String>) -> String {
    const WIDTH: usize = 118;
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            *line = word;
        } else if line.len() + word.len() + 2 <= WIDTH {
            line.push_str(", ");
            line.push_str(&word);
        } else {
            line.push(',');
            lines.push(word);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_marker_then_by_name() {
        let table = render(
            "passed\ttest_bucket_list_empty\t\nfailed\ttest_copy_versioned\tcopy,versioning\nskipped\ttest_x\t\npassed\ttest_y\t\n",
        );
        assert!(table.contains("| listing v1 | 1 | 0 | 0 |"), "{table}");
        assert!(table.contains("| versioning | 0 | 1 | 0 |"), "{table}");
        assert!(table.contains("| objects | 1 | 0 | 1 |"), "{table}");
        assert!(table.contains("| **all** | **2** | **1** | **1** |"), "{table}");
        assert!(table.contains("### versioning\n\n`test_copy_versioned`\n"), "{table}");
    }

    #[test]
    fn parameters_are_counted_and_lines_fit() {
        let lines: String =
            (0..40).map(|n| format!("failed\ttest_case_{}[{n}]\tversioning\n", n / 2)).collect();
        let table = render(&lines);
        assert!(table.contains("`test_case_7` (2 cases)"), "{table}");
        assert!(table.lines().all(|line| line.len() <= 120), "{table}");
    }
}
