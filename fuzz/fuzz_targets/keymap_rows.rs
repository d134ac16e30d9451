//! Everything small that the keymap, spill runs and clients hand back: the first byte says which decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_keymap::completion::Completion;
use terrane_keymap::head::RowHead;
use terrane_keymap::list::ListStart;
use terrane_keymap::run::RunEntry;
use terrane_keymap::{RowId, RowName};

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    match which % 5 {
        0 => {
            // What parses is exactly what the encoder makes.
            if let Ok(name) = RowName::parse(data) {
                assert_eq!(RowId::new(name.incarnation, &name.key, name.sub).as_bytes(), data);
            }
        }
        1 => drop(RowHead::decode(data)),
        2 => {
            let row = RowId::from_bytes(b"row");
            drop(RunEntry::decode_row(row.clone(), data));
            drop(RunEntry::decode(row, data));
        }
        3 => drop(ListStart::decode(data)),
        _ => drop(Completion::decode(data)),
    }
});
