//! Metadata of a received packet.

use crate::net::{Datagram, HEADROOM};

/// Metadata of a packet in the batch, except its length.
#[derive(Clone, Copy)]
pub(crate) struct RecvMeta {
    /// Where the packet begins in the batch.
    pub(crate) start: usize,
    /// Octets in front of it that may be overwritten.
    pub(crate) headroom: usize,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// TTL or hop limit; 0 if unknown.
    pub(crate) hop_limit: u8,
}

impl RecvMeta {
    /// For packets that the server originates.
    pub(crate) const ORIGINATED: RecvMeta = RecvMeta {
        start: 0,
        headroom: 0,
        traffic_class: 0,
        hop_limit: 0,
    };

    pub(crate) fn of_datagram(datagram: &Datagram) -> RecvMeta {
        RecvMeta {
            start: datagram.start,
            headroom: datagram.headroom,
            traffic_class: datagram.traffic_class,
            hop_limit: datagram.hop_limit,
        }
    }

    /// For a message of a stream, whose neighbors in the batch must stay intact.
    pub(crate) fn in_stream(start: usize) -> RecvMeta {
        RecvMeta {
            start,
            ..RecvMeta::ORIGINATED
        }
    }

    /// For a packet that has a slot of the batch for itself.
    pub(crate) fn in_slot(start: usize) -> RecvMeta {
        RecvMeta {
            start,
            headroom: HEADROOM,
            ..RecvMeta::ORIGINATED
        }
    }
}
