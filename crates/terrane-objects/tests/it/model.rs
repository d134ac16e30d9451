//! The store against the model: the same requests, the same answers, whatever is pending.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use terrane_objects::model::ModelStore;
use terrane_objects::service::*;

use crate::rig::*;

const KEYS: [&str; 7] = ["a", "a/1", "a/2", "b", "b/x/1", "b/x/2", "ü"];
/// Part sizes: the model and the store agree that only the last may be small.
const SIZES: [usize; 4] = [0, 10, 20_000, 70_000];

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, size: usize, mode: u8, condition: u8, etag: usize },
    Delete { key: usize, version: Option<Index>, mode: u8, condition: u8, etag: usize },
    Copy { from: usize, to: usize },
    Versioning(u8),
    Tags { key: usize, version: Option<Index> },
    Get { key: usize, version: Option<Index> },
    List { kind: u8, prefix: usize, delimiter: bool, after: Option<usize>, max: usize },
    CreateUpload { key: usize },
    Part { upload: Index, number: u32, size: usize },
    Complete { upload: Index, numbers: Vec<u32> },
    Abort { upload: Index },
    Pause(bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let size = || 0..SIZES.len();
    let version = || proptest::option::weighted(0.4, any::<Index>());
    prop_oneof![
        6 => (key(), size(), 0..5u8, 0..8u8, key()).prop_map(|(key, size, mode, condition, etag)| {
            Step::Put { key, size, mode, condition, etag }
        }),
        4 => (key(), version(), 0..5u8, 0..8u8, key()).prop_map(|(key, version, mode, condition, etag)| {
            Step::Delete { key, version, mode, condition, etag }
        }),
        2 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
        1 => (0..2u8).prop_map(Step::Versioning),
        1 => (key(), version()).prop_map(|(key, version)| Step::Tags { key, version }),
        3 => (key(), version()).prop_map(|(key, version)| Step::Get { key, version }),
        4 => (0..3u8, 0..4usize, any::<bool>(), proptest::option::of(key()), 1..6usize).prop_map(
            |(kind, prefix, delimiter, after, max)| Step::List { kind, prefix, delimiter, after, max }
        ),
        1 => key().prop_map(|key| Step::CreateUpload { key }),
        2 => (any::<Index>(), 1..4u32, size()).prop_map(|(upload, number, size)| {
            Step::Part { upload, number, size }
        }),
        1 => (any::<Index>(), proptest::collection::vec(1..4u32, 1..3)).prop_map(|(upload, numbers)| {
            Step::Complete { upload, numbers }
        }),
        1 => any::<Index>().prop_map(|upload| Step::Abort { upload }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Drain),
    ]
}

/// One of the two services, with its own words for versions and uploads.
struct Side {
    b: Bucket,
    versions: Vec<VersionId>,
    uploads: Vec<(String, UploadId)>,
}

/// Names that both sides share, for ids that they do not.
struct Names {
    versions: BTreeMap<VersionId, usize>,
}

impl Names {
    fn of(side: &Side) -> Self {
        Self { versions: side.versions.iter().cloned().enumerate().map(|(n, id)| (id, n)).collect() }
    }

    fn version(&self, id: &VersionId) -> String {
        match (id, self.versions.get(id)) {
            (VersionId::Null, _) => "null".into(),
            (_, Some(n)) => format!("#{n}"),
            (id, None) => format!("unknown {id}"),
        }
    }
}

fn mode(n: u8) -> ModeRequest {
    match n {
        0 => explicit(ExplicitMode::Async),
        1 => ModeRequest { priority: Some(Priority::Low), ..explicit(ExplicitMode::Async) },
        2 => explicit(ExplicitMode::Delay(Duration::from_secs(3_600))),
        _ => ModeRequest::default(),
    }
}

fn etag(key: usize, size: usize) -> String {
    format!("etag-{}-{}", KEYS[key], SIZES[size % SIZES.len()])
}

fn condition(n: u8, etag: String) -> Condition {
    let tags = || Some(EtagSet::Tags(vec![etag.clone()]));
    match n {
        0 => Condition { if_match: tags(), ..Condition::default() },
        1 => Condition { if_none_match: tags(), ..Condition::default() },
        2 => Condition { if_none_match: Some(EtagSet::Any), ..Condition::default() },
        _ => Condition::default(),
    }
}

/// Conditions of deletes.
fn on_delete(n: u8, etag: String, size: usize) -> Condition {
    match n {
        0 => Condition { if_match: Some(EtagSet::Tags(vec![etag])), ..Condition::default() },
        1 => Condition { if_match: Some(EtagSet::Any), ..Condition::default() },
        2 => Condition { if_match_size: Some(size as u64), ..Condition::default() },
        _ => Condition::default(),
    }
}

impl Side {
    fn pick(&self, version: Option<&Index>) -> Option<VersionId> {
        let version = version?;
        // The last choice is the null version.
        self.versions.get(version.index(self.versions.len() + 1)).cloned().or(Some(VersionId::Null))
    }

