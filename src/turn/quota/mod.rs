//! What users, addresses and the whole server may have: the ledger, bandwidth meters, relayed ports, the answer rate.

pub(crate) mod answer_rate;
pub(crate) mod ledger;
pub(crate) mod meter;
pub(crate) mod ports;
