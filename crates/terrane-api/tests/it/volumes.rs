//! The native calls for volumes, servers and instances, over the model.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use terrane_api::VolumeAdmin;
use terrane_auth::{Identity, ManagedPolicy, UserName};
use terrane_ec2::model::Model;
use terrane_ec2::service::{
    Caller, Select, ServiceError, Settings, VolumeModification, VolumeService as _, VolumeState,
};
use terrane_types::{AccountId, VolumeId};
use terrane_volumes::admin::{
    AttachmentDetail, Change, CopyDetail, ModificationDetail, NbdUrl, RebuildReport, ServerDetail,
    TraitsDetail, VolumeDetail, WorkflowDetail, WorkflowOrder,
};

use crate::fixture::{Answer, Fixture, signer};

const SECRET: &str = "nbd+unix:///0123456789abcdef0123456789abcdef?socket=/run/nbd.sock";

/// What a manager would say of the model's volumes, each of which has two copies at one server.
pub(crate) struct Admin(pub(crate) Arc<Model>);

fn server(state: &str) -> ServerDetail {
    ServerDetail {
        id: "00000000000000000000000000000001".into(),
        name: "one".into(),
        zone: "us-east-1a".into(),
        address: "127.0.0.1:1".into(),
        state: state.into(),
        copies: 2,
        primaries: 1,
        pools: Vec::new(),
    }
}

fn copy(number: u64, role: &str) -> CopyDetail {
    CopyDetail {
        stripe: 0,
        copy: number,
        server: "one".into(),
        server_id: server("up").id,
        zone: "us-east-1a".into(),
        media: "ssd".into(),
        role: role.into(),
        state: "in_sync".into(),
        resync: None,
        trouble: None,
    }
}

/// What a manager would say of the model's modification of a volume.
fn modification(modified: VolumeModification, change: &Change) -> ModificationDetail {
    let traits = |settings: Settings, mirrors| TraitsDetail {
        size_gib: settings.size_gib,
        kind: settings.kind.to_string(),
        iops: settings.iops,
        throughput: settings.throughput,
        multi_attach: settings.multi_attach,
        zone: change.zone.as_ref().map_or("us-east-1a".to_owned(), ToString::to_string),
        mirrors,
    };
    ModificationDetail {
        volume_id: modified.volume.to_string(),
        number: 1,
        state: format!("{:?}", modified.state).to_lowercase(),
        progress: modified.progress,
        eta_seconds: None,
        message: modified.message,
        original: traits(modified.original, 1),
        target: traits(modified.target, change.mirrors.unwrap_or(1)),
        started: modified.started.to_string(),
        ended: modified.ended.map(|ended| ended.to_string()),
        workflow: None,
    }
}

fn workflow(status: &str) -> WorkflowDetail {
    WorkflowDetail {
        id: "one".into(),
        template: "volume-modify".into(),
        version: 1,
        subject: "vol-1".into(),
        status: status.into(),
        progress: 50,
        cause: None,
        past_return: false,
        created: "1970-01-01T00:00:00Z".into(),
        params: Default::default(),
        steps: Vec::new(),
    }
}

#[async_trait]
impl VolumeAdmin for Admin {
    async fn modify(
        &self,
        account: &AccountId,
        id: &VolumeId,
        change: &Change,
    ) -> Result<ModificationDetail, ServiceError> {
        let caller = Caller { account: account.clone(), principal: String::new(), request_id: String::new() };
        let modified = self.0.modify_volume(&caller, id, change.settings).await?;
        Ok(modification(modified, change))
    }

    async fn cancel_modification(
        &self,
        _: &AccountId,
        id: &VolumeId,
    ) -> Result<ModificationDetail, ServiceError> {
        let what = format!("volume {id}");
        Err(ServiceError::IncorrectState { what, state: "not being modified".into(), expected: "modified" })
    }

    async fn modifications(
        &self,
        account: &AccountId,
        id: Option<&VolumeId>,
    ) -> Result<Vec<ModificationDetail>, ServiceError> {
        let caller = Caller { account: account.clone(), principal: String::new(), request_id: String::new() };
        let select = match id {
            Some(id) => Select::Ids(std::slice::from_ref(id)),
            None => Select::Page { after: None, limit: 100 },
        };
        let volumes = self.0.volumes(&caller, select).await?;
        let modified = volumes.into_iter().filter_map(|volume| volume.modification);
        Ok(modified.map(|modified| modification(modified, &Change::default())).collect())
    }

