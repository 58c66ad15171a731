//! The test peer.
