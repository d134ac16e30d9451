//! Runs over real files.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(path: &Path, rows: &Rows) {
    let mut writer = RunWriter::create(path, 7).unwrap();
    for (key, value) in rows {
        writer.push(key, value).unwrap();
    }
    writer.finish().unwrap();
}

fn rows(n: u32) -> Rows {
    let value = |i: u32| vec![i as u8; (i % 300) as usize];
    (0..n).map(|i| (format!("key-{:06}", i * 2).into_bytes(), value(i))).collect()
}

fn collect(run: &RunFile, from: &[u8], to: &[u8]) -> Result<Rows, RunError> {
    run.scan(from, to).map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect()
}

#[test]
fn rows_are_found_and_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rows) = (dir.path().join("run"), rows(5_000));
    write(&path, &rows);
    let run = RunFile::open(&path, 7).unwrap();
    run.verify().unwrap();
    for (key, value) in &rows {
        assert_eq!(run.get(key).unwrap().as_deref(), Some(&value[..]));
    }
    for absent in ["", "key-000001", "key-000999", "key-999999", "zzz"] {
        assert_eq!(run.get(absent.as_bytes()).unwrap(), None);
    }
    assert!(collect(&run, b"", b"").unwrap() == rows);
    let some: Rows = rows
        .range(b"key-001001".to_vec()..b"key-004000".to_vec())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    assert!(collect(&run, b"key-001001", b"key-004000").unwrap() == some);
    assert!(RunFile::open(&path, 8).is_err(), "another run's file");
}

#[test]
fn an_empty_run_is_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    write(&path, &Rows::new());
    let run = RunFile::open(&path, 7).unwrap();
    assert_eq!(run.get(b"a").unwrap(), None);
    run.verify().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_is_detected(at in any::<prop::sample::Index>(), mask in 1u8.., cut in proptest::option::of(any::<prop::sample::Index>())) {
        let dir = tempfile::tempdir().unwrap();
        let (path, rows) = (dir.path().join("run"), rows(300));
        write(&path, &rows);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        match cut {
            Some(cut) => bytes.truncate(cut.index(bytes.len())),
            None => bytes[at] ^= mask,
        }
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(RunFile::open(&path, 7).and_then(|run| run.verify()).is_err());
    }
}