    async fn workflows(&self, after: Option<&str>, _: usize) -> Result<Vec<WorkflowDetail>, ServiceError> {
        Ok(if after.is_none() { vec![workflow("running")] } else { Vec::new() })
    }

    async fn workflow(&self, id: &str) -> Result<Option<WorkflowDetail>, ServiceError> {
        Ok((id == "one").then(|| workflow("running")))
    }

    async fn order_workflow(&self, _: &str, order: WorkflowOrder) -> Result<WorkflowDetail, ServiceError> {
        Ok(workflow(match order {
            WorkflowOrder::Pause => "paused",
            WorkflowOrder::Resume => "running",
            WorkflowOrder::Cancel => "undoing",
        }))
    }

    async fn volume_detail(&self, account: &AccountId, id: &VolumeId) -> Result<VolumeDetail, ServiceError> {
        let caller = Caller { account: account.clone(), principal: String::new(), request_id: String::new() };
        let ids = [id.clone()];
        let volume = self.0.volumes(&caller, Select::Ids(&ids)).await?.remove(0);
        let attached = volume.attachments.into_iter().map(|attachment| AttachmentDetail {
            instance_id: attachment.instance.into(),
            nbd_url: Some(NbdUrl(SECRET.into())),
            device: attachment.device,
            state: "attached".into(),
            attached: attachment.attached.to_string(),
            trouble: None,
        });
        Ok(VolumeDetail {
            id: volume.id.into(),
            account: account.to_string(),
            state: if volume.state == VolumeState::InUse { "in-use" } else { "available" }.into(),
            health: "ok".into(),
            zone: volume.zone.into(),
            kind: volume.settings.kind.to_string(),
            size_gib: volume.settings.size_gib,
            min_safe_size_gib: volume.settings.size_gib,
            iops: volume.settings.iops,
            throughput: volume.settings.throughput,
            created: volume.created.to_string(),
            generation: 3,
            stripes: 1,
            copies: vec![copy(0, "primary"), copy(1, "mirror")],
            attachments: attached.collect(),
            tags: volume.tags,
            notes: Vec::new(),
        })
    }

    async fn servers(&self) -> Result<Vec<ServerDetail>, ServiceError> {
        Ok(vec![server("up")])
    }

    async fn drain(&self, id: &str) -> Result<ServerDetail, ServiceError> {
        assert_eq!(id, server("up").id);
        Ok(server("draining"))
    }

    async fn undrain(&self, _: &str) -> Result<ServerDetail, ServiceError> {
        Ok(server("up"))
    }

    async fn declare_lost(&self, id: &VolumeId, _: &str) -> Result<VolumeDetail, ServiceError> {
        self.volume_detail(&AccountId::root(), id).await
    }

    async fn rebuild(&self) -> Result<RebuildReport, ServiceError> {
        Ok(RebuildReport { servers: 1, ..RebuildReport::default() })
    }
}

const VOLUMES: &str = "/_terrane/v1/volumes";

async fn post(door: &Fixture, path: &str, body: Value) -> Answer {
    door.native(Method::POST, path, Some(body)).await
}

