//! Child processes that do not outlive us, and what can befall them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program with everything that it prints in a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints is added to the end of `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, which nothing can notice; waits until it is gone.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops the whole process where it is. When this returns, none of its threads runs, until [`Self::thaw`].
    ///
    /// # Errors
    /// It cannot be signalled, or does not stop.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        // On a busy machine some threads go on until another one has taken the signal.
        let tasks = format!("/proc/{}/task", self.pid());
        crate::wait_until("all threads have stopped", crate::PATIENCE, || {
            for task in std::fs::read_dir(&tasks)? {
                let stat = std::fs::read_to_string(task?.path().join("stat"))?;
                // The state follows the name, which is in parentheses and may contain any.
                if !stat.rsplit(") ").next().unwrap_or_default().starts_with('T') {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .map(drop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It cannot be signalled, or does not end in time (it is killed then).
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.stop_by(Signal::SIGTERM, within)
    }

    /// A signal, and waits for the end.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_by(&mut self, signal: Signal, within: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > within {
                self.kill()?;
                bail!("{signal} did not end it within {within:?}:\n{}", self.log_end());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn log_end(&self) -> String {
        end_of(&std::fs::read(&self.log).unwrap_or_default())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {pid}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.kill());
    }
}

/// The last lines of what a program printed.
fn end_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Runs to the end; returns what it printed.
///
/// # Errors
/// It cannot be started or does not succeed; the error has the end of everything that was printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let ran = output(command)?;
    ensure!(
        ran.status.success(),
        "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
        ran.status,
        end_of(&ran.stdout),
        end_of(&ran.stderr)
    );
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Runs to the end, whatever becomes of it.
///
/// # Errors
/// It cannot be started.
pub fn output(command: &mut Command) -> Result<std::process::Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_process_does_nothing_until_it_is_thawed() {
        let dir = tempfile::TempDir::new().unwrap();
        let (log, mark) = (dir.path().join("log"), dir.path().join("mark"));
        let script = format!("while :; do echo x >> {}; sleep 0.01; done", mark.display());
        let mut process = Process::start(Command::new("sh").args(["-c", &script]), &log).unwrap();
        let length = || std::fs::metadata(&mark).map_or(0, |file| file.len());
        let grows = || {
            let before = length();
            thread::sleep(Duration::from_millis(200));
            length() > before
        };
        while length() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        process.freeze().unwrap();
        // What its child was doing ends.
        thread::sleep(Duration::from_millis(100));
        assert!(!grows());
        process.thaw().unwrap();
        assert!(grows());
        process.kill().unwrap();
        assert!(process.ended().unwrap().is_some());
    }

    #[test]
    fn the_end_is_waited_for_and_told() {
        let dir = tempfile::TempDir::new().unwrap();
        let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done";
        let log = dir.path().join("log");
        let mut process = Process::start(Command::new("sh").args(["-c", script]), &log).unwrap();
        while !process.log_end().contains("up") {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(process.stop(Duration::from_secs(30)).unwrap().code(), Some(3));
        assert_eq!(process.log_end(), "up\nbye");
        assert!(succeed(Command::new("sh").args(["-c", "echo words >&2; exit 1"])).is_err());
    }
}
