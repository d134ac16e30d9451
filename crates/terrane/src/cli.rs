//! The command line: one noun per service. It is a client of the API like any other.

mod account;
mod bucket;
mod client;
mod connect;
mod credentials;
mod device;
mod drive;
mod input;
mod instance;
mod key;
mod modify;
mod operation;
mod output;
mod policy;
mod progress;
mod queue;
mod router;
mod server;
mod snapshot;
mod status;
mod store;
mod token;
mod user;
mod volume;
mod workflow;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::client::CallError;
use self::connect::Connect;
pub(crate) use self::credentials::profile;
use self::output::Format;
pub(crate) use self::output::{Output, say};
use crate::server as process;

/// A storage cloud for your own machines.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such thing, 4 refused, 5 the server cannot be reached or
/// is overloaded.
#[derive(Debug, Parser)]
#[command(name = "terrane", version, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    connect: Connect,
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value_t, env = "TERRANE_OUTPUT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process on embedded storage.
    Up(process::UpArgs),
    /// Run some roles of an installation.
    Serve(Box<process::ServeArgs>),
    /// What runs and how it is.
    Status,
    /// Buckets, and how their writes are applied.
    #[command(subcommand)]
    Bucket(bucket::Verb),
    /// The keymap's queues: depth, age, rate, workers; pause, resume, drain.
    #[command(subcommand)]
    Queue(queue::Verb),
    /// The object store's drives: state, verification, replacement.
    #[command(subcommand)]
    Drive(drive::Verb),
    /// Volumes: replicated block devices.
    #[command(subcommand)]
    Volume(volume::Verb),
    /// Snapshots of volumes.
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// Block servers, which hold volumes' copies.
    #[command(subcommand)]
    Server(server::Verb),
    /// Workflows: long changes of several steps, which end completed or undone.
    #[command(subcommand)]
    Workflow(workflow::Verb),
    /// Instances, which volumes attach to.
    #[command(subcommand)]
    Instance(instance::Verb),
    /// How a write stands, and the stream of completions.
    #[command(subcommand)]
    Operation(operation::Verb),
    /// Accounts.
    #[command(subcommand)]
    Account(account::Verb),
    /// Users of an account.
    User(user::Args),
    /// Access keys of an account.
    Key(key::Args),
    /// Bearer tokens of an account.
    Token(token::Args),
    /// Policies of an account.
    Policy(policy::Args),
    /// Routers: what they know, in one vocabulary.
    #[command(subcommand)]
    Router(router::Verb),
    /// The transactional store: back up, restore, check; make volumes anew from their copies.
    #[command(subcommand)]
    Store(store::Verb),
    /// Make a new root key, offline: for who owns the data directory and lost the key.
    ResetRootKey,
    /// Print completions for a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start")),
    };
    let result = runtime.block_on(command(cli));
    // Blocking tasks that hang must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn command(cli: Cli) -> anyhow::Result<()> {
    let out = Output::new(cli.output);
    let connect = &cli.connect;
    match cli.command {
        Command::Up(args) => process::up(connect.data_dir_or_default(), args).await,
        Command::Serve(args) => process::serve(connect.data_dir_or_default(), *args).await,
        Command::Status => status::run(&connect.client()?, &out).await,
        Command::Bucket(verb) => bucket::run(&connect.client()?, &out, verb).await,
        Command::Queue(verb) => queue::run(&connect.client()?, &out, verb).await,
        Command::Drive(verb) => drive::run(&connect.client()?, &out, verb).await,
        Command::Volume(verb) => volume::run(connect, &out, verb).await,
        Command::Snapshot(verb) => snapshot::run(&connect.client()?, &out, verb).await,
        Command::Server(verb) => server::run(&connect.client()?, &out, verb).await,
        Command::Workflow(verb) => workflow::run(&connect.client()?, &out, verb).await,
        Command::Instance(verb) => instance::run(&connect.client()?, &out, verb).await,
        Command::Operation(verb) => operation::run(&connect.client()?, &out, verb).await,
        Command::Account(verb) => account::run(&connect.client()?, &out, verb).await,
        Command::User(args) => user::run(&connect.client()?, &out, args).await,
        Command::Key(args) => key::run(&connect.client()?, &out, args).await,
        Command::Token(args) => token::run(&connect.client()?, &out, args).await,
        Command::Policy(args) => policy::run(&connect.client()?, &out, args).await,
        Command::Router(verb) => router::run(verb),
        Command::Store(verb) => store::run(connect, &out, verb).await,
        Command::ResetRootKey => process::reset_root_key(&connect.data_dir_or_default(), &out).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "terrane", &mut script);
            say(String::from_utf8_lossy(&script))
        }
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("terrane: {error:#}");
    ExitCode::from(error.downcast_ref::<CallError>().map_or(1, CallError::exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
