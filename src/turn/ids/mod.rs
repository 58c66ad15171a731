//! Small values that everything else is made of: five-tuples, relayed addresses, time, randomness, traffic.

pub(crate) mod five_tuple;
pub(crate) mod random;
pub(crate) mod realm;
pub(crate) mod relayed;
pub(crate) mod time;
pub(crate) mod traffic;
