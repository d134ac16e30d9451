//! The node manager: offers attached volumes as NBD exports and block devices.
