//! What the native API asks of the manager of volumes, beyond what EC2's calls ask.

use std::sync::Arc;

use async_trait::async_trait;
use terrane_ec2::service::{ServiceError, VolumeService};
use terrane_types::{AccountId, VolumeId};
use terrane_volumes::Manager;
use terrane_volumes::admin::{
    Change, ModificationDetail, RebuildReport, ServerDetail, VolumeDetail, WorkflowDetail, WorkflowOrder,
};

/// Volumes, where they are offered.
#[derive(Clone)]
pub struct Volumes {
    /// What customers ask.
    pub service: Arc<dyn VolumeService>,
    /// What customers look at in detail, and what operators ask.
    pub admin: Arc<dyn VolumeAdmin>,
}

impl Volumes {
    /// Of a manager.
    pub fn of(manager: &Manager) -> Self {
        Self { service: Arc::new(manager.clone()), admin: Arc::new(manager.clone()) }
    }
}

/// [`Manager`]'s calls for people and operators. A trait, so that the API is tested without servers.
#[async_trait]
pub trait VolumeAdmin: Send + Sync + 'static {
    /// See [`Manager::volume_detail`].
    ///
    /// # Errors
    /// The account has no such volume.
    async fn volume_detail(&self, account: &AccountId, id: &VolumeId) -> Result<VolumeDetail, ServiceError>;

    /// See [`Manager::modify`].
    ///
    /// # Errors
    /// No such volume or zone; what its type has not; no room.
    async fn modify(
        &self,
        account: &AccountId,
        id: &VolumeId,
        change: &Change,
    ) -> Result<ModificationDetail, ServiceError>;

    /// See [`Manager::cancel_modification`].
    ///
    /// # Errors
    /// No such volume; there is nothing to be given up.
    async fn cancel_modification(
        &self,
        account: &AccountId,
        id: &VolumeId,
    ) -> Result<ModificationDetail, ServiceError>;

    /// See [`Manager::modifications`].
    ///
    /// # Errors
    /// No such volume.
    async fn modifications(
        &self,
        account: &AccountId,
        id: Option<&VolumeId>,
    ) -> Result<Vec<ModificationDetail>, ServiceError>;

    /// See [`Manager::workflow_list`].
    ///
    /// # Errors
    /// The manager cannot answer.
    async fn workflows(&self, after: Option<&str>, limit: usize)
    -> Result<Vec<WorkflowDetail>, ServiceError>;

    /// See [`Manager::workflow`].
    ///
    /// # Errors
    /// The manager cannot answer.
    async fn workflow(&self, id: &str) -> Result<Option<WorkflowDetail>, ServiceError>;

    /// See [`Manager::order_workflow`].
    ///
    /// # Errors
    /// There is none of this name; that cannot be asked of it now.
    async fn order_workflow(&self, id: &str, order: WorkflowOrder) -> Result<WorkflowDetail, ServiceError>;

    /// See [`Manager::servers`].
    ///
    /// # Errors
    /// The manager cannot answer.
    async fn servers(&self) -> Result<Vec<ServerDetail>, ServiceError>;

    /// See [`Manager::drain`].
    ///
    /// # Errors
    /// No such server.
    async fn drain(&self, server: &str) -> Result<ServerDetail, ServiceError>;

    /// See [`Manager::undrain`].
    ///
    /// # Errors
    /// No such server.
    async fn undrain(&self, server: &str) -> Result<ServerDetail, ServiceError>;

    /// See [`Manager::declare_lost`].
    ///
    /// # Errors
    /// No such volume; no copy lives.
    async fn declare_lost(&self, id: &VolumeId, principal: &str) -> Result<VolumeDetail, ServiceError>;

    /// See [`Manager::rebuild`].
    ///
    /// # Errors
    /// The manager cannot answer.
    async fn rebuild(&self) -> Result<RebuildReport, ServiceError>;
}

#[async_trait]
impl VolumeAdmin for Manager {
    async fn volume_detail(&self, account: &AccountId, id: &VolumeId) -> Result<VolumeDetail, ServiceError> {
        self.volume_detail(Some(account), id).await
    }

    async fn modify(
        &self,
        account: &AccountId,
        id: &VolumeId,
        change: &Change,
    ) -> Result<ModificationDetail, ServiceError> {
        self.modify(account, id, change).await
    }

    async fn cancel_modification(
        &self,
        account: &AccountId,
        id: &VolumeId,
    ) -> Result<ModificationDetail, ServiceError> {
        self.cancel_modification(account, id).await
    }

    async fn modifications(
        &self,
        account: &AccountId,
        id: Option<&VolumeId>,
    ) -> Result<Vec<ModificationDetail>, ServiceError> {
        self.modifications(account, id).await
    }

    async fn workflows(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowDetail>, ServiceError> {
        self.workflow_list(after, limit).await
    }

    async fn workflow(&self, id: &str) -> Result<Option<WorkflowDetail>, ServiceError> {
        self.workflow(id).await
    }

    async fn order_workflow(&self, id: &str, order: WorkflowOrder) -> Result<WorkflowDetail, ServiceError> {
        self.order_workflow(id, order).await
    }

    async fn servers(&self) -> Result<Vec<ServerDetail>, ServiceError> {
        self.servers().await
    }

    async fn drain(&self, server: &str) -> Result<ServerDetail, ServiceError> {
        self.drain(server).await
    }

    async fn undrain(&self, server: &str) -> Result<ServerDetail, ServiceError> {
        self.undrain(server).await
    }

    async fn declare_lost(&self, id: &VolumeId, principal: &str) -> Result<VolumeDetail, ServiceError> {
        self.declare_lost(id, principal).await
    }

    async fn rebuild(&self) -> Result<RebuildReport, ServiceError> {
        self.rebuild().await
    }
}
