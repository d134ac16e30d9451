//! One look at each step: a transaction that does what can be done now, and says whether more is to be waited for.
//!
//! All are idempotent, in both directions: what they do is written where the next look finds it. A modification or a
//! volume that is not there any more is done with.

mod back;
mod forward;

pub(crate) use forward::{aim, with_change};

use terrane_store::{Store, StoreError, Tx};
use terrane_types::VolumeId;
use terrane_workflow::RunView;

use crate::db::{self, Changes};
use crate::jobs::Rules;
use crate::leader::Sight;
use crate::rows::{MODIFICATIONS, ModificationRow, StripeRow, VolumeRow, modification_key};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Waits until earlier modifications have ended.
    Turn,
    /// Decides which copies stay and where others come, and takes the room.
    Reserve,
    /// Waits until the new copies are in sync.
    Join,
    /// Makes all copies larger, or shows that they can be smaller.
    Resize,
    /// From here on what was asked for holds.
    Switch,
    /// Waits until the primary is where it shall be.
    HandOver,
    /// Waits until copies that are not wanted any more are out of the stripes.
    Retire,
    /// Waits until their room is free.
    Free,
}

/// Which modification, and on whose behalf.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) volume: VolumeId,
    pub(crate) number: u64,
    /// The workflow engine; older ones than the newest that was heard are refused.
    pub(crate) engine: u64,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Done,
    /// So much of so much is done (zeros: that is not known).
    Wait {
        done: u64,
        total: u64,
    },
}

/// Why a look has come to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It cannot be: the modification is taken back.
    Refused(String),
    /// Perhaps the next time.
    Failed(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl After {
    const WAIT: Self = Self::Wait { done: 0, total: 0 };
}

/// What a step works with: the rows as they are now.
struct Scene {
    tx: Tx,
    row: ModificationRow,
    volume: VolumeRow,
    stripes: Vec<StripeRow>,
    changed: Changes,
}

impl Scene {
    /// `None`: the volume or the modification is not there any more.
    async fn read(tx: Tx, target: &Target) -> Result<Option<Self>, Trouble> {
        let key = modification_key(&target.volume, target.number);
        let Some(mut row) = MODIFICATIONS.get(&tx, &key).await? else { return Ok(None) };
        let Some(volume) = db::volume_by_id(&tx, &target.volume).await? else { return Ok(None) };
        if target.engine < row.engine {
            return Err(Trouble::Failed("another workflow engine has taken over".to_owned()));
        }
        if target.engine > row.engine {
            row.engine = target.engine;
            MODIFICATIONS.put(&tx, &key, &row).await?;
        }
        let stripes = db::stripes_of(&tx, &volume).await?;
        Ok(Some(Self { tx, row, volume, stripes, changed: Changes::default() }))
    }

    async fn put_row(&self) -> Result<(), Trouble> {
        let key = modification_key(&self.row.volume, self.row.number);
        Ok(MODIFICATIONS.put(&self.tx, &key, &self.row).await?)
    }

    /// Writes a stripe's row anew, if it differs.
    async fn put_stripe(&mut self, before: &StripeRow, mut after: StripeRow) -> Result<(), Trouble> {
        if after != *before {
            after.version = before.version + 1;
            self.changed.put_stripe(&self.tx, Some(before), Some(after)).await?;
            // Whoever is in office reads a volume with its stripes.
            let key = crate::rows::volume_key(&self.volume.account, &self.volume.id);
            self.changed.volumes.entry(key).or_insert_with(|| Some(self.volume.clone()));
        }
        Ok(())
    }

    async fn put_volume(&mut self, volume: VolumeRow) -> Result<(), Trouble> {
        self.volume = volume.clone();
        Ok(self.changed.put_volume(&self.tx, volume).await?)
    }

    /// Tells the manager in office what has changed.
    async fn end(self, after: After) -> Result<After, Trouble> {
        self.changed.publish(&self.tx).await?;
        Ok(after)
    }
}

impl Stage {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Turn,
        Self::Reserve,
        Self::Join,
        Self::Resize,
        Self::Switch,
        Self::HandOver,
        Self::Retire,
        Self::Free,
    ];

    /// Its name in the template.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Reserve => "reserve",
            Self::Join => "join",
            Self::Resize => "resize",
            Self::Switch => "switch",
            Self::HandOver => "hand-over",
            Self::Retire => "retire",
            Self::Free => "free",
        }
    }

    /// One look.
    pub(crate) async fn carry_out(
        self,
        store: &Store,
        target: &Target,
        rules: Rules,
        sight: &Sight,
    ) -> Result<After, Trouble> {
        let look = |tx: Tx| async move {
            let Some(scene) = Scene::read(tx, target).await? else { return Ok(After::Done) };
            match self {
                Self::Turn => forward::turn(scene).await,
                Self::Reserve => forward::reserve(scene, rules).await,
                Self::Join => forward::join(scene, sight).await,
                Self::Resize => forward::resize(scene, sight).await,
                Self::Switch => forward::switch(scene).await,
                Self::HandOver => forward::hand_over(scene).await,
                Self::Retire => forward::retire(scene).await,
                Self::Free => forward::free(scene).await,
            }
        };
        store.transact(look).await
    }

    /// One look on the way back.
    pub(crate) async fn take_back(self, store: &Store, target: &Target) -> Result<After, Trouble> {
        let look = |tx: Tx| async move {
            let Some(scene) = Scene::read(tx, target).await? else { return Ok(After::Done) };
            match self {
                Self::Turn => {
                    let cause = cause(&scene.tx, target).await?;
                    back::turn(scene, cause).await
                }
                Self::Reserve => back::reserve(scene).await,
                Self::Resize => back::resize(scene).await,
                Self::Join | Self::Switch | Self::HandOver | Self::Retire | Self::Free => Ok(After::Done),
            }
        };
        store.transact(look).await
    }
}

/// Why the run goes back, as its log says.
async fn cause(tx: &Tx, target: &Target) -> Result<Option<String>, Trouble> {
    match super::run_of(&target.volume, target.number) {
        Ok(run) => Ok(RunView::read(tx, &run).await?.and_then(|run| run.cause)),
        Err(_) => Ok(None),
    }
}
