//! [`VolumeService`]: each call is one transaction; the manager in office hears of it by the feed and does the rest.

mod attach;
pub(crate) mod create;
pub(crate) mod modify;
pub(crate) mod show;
mod tags;

use std::future::Future;

use async_trait::async_trait;
use terrane_ec2::service::{
    AttachVolume, Attachment, Caller, ClientToken, DetachVolume, Instance, ModificationState, NewVolume,
    ResourceId, Select, ServiceError, TagRemoval, Tags, Volume, VolumeChange, VolumeModification,
    VolumeService, ZoneRecord,
};
use terrane_store::{StoreError, Tx};
use terrane_types::{InstanceId, VolumeId};
use terrane_workflow::WorkflowError;

use crate::Manager;
use crate::admin::Change;
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

impl From<WorkflowError> for CallError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Store(error) => Self::Store(error),
            // The manager in office publishes it when it begins.
            WorkflowError::NoSuchTemplate { .. } => {
                Self::Service(ServiceError::Unavailable("the manager is starting".to_owned()))
            }
            error => Self::Service(ServiceError::Internal(error.to_string())),
        }
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
        let workflows = &self.workflows();
        self.call(|tx| create::delete(tx, workflows, caller, id)).await
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
        let change = &Change { settings: change, ..Change::default() };
        let (config, account) = (self.config(), &caller.account);
        let shown = self.call(|tx| modify::modify(tx, config, account, id, change)).await?;
        // As it was asked for; what holds at once is seen to do so when it is looked at.
        let asked = shown.ec2();
        Ok(VolumeModification { state: ModificationState::Modifying, progress: 0, ended: None, ..asked })
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
