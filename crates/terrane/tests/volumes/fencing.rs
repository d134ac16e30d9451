//! A holder that stood still while its volume was taken from it by force.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use terrane_testbed::{Cluster, Installation, Member, Plan};

use crate::setup::{BINARY, attached, nbd_script, script};

/// A script that is told what to do line by line, and answers line by line.
pub(crate) struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    pub(crate) fn start(name: &str, url: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-B"]).arg(script(name)).arg(url);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    pub(crate) fn tell(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_a_frozen_holder_had_queued_neither_lands_nor_is_answered() {
    let mut cluster = Cluster::start(Plan::new(BINARY, 3, 2)).unwrap();
    let [old, new] = [Member::Node(0), Member::Node(1)];
    let (volume, url) = attached(&cluster, &cluster.instance(old).unwrap());
    let mut holder = Holder::start("holder.py", &url);
    // Writes are on their way all the time until it freezes; more are queued, and reads, when it has.
    assert_eq!(holder.tell("write 200"), "written");
    assert_eq!(holder.tell("stream"), "streaming");
    cluster.process(old).unwrap().freeze().unwrap();
    assert_eq!(holder.tell("queue 64"), "queued");

    cluster.detach(&volume, &["--force"]).unwrap();
    let url = cluster.attach(&volume, &cluster.instance(new).unwrap()).unwrap();
    assert_eq!(nbd_script("owner.py", &[&url, "write"]).trim(), "written");

    cluster.process(old).unwrap().thaw().unwrap();
    // It is told that its connection ended, or that requests failed; none of those after the freeze succeeded.
    assert_eq!(holder.tell("outcome"), "64 writes failed, 64 reads failed", "{}", cluster.logs());
    assert_eq!(nbd_script("owner.py", &[&url, "check"]).trim(), "as written");
    // Nor does it land later: not after the old node manager has stopped in peace.
    cluster.stop(old).unwrap();
    assert_eq!(nbd_script("owner.py", &[&url, "check"]).trim(), "as written");
    let now = cluster.volume(&volume).unwrap();
    assert_eq!(now.attachments.len(), 1, "{}", now.raw);
}
