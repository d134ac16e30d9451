//! The built binary: `terrane up`, its files and signals, and the command line as a client.

mod cli;
mod process;
mod server;
mod store;