#[tokio::test]
async fn a_volumes_life() {
    let door = Fixture::new().await;
    let instance = door.volumes.register(AccountId::root(), Default::default()).to_string();
    let made = post(&door, VOLUMES, json!({ "size_gib": 8, "tags": { "Name": "db" } })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["type"], &made["zone"], &made["iops"]),
        (&json!("gp3"), &json!("us-east-1a"), &json!(3000))
    );
    let path = format!("{VOLUMES}/{id}");

    let attached = post(&door, &format!("{path}/attach"), json!({})).await;
    assert_eq!(attached.status, 202, "{attached:?}");
    let shown = door.native(Method::GET, &path, None).await.json();
    let expected = json!([{ "instance_id": instance, "nbd_url": SECRET, "device": "/dev/sdf", "state": "attached",
        "attached": shown["attachments"][0]["attached"] }]);
    assert_eq!(shown["attachments"], expected);
    let copies: Vec<_> = shown["copies"].as_array().unwrap().iter().map(|copy| &copy["role"]).collect();
    assert_eq!(copies, ["primary", "mirror"]);
    assert_eq!((&shown["state"], &shown["generation"]), (&json!("in-use"), &json!(3)));
    assert!(shown["min_safe_size_gib"].is_u64());

    let listed = door.native(Method::GET, &format!("{VOLUMES}?limit=1"), None).await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["instance_ids"]), (&json!(id), &json!([instance])));
    let rest = door.native(Method::GET, &format!("{VOLUMES}?after={id}"), None).await.json();
    assert_eq!(rest, json!([]));
    let instances = door.native(Method::GET, "/_terrane/v1/instances", None).await.json();
    assert_eq!((&instances[0]["id"], &instances[0]["volumes"]["/dev/sdf"]), (&json!(instance), &json!(id)));

    let changed = door.native(Method::PATCH, &path, Some(json!({ "iops": 4000 }))).await.json();
    // As EC2 has it: a change is on its way when it is answered.
    assert_eq!((&changed["state"], &changed["target"]["iops"]), (&json!("modifying"), &json!(4000)));
    let busy = door.native(Method::DELETE, &path, None).await;
    assert_eq!((busy.status, busy.problem()), (409, "volume-in-use".into()));
    let detached = post(&door, &format!("{path}/detach"), json!({ "force": true })).await;
    assert_eq!(detached.status, 202, "{detached:?}");
    assert_eq!(door.native(Method::DELETE, &path, None).await.status, 204);
    let gone = door.native(Method::GET, &path, None).await;
    assert_eq!((gone.status, gone.problem()), (404, "not-found".into()));
    let text = serde_json::to_string(&door.audit_lines()).unwrap();
    assert!(text.contains("ec2:AttachVolume") && !text.contains("nbd+unix"), "{text}");
}

#[tokio::test]
async fn wishes_that_make_no_sense() {
    let door = Fixture::new().await;
    for (wish, status, code) in [
        (json!({ "size_gib": 0 }), 400, "bad-request"),
        (json!({ "size_gib": 1, "type": "gp9" }), 400, "bad-request"),
        (json!({ "size_gib": 1, "type": "gp2", "iops": 100 }), 400, "bad-request"),
        (json!({ "size_gib": 1, "zone": "nowhere" }), 404, "not-found"),
        (json!({ "size_gib": 1, "client_token": "é" }), 400, "bad-request"),
        (json!({ "size_gib": 1, "tags": { "aws:x": "y" } }), 400, "bad-request"),
        (json!({ "size_gib": 1, "encrypted": true }), 422, "unprocessable-content"),
    ] {
        let answer = post(&door, VOLUMES, wish.clone()).await;
        let found = answer.problem();
        assert!(
            (answer.status, &*found) == (status, code) || (status == 422 && answer.status == 422),
            "{wish}: {answer:?}"
        );
    }
    let made = post(&door, VOLUMES, json!({ "size_gib": 1 })).await.json();
    let path = format!("{VOLUMES}/{}", made["id"].as_str().unwrap());
    let nobody = post(&door, &format!("{path}/attach"), json!({})).await;
    assert_eq!((nobody.status, nobody.problem()), (404, "not-found".into()));
    let nothing = door.native(Method::PATCH, &path, Some(json!({}))).await;
    assert_eq!(nothing.status, 400);
    let patch = async |wish: Value| door.native(Method::PATCH, &path, Some(wish)).await;
    for (wish, status, code) in [
        (json!({ "mirrors": 4 }), 400, "bad-request"),
        (json!({ "zone": "no zone" }), 400, "bad-request"),
        (json!({ "allow_truncate": true }), 400, "bad-request"),
        (json!({ "stripes": 2 }), 501, "not-implemented"),
    ] {
        let answer = patch(wish.clone()).await;
        assert_eq!((answer.status, &*answer.problem()), (status, code), "{wish}");
    }
    let unnamed = door.native(Method::GET, &format!("{VOLUMES}/vol-nonsense"), None).await;
    assert_eq!(unnamed.status, 400);
}

