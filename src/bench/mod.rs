//! A load generator for STUN and TURN servers, and its report.

pub mod dtls;
pub mod error;
pub mod exchange;
pub mod histogram;
pub mod link;
pub mod load;
pub mod payload;
pub mod plan;
pub mod pool;
pub mod process;
pub mod rate;
pub mod results;
pub mod search;
pub mod stop;
pub mod worker;
