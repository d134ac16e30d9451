//! Damaged, exchanged and cut objects: every byte of every object, and never wrong data.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use terrane_snapshot::objects::MemoryObjects;
use terrane_snapshot::{Manifest, NoDedup, ObjectRef, Result, Vault};

use crate::site::{capture, compare, reader, take, vault};

struct Site {
    objects: MemoryObjects,
    vault: Vault,
    reference: ObjectRef,
    model: BTreeMap<u64, u8>,
}

impl Site {
    async fn new() -> Self {
        let objects = MemoryObjects::new();
        let vault = vault(&objects);
        let model = BTreeMap::from([(0, 1), (1, 2), (1025, 3)]);
        let taken = take(&vault, capture(0), 1030, None, &model, Arc::new(NoDedup)).await;
        let (_, reference, _) = taken.unwrap();
        Self { objects, vault, reference, model }
    }

    /// Reads everything; panics if anything is not what was written.
    async fn read(&self) -> Result<Manifest> {
        let manifest = self.vault.manifest(&self.reference).await?;
        let reader = reader(&self.vault, &manifest);
        for chunk in [0, 1, 2, 1025] {
            let seed = self.model.get(&chunk).copied().unwrap_or(0);
            let bytes = reader.chunk(chunk).await?;
            assert_eq!(bytes.map_or(0, |bytes| bytes[77]), seed, "wrong data");
        }
        Ok(manifest)
    }

    /// Reads the index of every pack; panics if one is not what was written.
    async fn read_packs(&self, intact: &[usize]) -> Result<()> {
        for (name, entries) in self.packs().iter().zip(intact) {
            assert_eq!(self.vault.pack_index(name).await?.len(), *entries);
        }
        Ok(())
    }

    fn packs(&self) -> Vec<terrane_snapshot::ObjectName> {
        let names = self.objects.names();
        let names = names.iter().filter(|name| name.starts_with("packs/"));
        names.map(|name| terrane_snapshot::ObjectName::parse(name).unwrap()).collect()
    }
}

#[tokio::test]
async fn every_byte_of_every_object_counts_or_does_no_harm() {
    let site = Site::new().await;
    site.read().await.unwrap();
    site.read_packs(&[3]).await.unwrap();
    for name in site.objects.names() {
        let bytes = site.objects.bytes(&name).unwrap();
        assert!(bytes.len() < 2000, "{name} is small enough to try each byte: {}", bytes.len());
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << (at % 8);
            site.objects.overwrite(&name, changed.into());
            let (data, index) = (site.read().await, site.read_packs(&[3]).await);
            let harmless = name.starts_with("packs/") && (data.is_ok() || index.is_ok());
            assert!(harmless || data.is_err(), "byte {at} of {name} is not looked at");
        }
        site.objects.overwrite(&name, bytes);
    }
    site.read().await.unwrap();
}

#[tokio::test]
async fn exchanged_objects_are_noticed() {
    let site = Site::new().await;
    let names = site.objects.names();
    for name in &names {
        let bytes = site.objects.bytes(name).unwrap();
        for other in names.iter().filter(|other| *other != name) {
            site.objects.overwrite(name, site.objects.bytes(other).unwrap());
            assert!(site.read().await.unwrap_err().is_corrupt(), "{other} in the place of {name}");
        }
        site.objects.overwrite(name, bytes);
    }
}

#[tokio::test]
async fn an_older_object_in_the_place_of_a_newer_one_is_noticed() {
    let site = Site::new().await;
    let parent = site.read().await.unwrap();
    let newer = BTreeMap::from([(0, 200)]);
    let taken = take(&site.vault, capture(1), 1030, Some(parent.clone()), &newer, Arc::new(NoDedup)).await;
    let (manifest, reference, _) = taken.unwrap();
    let old = site.objects.bytes(&parent.segments[&0].name.to_string()).unwrap();
    site.objects.overwrite(&manifest.segments[&0].name.to_string(), old);
    let manifest = site.vault.manifest(&reference).await.unwrap();
    assert!(compare(&reader(&site.vault, &manifest), &newer).await.unwrap_err().is_corrupt());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Cuts, growth and runs of other bytes anywhere.
    #[test]
    fn no_damage_reads_as_wrong_data(
        which: prop::sample::Index,
        at: prop::sample::Index,
        run in prop::collection::vec(any::<u8>(), 0..40),
        cut: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::new().await;
            let names = site.objects.names();
            let name = which.get(&names);
            let mut bytes = site.objects.bytes(name).unwrap().to_vec();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            }
            let end = bytes.len().min(at + run.len());
            bytes.splice(at.min(end)..end, run);
            site.objects.overwrite(name, Bytes::from(bytes));
            for result in [site.read().await.map(drop), site.read_packs(&[3]).await] {
                if let Err(error) = result {
                    assert!(error.is_corrupt() || matches!(error,
                        terrane_snapshot::SnapshotError::NewerFormat { .. } | terrane_snapshot::SnapshotError::Keys(_)), "{error}");
                }
            }
        });
    }

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>) {
        terrane_snapshot::fuzz_decode(&bytes);
    }
}