#[tokio::test]
async fn others_see_neither_volumes_nor_their_addresses() {
    let door = Fixture::new().await;
    door.volumes.register(AccountId::root(), Default::default());
    let made = post(&door, VOLUMES, json!({ "size_gib": 1 })).await.json();
    let path = format!("{VOLUMES}/{}", made["id"].as_str().unwrap());
    post(&door, &format!("{path}/attach"), json!({})).await;

    let lab = door.auth.create_account("lab").await.unwrap().id;
    let key = door.auth.create_access_key(&Identity::root(lab), None).await.unwrap();
    let foreign = signer(&key, "terrane");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/detach")),
    ] {
        let body: &[u8] = if method == Method::POST { b"{}" } else { b"" };
        let answer = door.signed(&foreign, method, &path, body).await;
        assert_eq!((answer.status, answer.problem()), (404, "not-found".into()));
    }
    for path in ["/_terrane/v1/servers", "/_terrane/v1/servers/one"] {
        assert_eq!(door.signed(&foreign, Method::GET, path, b"").await.status, 403, "{path}");
    }

    let account = AccountId::root();
    let name = UserName::parse("alice").unwrap();
    door.auth.create_user(&account, &name).await.unwrap();
    door.auth.attach_managed_policy(&account, &name, ManagedPolicy::ReadOnly).await.unwrap();
    let key = door.auth.create_access_key(&Identity::user(account, name), None).await.unwrap();
    let reader = door.signed(&signer(&key, "terrane"), Method::GET, &path, b"").await;
    assert_eq!((reader.status, &reader.json()["attachments"][0]["nbd_url"]), (200, &Value::Null));
    assert!(!reader.text.contains("nbd+unix"), "who may only look gets no address to write to");
}

#[tokio::test]
async fn changes_are_told_and_given_up() {
    let door = Fixture::new().await;
    let made = post(&door, VOLUMES, json!({ "size_gib": 1 })).await.json();
    let path = format!("{VOLUMES}/{}", made["id"].as_str().unwrap());
    let wish = json!({ "size_gib": 2, "zone": "us-east-1b", "mirrors": 2 });
    let asked = door.native(Method::PATCH, &path, Some(wish)).await.json();
    assert_eq!((&asked["target"]["mirrors"], &asked["target"]["zone"]), (&json!(2), &json!("us-east-1b")));
    for list in [format!("{path}/modifications"), "/_terrane/v1/modifications".to_owned()] {
        let listed = door.native(Method::GET, &list, None).await.json();
        assert_eq!(listed[0]["target"]["size_gib"], 2, "{list}");
    }
    let late = post(&door, &format!("{path}/modifications/cancel"), json!({})).await;
    assert_eq!((late.status, late.problem()), (409, "incorrect-state".into()));
}

#[tokio::test]
async fn workflows_are_the_operators() {
    let door = Fixture::new().await;
    const PATH: &str = "/_terrane/v1/workflows";
    let listed = door.native(Method::GET, PATH, None).await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["progress"]), (&json!("one"), &json!(50)));
    assert_eq!(door.native(Method::GET, &format!("{PATH}?after=one"), None).await.json(), json!([]));
    for (order, status) in [("pause", "paused"), ("resume", "running"), ("cancel", "undoing")] {
        assert_eq!(post(&door, &format!("{PATH}/one/{order}"), json!({})).await.json()["status"], status);
    }
    let unknown = post(&door, &format!("{PATH}/two/cancel"), json!({})).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found".into()));
}

#[tokio::test]
async fn servers_are_the_operators() {
    let door = Fixture::new().await;
    let listed = door.native(Method::GET, "/_terrane/v1/servers", None).await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("one"), &json!("up")));
    let drained = post(&door, "/_terrane/v1/servers/one/drain", json!({})).await.json();
    assert_eq!(drained["state"], "draining");
    assert_eq!(post(&door, "/_terrane/v1/servers/one/undrain", json!({})).await.json()["state"], "up");
    let unknown = post(&door, "/_terrane/v1/servers/two/drain", json!({})).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found".into()));
    let rebuilt = post(&door, "/_terrane/v1/store/rebuild-volumes", json!({})).await.json();
    assert_eq!(rebuilt["servers"], 1);
}
