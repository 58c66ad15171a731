//! Small values that the rest of the protocol is made of: five-tuples, relayed addresses,
//! connection numbers, time, randomness, traffic.

pub(crate) mod connection_id;
pub(crate) mod five_tuple;
pub(crate) mod random;
pub(crate) mod realm;
pub(crate) mod relayed;
pub(crate) mod return_path;
pub(crate) mod time;
pub(crate) mod traffic;