    fn answer<T>(&self, result: Result<T>, show: impl FnOnce(&Names, T) -> String) -> String {
        let names = Names::of(self);
        match result {
            Ok(answer) => show(&names, answer),
            Err(ObjectError::CurrentIsDeleteMarker(id)) => format!("current marker {}", names.version(&id)),
            Err(ObjectError::VersionIsDeleteMarker(id)) => format!("marker {}", names.version(&id)),
            Err(error) => format!("error: {error}"),
        }
    }

    fn written(&mut self, result: Result<Written>) -> String {
        if let Ok(written) = &result
            && written.version != VersionId::Null
            && !self.versions.contains(&written.version)
        {
            self.versions.push(written.version.clone());
        }
        self.answer(result, |names, w| {
            let version = names.version(&w.version);
            format!("written {version} marker={} logged={}", w.delete_marker, w.operation.is_some())
        })
    }

    async fn put(&mut self, key: usize, size: usize, n: u8, condition: Condition) -> String {
        let staged = self.b.service.stage(body(&pattern(SIZES[size], key as u64)), None).await.unwrap();
        let put = PutObject {
            bucket: self.b.info.clone(),
            key: KEYS[key].into(),
            staged,
            attrs: attrs(&etag(key, size)),
            condition,
            mode: mode(n),
        };
        let result = self.b.service.put_object(put).await;
        self.written(result)
    }

    async fn delete(
        &mut self,
        key: usize,
        version: Option<VersionId>,
        n: u8,
        condition: Condition,
    ) -> String {
        let (bucket, key) = (self.b.info.clone(), KEYS[key].into());
        let delete = DeleteObject { bucket, key, version, condition, mode: mode(n) };
        let result = self.b.service.delete_object(delete).await;
        self.written(result)
    }

    async fn get(&self, key: usize, version: Option<VersionId>) -> String {
        let opened = self.b.service.get_object(&self.b.info, KEYS[key], version.as_ref()).await;
        let bytes = match &opened {
            Ok(handle) => read(&**handle).await.unwrap(),
            Err(_) => bytes::Bytes::new(),
        };
        self.answer(opened, |names, handle| {
            let info = handle.info();
            let parts: Vec<u32> = info.parts.iter().map(|part| part.number).collect();
            let sum = crc_of(&bytes);
            let version = names.version(&info.version);
            let (size, current) = (info.size, info.is_current);
            format!("object {version} {size} {current} {:?} {parts:?} {sum}", info.attrs)
        })
    }

    async fn list(&self, request: (ListKind, &str, bool, Option<&str>, usize)) -> Vec<String> {
        let (kind, prefix, delimiter, after, max_keys) = request;
        let mut start = after.map_or(ListStart::Beginning, |key| ListStart::AfterKey(key.into()));
        let mut lines = Vec::new();
        loop {
            let request = ListRequest {
                bucket: self.b.info.clone(),
                kind,
                prefix: prefix.into(),
                delimiter: delimiter.then(|| "/".into()),
                start,
                max_keys,
            };
            let page = self.b.service.list(request).await.unwrap();
            assert!(page.entries.len() <= max_keys);
            lines.extend(page.entries.iter().map(|entry| self.line(entry)));
            lines.push("page".into());
            match page.next {
                Some(token) => start = ListStart::Token(token),
                None => return lines,
            }
        }
    }

    fn line(&self, entry: &ListEntry) -> String {
        let names = Names::of(self);
        match entry {
            ListEntry::Object { key, version, is_latest, size, etag, .. } => {
                format!("{key} {} {is_latest} {size} {etag}", names.version(version))
            }
            ListEntry::DeleteMarker { key, version, is_latest, .. } => {
                format!("{key} marker {} {is_latest}", names.version(version))
            }
            ListEntry::Upload { key, upload, attrs, .. } => {
                let n = self.uploads.iter().position(|(_, id)| id == upload);
                format!("{key} upload {n:?} {attrs:?}")
            }
            ListEntry::CommonPrefix(prefix) => format!("{prefix}…"),
        }
    }

    async fn part(&self, upload: &Index, number: u32, size: usize) -> String {
        let Some((key, id)) = upload.get_or_none(&self.uploads) else { return String::new() };
        let staged = self.b.service.stage(body(&pattern(SIZES[size], 9)), None).await.unwrap();
        let part = PartInfo {
            number,
            size: SIZES[size] as u64,
            etag: format!("part-{size}"),
            checksums: Vec::new(),
            modified: std::time::SystemTime::now(),
        };
        let result = self.b.service.put_part(&self.b.info, key, id, staged, part).await;
        let done = self.answer(result, |_, ()| "part".into());
        let listed = self.b.service.list_parts(&self.b.info, key, id, 0, 2).await;
        done + &self.answer(listed, |_, (parts, more)| {
            let parts: Vec<_> = parts.iter().map(|p| (p.number, p.size, p.etag.clone())).collect();
            format!("{parts:?} {more}")
        })
    }

