//! What is stored: pinned bytes, and decoders that bear anything.

mod formats;
