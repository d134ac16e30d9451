//! TextFSM: any template compiles or is refused, and a template that compiles runs over any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_router_drivers::Template;

const TEMPLATE: &str = "Value Filldown VRF (\\S+)\nValue Required NAME (\\S+)\nValue List PORTS (\\S.*?)\n\nStart\n  \
    ^vrf ${VRF} -> Continue.Record\n  ^${NAME}\\s+${PORTS}$$ -> More\n\nMore\n  ^\\s+${PORTS}$$\n  ^\\S -> Record Start\n";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (template, output) = text.split_once('\0').unwrap_or((TEMPLATE, &text));
    if let Ok(template) = Template::parse(template) {
        drop(template.run(output));
    }
});
