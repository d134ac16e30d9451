//! The Cedar schema of account policies, and validation against it.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};

use super::actions::{self, Access};

/// Longest text of one policy, bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 20 * 1024;
/// Most statements in one policy.
pub(crate) const STATEMENTS_MAX: usize = 50;

const ENTITIES: &str = r#"// What policies of an account may refer to. Made from the table of actions.

// A ready-made policy: "full-access" or "read-only". Users are `in` those that are attached to them.
entity ManagedPolicy;
// A user of the account, by name: User::"alice".
entity User in [ManagedPolicy] { name: String };
// An account, by number.
entity Account { owner: String };
// The installation itself: Installation::"terrane".
entity Installation { owner: String };
// A bucket, by name. `owner` is an account's number.
entity Bucket { owner: String, name: String };
// An object: Object::"bucket/key".
entity Object in [Bucket] { owner: String, bucket: String, key: String };
// Volumes, snapshots and instances, by identifier: Volume::"vol-0123456789abcdef0".
entity Volume { owner: String, id: String };
entity Snapshot { owner: String, id: String };
entity Instance { owner: String, id: String };

type Circumstances = { now: datetime, secure_transport: Bool, source_ip?: ipaddr };
"#;

fn group(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Admin => "admin",
    }
}

/// The groups that an action is in: `read`, `s3` and `s3:read` for `s3:GetObject`.
pub(super) fn groups_of(action: &actions::Action) -> [String; 3] {
    let service = action.name.split(':').next().unwrap_or_default();
    [group(action.access).to_owned(), service.to_owned(), format!("{service}:{}", group(action.access))]
}

/// The schema in Cedar's own notation, to show to people who write policies.
pub fn schema_text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = ENTITIES.to_owned();
        let mut groups: Vec<String> = actions::all().iter().flat_map(groups_of).collect();
        groups.sort();
        groups.dedup();
        let quoted =
            |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        _ = write!(
            text,
            "\n// Groups, for `action in Action::\"s3:read\"`.\naction {};\n\n",
            quoted(&groups)
        );
        for action in actions::all() {
            let on = action.on.kinds().join(", ");
            _ = writeln!(
                text,
                "action \"{}\" in [{}] appliesTo {{ principal: User, resource: [{on}], context: Circumstances }};",
                action.name,
                quoted(&groups_of(action))
            );
        }
        text
    });
    &TEXT
}

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let (schema, _warnings) =
        Schema::from_cedarschema_str(schema_text()).expect("a test parses the built-in schema");
    Validator::new(schema)
});

/// Parses and type-checks the text of a policy.
///
/// # Errors
/// Every problem, as texts with positions.
pub fn validate(text: &str) -> Result<PolicySet, Vec<String>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(vec![format!("longer than {TEXT_BYTES_MAX} bytes")]);
    }
    let policies = PolicySet::from_str(text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let count = policies.num_of_policies();
    if !(1..=STATEMENTS_MAX).contains(&count) {
        return Err(vec![format!("{count} statements; between 1 and {STATEMENTS_MAX} are allowed")]);
    }
    if policies.num_of_templates() > 0 {
        return Err(vec!["templates (?principal, ?resource) are not allowed".into()]);
    }
    let result = VALIDATOR.validate(&policies, ValidationMode::Strict);
    if result.validation_passed() {
        Ok(policies)
    } else {
        Err(result.validation_errors().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_itself_is_valid_and_has_every_action() {
        let (schema, warnings) = Schema::from_cedarschema_str(schema_text()).unwrap();
        assert_eq!(warnings.count(), 0);
        assert!(schema.actions().count() > actions::all().len());
    }

    #[test]
    fn sensible_policies_pass() {
        for text in [
            r#"permit (principal == User::"alice", action, resource);"#,
            r#"permit (principal, action in [Action::"s3:read"], resource in Bucket::"photos");"#,
            r#"permit (principal, action == Action::"s3:PutObject", resource)
               when { resource.key like "logs/*" && context.secure_transport };
               forbid (principal, action in Action::"write", resource)
               unless { context has source_ip && context.source_ip.isInRange(ip("10.0.0.0/8")) };"#,
            r#"permit (principal, action, resource) when { context.now < datetime("2030-01-01") };"#,
            r#"permit (principal, action == Action::"ec2:AttachVolume", resource == Volume::"vol-12345678");
               permit (principal, action == Action::"ec2:AttachVolume", resource is Instance);"#,
        ] {
            validate(text).unwrap();
        }
    }

    #[test]
    fn mistakes_are_found() {
        for (text, hint) in [
            ("", "0 statements"),
            ("permit", "end of input"),
            (r#"permit (principal, action == Action::"s3:PutObjekt", resource);"#, "s3:PutObjekt"),
            (r#"permit (principal == Usr::"alice", action, resource);"#, "Usr"),
            (
                r#"permit (principal, action == Action::"s3:PutObject", resource) when { resource.kee == "x" };"#,
                "kee",
            ),
            (r#"permit (principal, action, resource) when { context.source_ip.isLoopback() };"#, "source_ip"),
            (r#"permit (principal == ?principal, action, resource);"#, ""),
            (&"permit (principal, action, resource);".repeat(51), "51 statements"),
            (&"// x\n".repeat(5000), "longer than"),
        ] {
            let problems = validate(text).unwrap_err().join("\n");
            assert!(problems.contains(hint), "{text}: {problems}");
        }
    }
}
