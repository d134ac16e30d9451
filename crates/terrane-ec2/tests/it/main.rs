//! The front end over the model: by forms of our own, and by stock clients.

mod clients;
mod every_action;
mod server;
