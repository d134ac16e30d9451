//! What the crate promises, shown on a simulated drive.

mod drive;
mod limits;
mod shares;
