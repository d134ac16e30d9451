//! [`VolumeService`]: each call is one transaction; the manager in office hears of it by the feed and does the rest.

mod attach;
mod create;
mod modify;
pub(crate) mod show;
mod tags;

use std::future::Future;

use async_trait::async_trait;
use terrane_ec2::service::{
    AttachVolume, Attachment, Caller, ClientToken, DetachVolume, Instance, NewVolume, ResourceId, Select,
    ServiceError, TagRemoval, Tags, Volume, VolumeChange, VolumeModification, VolumeService, ZoneRecord,
};
use terrane_store::{StoreError, Tx};
use terrane_types::{InstanceId, VolumeId};

use crate::Manager;
use crate::db::Changes;
use crate::rows::{VOLUMES, VolumeRow, volume_key};

/// Why a transaction of a call came to nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    Store(StoreError),
    Service(ServiceError),
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ServiceError> for CallError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<CallError> for ServiceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Service(error) => error,
            CallError::Store(error) if error.is_transient() => Self::Unavailable(error.to_string()),
            CallError::Store(error) => Self::Internal(error.to_string()),
        }
    }
}

impl Manager {
    /// Runs a call that changes something, and publishes what it changed.
    pub(crate) async fn call<T, F, Fut>(&self, mut body: F) -> Result<T, ServiceError>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<(T, Changes), CallError>>,
    {
        let result: Result<T, CallError> = self
            .config()
            .store
            .transact(|tx| {
                let running = body(tx.clone());
                async move {
                    let (answer, changed) = running.await?;
                    changed.publish(&tx).await?;
                    Ok(answer)
                }
            })
            .await;
        Ok(result?)
    }

    /// Runs a call that only looks.
    pub(crate) async fn look<T, F, Fut>(&self, body: F) -> Result<T, ServiceError>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, CallError>>,
    {
        Ok(self.config().store.read(body).await?)
    }
}

/// A volume of the caller's.
pub(crate) async fn own_volume(tx: &Tx, caller: &Caller, id: &VolumeId) -> Result<VolumeRow, CallError> {
    let row = VOLUMES.get(tx, &volume_key(&caller.account, id)).await?;
    row.ok_or_else(|| ServiceError::VolumeNotFound(vec![id.clone()]).into())
}

#[async_trait]
impl VolumeService for Manager {
    async fn create_volume(
        &self,
        caller: &Caller,
        token: Option<&ClientToken>,
        new: NewVolume,
    ) -> Result<Volume, ServiceError> {
        create::create(self, caller, token, &new).await
    }

    async fn delete_volume(&self, caller: &Caller, id: &VolumeId) -> Result<(), ServiceError> {
        self.call(|tx| create::delete(tx, caller, id)).await
    }

    async fn volumes(
        &self,
        caller: &Caller,
        select: Select<'_, VolumeId>,
    ) -> Result<Vec<Volume>, ServiceError> {
        self.look(|tx| show::volumes(tx, caller, &select)).await
    }

    async fn modify_volume(
        &self,
        caller: &Caller,
        id: &VolumeId,
        change: VolumeChange,
    ) -> Result<VolumeModification, ServiceError> {
        let overcommit = self.config().overcommit;
        self.call(|tx| modify::modify(tx, caller, id, change, overcommit)).await
    }

    async fn attach_volume(&self, caller: &Caller, what: AttachVolume) -> Result<Attachment, ServiceError> {
        self.call(|tx| attach::attach(tx, caller, &what)).await
    }

    async fn detach_volume(&self, caller: &Caller, what: DetachVolume) -> Result<Attachment, ServiceError> {
        self.call(|tx| attach::detach(tx, caller, &what)).await
    }

    async fn instances(
        &self,
        caller: &Caller,
        select: Select<'_, InstanceId>,
    ) -> Result<Vec<Instance>, ServiceError> {
        self.look(|tx| show::instances(tx, caller, &select)).await
    }

    async fn add_tags(&self, caller: &Caller, ids: &[ResourceId], tags: &Tags) -> Result<(), ServiceError> {
        self.call(|tx| tags::add(tx, caller, ids, tags)).await
    }

    async fn remove_tags(
        &self,
        caller: &Caller,
        ids: &[ResourceId],
        tags: &[TagRemoval],
    ) -> Result<(), ServiceError> {
        self.call(|tx| tags::remove(tx, caller, ids, tags)).await
    }

    async fn zones(&self) -> Result<Vec<ZoneRecord>, ServiceError> {
        let config = self.config();
        self.look(|tx| show::zones(tx, &config.region, &config.zones)).await
    }
}
