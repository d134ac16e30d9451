use super::*;

fn event(n: usize) -> AuditEvent {
    AuditEvent {
        time: "2026-01-02T03:04:05Z".into(),
        request_id: format!("{n:016X}"),
        account: Some("000000000001".into()),
        principal: Some("AKIAEXAMPLEEXAMPLE".into()),
        source: Some("127.0.0.1".into()),
        action: "s3:PutObject".into(),
        resource: "bucket/key \"quoted\"\n".into(),
        status: 200,
        error: None,
    }
}

fn lines(dir: &Path) -> Vec<Line<'static>> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let text: String = names.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_one_line_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), AuditConfig::default(), AuditMetrics::default()).unwrap();
    for n in 0..100 {
        log.record(event(n));
    }
    log.close();
    let lines = lines(dir.path());
    assert_eq!(lines.len(), 100);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(*line.event, event(n));
        assert_eq!(line.lost_before, 0);
    }
}

#[test]
fn a_lines_form_is_pinned() {
    let line = Line { v: 1, lost_before: 0, event: std::borrow::Cow::Owned(event(1)) };
    assert_eq!(
        serde_json::to_string(&line).unwrap(),
        r#"{"v":1,"time":"2026-01-02T03:04:05Z","request_id":"0000000000000001","account":"000000000001","principal":"AKIAEXAMPLEEXAMPLE","source":"127.0.0.1","action":"s3:PutObject","resource":"bucket/key \"quoted\"\n","status":200}"#
    );
}

#[test]
fn files_rotate_by_size_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("foreign.txt"), "kept").unwrap();
    let config = AuditConfig { file_bytes_max: 1000, files_max: 3, queue_max: 8192 };
    let mut files = Files::open(dir.path().into(), config).unwrap();
    for n in 0..200 {
        files.append(&Line { v: 1, lost_before: 0, event: std::borrow::Cow::Owned(event(n)) }).unwrap();
    }
    files.flush().unwrap();
    let names = files.names().unwrap();
    assert_eq!(names.len(), 3);
    assert!(dir.path().join("foreign.txt").exists());
    for name in names {
        assert!(fs::metadata(dir.path().join(name)).unwrap().len() < 1400);
    }
}

#[test]
fn what_a_full_queue_loses_is_said_in_the_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = sync_channel(1);
    let lost = Arc::new(AtomicU64::new(0));
    let metrics = AuditMetrics::default();
    let log = AuditLog {
        inner: Arc::new(Inner {
            queue: Mutex::new(Some(sender)),
            lost: lost.clone(),
            metrics: metrics.clone(),
            writer: Mutex::new(None),
        }),
    };
    for n in 0..5 {
        log.record(event(n));
    }
    assert_eq!(metrics.lost.get(), 4);
    log.close();
    let files = Files::open(dir.path().into(), AuditConfig::default()).unwrap();
    Writer { files, buffered: 0, lost, metrics }.run(&receiver);
    let lines = lines(dir.path());
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].lost_before, 4);
}

#[test]
fn a_closed_log_counts_and_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = AuditMetrics::default();
    let log = AuditLog::open(dir.path(), AuditConfig::default(), metrics.clone()).unwrap();
    log.close();
    log.record(event(0));
    log.close();
    assert_eq!(metrics.lost.get(), 1);
}
