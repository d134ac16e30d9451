//! What happened in a history, as a hash of its lines and, if wanted, the lines.

use std::fmt;

/// Collects a history's lines.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps the lines if `keep`, else only their hash.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, count: 0, lines: keep.then(Vec::new) }
    }

    /// Adds a line: `trace.note(format_args!(…))`.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        self.count += 1;
        // The hash takes the text without building it.
        let _ = fmt::Write::write_fmt(&mut Hasher(&mut self.hash), line);
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_string());
        }
    }

    /// Hash of all lines (FNV-1a).
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of lines.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

struct Hasher<'a>(&'a mut u64);

impl fmt::Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
