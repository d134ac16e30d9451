//! boto3 and awscli, as `cargo xtask test` installs them. What is missing makes a test fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use terrane_ec2::model::Pace;

use crate::server::{KEYS, World, listen, serve};

/// A server in a thread of its own, for as long as this lives.
struct Server {
    endpoint: String,
    instances: Vec<String>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    fn start(pace: Pace) -> Self {
        let world = World::new(pace);
        let instances = world.instances.iter().map(ToString::to_string).collect();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, receiver) = mpsc::channel();
        runtime.spawn(async move {
            let (listener, address) = listen().await;
            sender.send(address).unwrap();
            serve(listener, world.ec2).await;
        });
        let endpoint = format!("http://{}", receiver.recv().unwrap());
        Self { endpoint, instances, runtime: Some(runtime) }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(tool(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", KEYS[0].0)
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "")
            .env("OTHER_ACCESS_KEY_ID", KEYS[1].0)
            .env("INSTANCES", self.instances.join(" "))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a script under `python/` to its end.
    fn script(&self, name: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(name);
        succeed(self.command("python3").arg(file));
    }

    fn aws(&self, args: &[&str]) -> Output {
        self.command("aws").args(args).output().unwrap()
    }

    fn aws_says(&self, args: &[&str]) -> String {
        succeed(self.command("aws").args(args)).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn tool(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/terrane-ec2");
    let venv =
        std::env::var_os("TERRANE_TEST_VENV").map_or_else(|| workspace.join("target/venv"), PathBuf::from);
    let program = venv.join("bin").join(name);
    assert!(program.exists(), "{} is missing: run the tests by `cargo xtask test`", program.display());
    program
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Scripts that share nothing run side by side: most of their time is Python starting.
#[test]
fn boto3() {
    let scripts = [
        ("attributes.py", Pace::AtOnce),
        ("errors.py", Pace::AtOnce),
        ("lifecycle.py", Pace::OnceSeen),
        ("listing.py", Pace::AtOnce),
        ("modify.py", Pace::OnceSeen),
        ("tags.py", Pace::AtOnce),
    ];
    let run = |(name, pace): (&'static str, Pace)| thread::spawn(move || Server::start(pace).script(name));
    let threads: Vec<_> = scripts.into_iter().map(run).collect();
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn awscli() {
    let server = Server::start(Pace::AtOnce);
    let ec2 = |args: &[&str]| server.aws_says(&[&["ec2"], args].concat());
    let tag = "ResourceType=volume,Tags=[{Key=Name,Value=db}]";
    let create =
        ["create-volume", "--availability-zone", "us-east-1b", "--size", "8", "--volume-type", "gp3"];
    let text = ["--query", "VolumeId", "--output", "text"];
    let id = ec2(&[&create[..], &["--tag-specifications", tag], &text[..]].concat());
    assert!(id.starts_with("vol-"), "{id}");
    ec2(&["wait", "volume-available", "--volume-ids", &id]);
    let instance = server.instances[0].as_str();
    ec2(&["attach-volume", "--volume-id", &id, "--instance-id", instance, "--device", "/dev/sdf"]);
    ec2(&["wait", "volume-in-use", "--volume-ids", &id]);
    let filter = ["--filters", "Name=tag:Name,Values=d*", "Name=status,Values=in-use"];
    let query = "Volumes[].[VolumeId,Size,Iops,Throughput,AvailabilityZone,Attachments[0].InstanceId]";
    let shown = ec2(&[&["describe-volumes"], &filter[..], &["--query", query, "--output", "text"]].concat());
    assert_eq!(shown, format!("{id}\t8\t3000\t125\tus-east-1b\t{instance}"));
    ec2(&["modify-volume", "--volume-id", &id, "--size", "16", "--iops", "4000"]);
    let query = "VolumesModifications[].[ModificationState,OriginalSize,TargetSize,TargetIops]";
    let shown =
        ec2(&["describe-volumes-modifications", "--volume-ids", &id, "--query", query, "--output", "text"]);
    assert_eq!(shown, "completed\t8\t16\t4000");
    ec2(&["detach-volume", "--volume-id", &id]);
    ec2(&["delete-volume", "--volume-id", &id]);
    ec2(&["wait", "volume-deleted", "--volume-ids", &id]);

    let refused = server.aws(&["ec2", "describe-volumes", "--volume-ids", &id]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("(InvalidVolume.NotFound)"), "{said}");
    let refused = server.aws(&["ec2", "run-instances", "--image-id", "ami-1", "--count", "1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("(UnsupportedOperation)"), "{said}");
}
