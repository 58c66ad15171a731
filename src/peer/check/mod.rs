//! `hairpin check`: diagnoses any STUN or TURN server.

pub(crate) mod diagnosis;
pub mod report;
pub mod run;
pub(crate) mod talk;
