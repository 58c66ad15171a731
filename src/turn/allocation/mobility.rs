//! What a mobile allocation has in addition. RFC 8016.

use crate::turn::ids::five_tuple::Client;
use crate::wire::TransactionId;

/// The mobility state of an allocation.
#[derive(Clone, Debug, Default)]
pub struct Mobility {
    /// The number of tickets that were issued before the valid one.
    pub generation: u32,
    /// The client on the five-tuple that it is moving to.
    pub arriving: Option<Client>,
    /// The transaction of the last Refresh that moved the allocation. A retransmission gets the
    /// same response.
    pub moved_by: Option<TransactionId>,
    /// The client's connection is closed; the allocation waits for the client to return with its
    /// ticket.
    pub detached: bool,
}
