//! `hairpin check`: tests any STUN or TURN server step by step, and explains what fails.
//!
//! ```text
//!   run ──► exchange     requests over one connection, timed
//!    │ └──► relay        everything that an allocation must be able to do
//!    ├────► diagnosis    observations ──► findings: what is wrong, and what to do
//!    └────► report       servers, steps and findings as text and JSON
//! ```

pub(crate) mod diagnosis;
pub(crate) mod exchange;
pub(crate) mod relay;
pub mod report;
pub mod run;
