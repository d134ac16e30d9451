//! The front door and the native REST API.