    async fn complete(&mut self, upload: &Index, numbers: &[u32]) -> String {
        let Some((key, id)) = upload.get_or_none(&self.uploads).cloned() else { return String::new() };
        let (known, _) = self.b.service.list_parts(&self.b.info, &key, &id, 0, 10).await.unwrap_or_default();
        let etag = |n: u32| known.iter().find(|p| p.number == n).map_or("none".into(), |p| p.etag.clone());
        let parts = numbers.iter().map(|n| CompletedPart { number: *n, etag: etag(*n) }).collect();
        let complete = CompleteUpload {
            bucket: self.b.info.clone(),
            key,
            upload: id,
            parts,
            attrs: attrs("multi-2"),
            condition: Condition::default(),
            mode: ModeRequest::default(),
        };
        let result = self.b.service.complete_upload(complete).await;
        self.written(result)
    }

    async fn step(&mut self, step: &Step) -> String {
        let service = self.b.service.clone();
        match step {
            Step::Put { key, size, mode, condition: c, etag: of } => {
                self.put(*key, *size, *mode, condition(*c, etag(*key, *of))).await
            }
            Step::Delete { key, version, mode, condition: c, etag: of } => {
                let version = self.pick(version.as_ref());
                let condition = on_delete(*c, etag(*key, *of), SIZES[*of % SIZES.len()]);
                self.delete(*key, version, *mode, condition).await
            }
            Step::Copy { from, to } => match self.b.open(KEYS[*from]).await {
                Err(error) => self.answer(Err(error), |_, ()| String::new()),
                Ok(source) => {
                    let result = self.b.copy(&source, KEYS[*to]).await;
                    self.written(result)
                }
            },
            Step::Versioning(n) => {
                let state = if *n == 0 { Versioning::Enabled } else { Versioning::Suspended };
                self.b.info =
                    service.change_bucket(&self.b.info, BucketChange::Versioning(state)).await.unwrap();
                format!("{:?}", self.b.info.versioning)
            }
            Step::Tags { key, version } => {
                let (version, tags) = (self.pick(version.as_ref()), vec![("k".into(), "v".into())]);
                let (change, mode) = (AttrChange::Tags(tags), ModeRequest::default());
                let key = KEYS[*key];
                let result = service.change_object(&self.b.info, key, version.as_ref(), change, mode).await;
                self.written(result)
            }
            Step::Get { key, version } => self.get(*key, self.pick(version.as_ref())).await,
            Step::List { kind, prefix, delimiter, after, max } => {
                let kind = [ListKind::Current, ListKind::Versions, ListKind::Uploads][usize::from(*kind)];
                let prefix = ["", "a", "b/", "b/x/"][*prefix];
                self.list((kind, prefix, *delimiter, after.map(|n| KEYS[n]), *max)).await.join("\n")
            }
            Step::CreateUpload { key } => {
                let key = KEYS[*key];
                let id = service.create_upload(&self.b.info, key, attrs("")).await.unwrap();
                self.uploads.push((key.into(), id));
                String::new()
            }
            Step::Part { upload, number, size } => self.part(upload, *number, *size).await,
            Step::Complete { upload, numbers } => self.complete(upload, numbers).await,
            Step::Abort { upload } => {
                let Some((key, id)) = upload.get_or_none(&self.uploads) else { return String::new() };
                let result = service.abort_upload(&self.b.info, key, id).await;
                self.answer(result, |_, ()| "aborted".into())
            }
            Step::Pause(paused) => {
                service.pause_queue(None, *paused).await.unwrap();
                String::new()
            }
            Step::Drain => {
                service.pause_queue(None, false).await.unwrap();
                service.drain_queue(None).await.unwrap();
                String::new()
            }
        }
    }
}

trait GetOrNone {
    fn get_or_none<'a, T>(&self, from: &'a [T]) -> Option<&'a T>;
}

impl GetOrNone for Index {
    fn get_or_none<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.index(from.len())])
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_store_answers_as_the_model_does(
        steps in proptest::collection::vec(step(), 1..70),
        restarts in proptest::collection::btree_set(0..70usize, 0..3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let mut store = open(config(dir.path())).await;
            let side = |b| Side { b, versions: Vec::new(), uploads: Vec::new() };
            let mut real = side(bucket(store.clone(), "bucket").await);
            let mut model = side(bucket(ModelStore::new(), "bucket").await);
            for (n, step) in steps.iter().enumerate() {
                if restarts.contains(&n) {
                    store.close().await;
                    drop(std::mem::replace(&mut real.b.service, std::sync::Arc::new(ModelStore::new())));
                    drop(store);
                    store = open(config(dir.path())).await;
                    real.b = bucket(store.clone(), "bucket").await;
                }
                let (found, expected) = (real.step(step).await, model.step(step).await);
                assert_eq!(found, expected, "step {n}: {step:?}");
            }
            store.close().await;
        });
    }
}
