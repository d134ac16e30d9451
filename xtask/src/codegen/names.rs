//! Names and sentences of the model, as Rust has them.

/// `VolumeId` → `volume_id`, `EbsOptimized` → `ebs_optimized`, `KmsKeyId` → `kms_key_id`, `AutoEnableIO` →
/// `auto_enable_io`.
pub(super) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase)
            });
        if starts_word && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    match snake.as_str() {
        "type" | "return" | "move" | "ref" => format!("r#{snake}"),
        _ => snake,
    }
}

/// `in-use` → `InUse`, `UEFI_preferred` → `UefiPreferred`, `2.0` → `V20`.
pub(super) fn variant(word: &str) -> String {
    let mut name = String::new();
    for part in word.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        let all_upper = !part.contains(|c: char| c.is_ascii_lowercase());
        let mut chars = part.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.extend(chars.map(|c| if all_upper { c.to_ascii_lowercase() } else { c }));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("V{name}") } else { name }
}

/// The first sentence of the model's HTML as a line of Rust documentation; at most 100 characters.
pub(super) fn first_sentence(html: Option<&str>, fallback: &str) -> String {
    const CHARS_MAX: usize = 100;
    let text = plain(html.unwrap_or_default());
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    let sentence = text[..end].trim();
    if sentence.is_empty() {
        return format!("`{fallback}`.");
    }
    let escaped = sentence.replace('[', "\\[").replace(']', "\\]").replace('*', "\\*");
    match escaped.char_indices().nth(CHARS_MAX) {
        None => escaped,
        Some((cut, _)) => {
            let end = escaped[..cut].rfind(' ').unwrap_or(cut);
            let shortened = escaped[..end].trim_end_matches([',', ':', ';', '(']);
            // A half of a pair of backticks would swallow what follows.
            let ticks = if shortened.matches('`').count() % 2 == 1 { "`" } else { "" };
            format!("{shortened}{ticks} …")
        }
    }
}

/// Text without tags, entities and repeated blanks; `<code>` becomes backticks.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        let end = rest[at..].find('>').map_or(rest.len(), |length| at + length + 1);
        match &rest[at..end] {
            "<code>" | "</code>" => text.push('`'),
            "</p>" | "</li>" => text.push(' '),
            _ => {}
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    for (entity, c) in
        [("&lt;", "‹"), ("&gt;", "›"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
    {
        text = text.replace(entity, c);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of filters that a member's documentation lists: its items begin with `<code>NAME</code>`. `tag:`
/// stands for all that begin so.
pub(super) fn filters(html: &str) -> Vec<String> {
    let mut names: Vec<String> = html
        .split("<li>")
        .skip(1)
        .filter_map(|item| {
            let item = item.trim_start().trim_start_matches("<p>").trim_start();
            let (name, after) = item.strip_prefix("<code>")?.split_once("</code>")?;
            let open = name.find(':').map(|at| &name[..at]);
            Some(match open {
                Some(prefix) => format!("{prefix}:"),
                None if after.starts_with(':') => format!("{name}:"),
                None => name.to_owned(),
            })
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_become_fields() {
        for (member, field) in [
            ("VolumeId", "volume_id"),
            ("AutoEnableIO", "auto_enable_io"),
            ("IOPerformance", "io_performance"),
            ("VCpuInfo", "v_cpu_info"),
            ("Type", "r#type"),
            ("Ipv6Address", "ipv6_address"),
        ] {
            assert_eq!(snake_case(member), field);
        }
    }

    #[test]
    fn words_become_variants() {
        for (word, expected) in [
            ("in-use", "InUse"),
            ("gp3", "Gp3"),
            ("2.0", "V20"),
            ("UEFI", "Uefi"),
            ("io-enabled", "IoEnabled"),
        ] {
            assert_eq!(variant(word), expected);
        }
    }

    #[test]
    fn documentation_is_one_sentence_without_tags() {
        let html = "<p>The <code>size</code> of\n it [GiB]. More &lt;here&gt;.</p>";
        assert_eq!(first_sentence(Some(html), "x"), "The `size` of it \\[GiB\\].");
        assert_eq!(first_sentence(Some("<p/>"), "x"), "`x`.");
        let long = "a ".repeat(49) + "`bb cc dd`";
        assert_eq!(first_sentence(Some(&long), "x"), "a ".repeat(49) + "…", "cut between words");
    }

    #[test]
    fn filters_are_the_heads_of_items() {
        let html = "<ul> <li> <p> <code>size</code> - The <code>x</code>.</p> </li> <li><p><code>tag</code>:&lt;key&gt; \
                    - A</p></li> <li> <p> <code>tag:&lt;key&gt;</code> - A</p></li></ul>";
        assert_eq!(filters(html), ["size", "tag:"]);
    }
}
