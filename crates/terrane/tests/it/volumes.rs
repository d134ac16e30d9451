//! Volumes of `terrane up` from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use terrane_nbd::Export as _;
use terrane_nbd::client::{Client, ClientOptions, Target};

use crate::process::Server;

const BLOCK: usize = 4096;

/// Does something with the export of a URL.
fn with_export<T>(url: &str, work: impl AsyncFnOnce(Arc<Client>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let target = Target::parse(url, None).unwrap();
        let client = Client::connect(target, ClientOptions::default()).await.unwrap();
        work(Arc::new(client)).await
    })
}

async fn read(client: &Client, offset: u64) -> Bytes {
    client.read(offset, BLOCK as u32).await.unwrap()
}

fn attach(server: &Server, id: &str) -> String {
    let attached = server.json(&["volume", "attach", id]);
    assert_eq!(attached["attachments"][0]["state"], "attached", "{attached:#}");
    attached["attachments"][0]["nbd_url"].as_str().unwrap().to_owned()
}

#[test]
fn what_up_runs() {
    let server = Server::up(&[]);
    let servers = server.json(&["server", "list"]);
    let zones: Vec<_> = servers.as_array().unwrap().iter().map(|one| one["zone"].as_str().unwrap()).collect();
    assert_eq!(zones.iter().filter(|zone| **zone == "us-east-1a").count(), 2, "{zones:?}");
    assert_eq!(zones.iter().filter(|zone| **zone == "us-east-1b").count(), 2, "{zones:?}");
    for one in servers.as_array().unwrap() {
        assert_eq!(one["state"], "up");
        let pools = one["pools"].as_array().unwrap();
        let media: Vec<_> = pools.iter().map(|pool| pool["media"].as_str().unwrap()).collect();
        assert!(media.contains(&"ssd") && media.contains(&"hdd"), "{one:#}");
        for pool in pools {
            assert_eq!((&pool["iops"], &pool["throughput"]), (&json!(100_000), &json!(2000u64 << 20)));
            assert!(pool["capacity"].as_u64().unwrap() > 1 << 30, "{pool:#}");
        }
    }
    let instances = server.json(&["instance", "list"]);
    assert_eq!((instances.as_array().unwrap().len(), &instances[0]["state"]), (1, &json!("running")));
    for secret in ["cluster.key", "nbd.sock"] {
        let mode = fs::metadata(server.run_file(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

#[test]
fn a_volume_outlives_its_server() {
    let mut server = Server::up(&[]);
    let made = server.json(&["volume", "create", "--size", "1", "--tag", "Name=db"]);
    assert_eq!(
        (&made["state"], &made["size_gib"], &made["health"]),
        (&json!("available"), &json!(1), &json!("ok"))
    );
    let id = made["id"].as_str().unwrap();
    let of_copies = |name: &str| -> Vec<Value> {
        made["copies"].as_array().unwrap().iter().map(|copy| copy[name].clone()).collect()
    };
    let mut roles = of_copies("role");
    roles.sort_by_key(ToString::to_string);
    assert_eq!(roles, ["mirror", "primary"]);
    assert_eq!((of_copies("state"), of_copies("media")), (vec![json!("in_sync"); 2], vec![json!("ssd"); 2]));
    assert_ne!(of_copies("server")[0], of_copies("server")[1]);
    assert!(made["min_safe_size_gib"].is_u64() && made["generation"].is_u64());

    let url = attach(&server, id);
    assert!(url.starts_with("nbd+unix:///"), "{url}");
    with_export(&url, async |client| {
        assert_eq!(client.info().size, 1 << 30);
        client.write(8 * BLOCK as u64, Bytes::from(vec![7; BLOCK]), true).await.unwrap();
        assert_eq!(read(&client, 8 * BLOCK as u64).await, vec![7; BLOCK]);
    });
    let secret = url.split(['/', '?']).nth(3).unwrap().to_owned();
    assert!(!server.log().contains(&secret), "a secret in the log");

    server.kill();
    server.start();
    let again = server.json(&["volume", "show", id]);
    assert_eq!(again["attachments"][0]["nbd_url"], json!(url), "the address stays: {again:#}");
    with_export(&url, async |client| {
        assert_eq!(read(&client, 8 * BLOCK as u64).await, vec![7; BLOCK]);
        assert_eq!(read(&client, 0).await, vec![0; BLOCK]);
    });

    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success(), "{}", server.log());
    assert!(began.elapsed().as_secs() < 10);
    server.start();
    let left = server.json(&["volume", "detach", id]);
    assert_eq!((&left["state"], &left["attachments"]), (&json!("available"), &json!([])));
    assert!(server.run(&["volume", "delete", id]).status.success());
    let (code, said) = server.fails(&["volume", "show", id]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(server.json(&["volume", "list"]), json!([]));
}

#[test]
fn settings_and_servers() {
    let server = Server::up(&[]);
    let made = server.json(&["volume", "create", "--size", "1"]);
    let id = made["id"].as_str().unwrap();
    let changed = server.json(&["volume", "modify", id, "--iops", "4000", "--throughput", "250"]);
    // The command waits until the change is complete.
    assert_eq!((&changed["state"], &changed["target"]["iops"]), (&json!("completed"), &json!(4000)));
    assert_eq!(server.json(&["volume", "show", id])["iops"], 4000);
    let (code, said) = server.fails(&["volume", "modify", id]);
    assert_eq!(code, 1, "{said}");
    let (code, said) = server.fails(&["server", "drain", "nobody"]);
    assert_eq!(code, 3, "{said}");

    let holder = made["copies"][0]["server"].as_str().unwrap();
    server.json(&["server", "drain", holder]);
    crate::process::wait_until("the server is empty", || {
        server.json(&["server", "show", holder])["state"] == "drained"
    });
    let moved = server.json(&["volume", "show", id]);
    let holders: Vec<_> = moved["copies"].as_array().unwrap().iter().map(|copy| &copy["server"]).collect();
    assert!(holders.len() == 2 && !holders.contains(&&json!(holder)), "{moved:#}");
    assert_eq!(server.json(&["server", "undrain", holder])["state"], "up");
    let rebuilt = server.json(&["store", "rebuild-volumes"]);
    assert_eq!(
        (&rebuilt["servers"], &rebuilt["known"], &rebuilt["volumes"]),
        (&json!(4), &json!(1), &json!([]))
    );
}

#[test]
fn without_volumes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[volumes]\nenabled = false\n").unwrap();
    let server = Server::up(&["--config", file.path().to_str().unwrap()]);
    assert!(!server.data().join("servers").exists());
    let (_, said) = server.fails(&["volume", "list"]);
    assert!(said.contains("not offered"), "{said}");
}
