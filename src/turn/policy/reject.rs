//! Failures: a [`Reject`] is an error response, a [`Discard`] is the counted reason for dropping a
//! packet.

use crate::turn::policy::Alternate;
use crate::wire::{AttributeType, ErrorCode};

/// The error response to a request. RFC 8489 §6.3.4, RFC 8656 §19.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// An error code.
    Code(ErrorCode),
    /// 420 with UNKNOWN-ATTRIBUTES.
    UnknownAttributes(Vec<AttributeType>),
    /// 401 or 438 with REALM, NONCE and PASSWORD-ALGORITHMS.
    Challenge(ErrorCode),
    /// 300 with ALTERNATE-SERVER.
    Alternate(Alternate),
    /// No response.
    Silence(Discard),
}

impl Reject {
    /// 400: the request is malformed or violates a rule.
    pub const BAD_REQUEST: Reject = Reject::Code(ErrorCode::BAD_REQUEST);
    /// 401: the credentials are missing or wrong.
    pub const UNAUTHENTICATED: Reject = Reject::Challenge(ErrorCode::UNAUTHENTICATED);
    /// 438: the nonce is not the server's or has expired.
    pub const STALE_NONCE: Reject = Reject::Challenge(ErrorCode::STALE_NONCE);
    /// 437: there is no allocation, or there is one already.
    pub const MISMATCH: Reject = Reject::Code(ErrorCode::ALLOCATION_MISMATCH);
    /// 508: a limit is reached.
    pub const CAPACITY: Reject = Reject::Code(ErrorCode::INSUFFICIENT_CAPACITY);

    /// The error code; `None` if there is no response.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Reject::Code(code) | Reject::Challenge(code) => Some(*code),
            Reject::UnknownAttributes(_) => Some(ErrorCode::UNKNOWN_ATTRIBUTE),
            Reject::Alternate(_) => Some(ErrorCode::TRY_ALTERNATE),
            Reject::Silence(_) => None,
        }
    }
}

impl From<Discard> for Reject {
    fn from(discard: Discard) -> Reject {
        Reject::Silence(discard)
    }
}

/// Declares each discard once: variant, name in metrics, description.
macro_rules! discards {
    ($(#[doc = $about:literal] $variant:ident = $name:literal;)*) => {
        /// Why a packet was dropped without a response.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Discard {
            $(#[doc = $about] $variant,)*
        }

        impl Discard {
            /// All reasons, in the order of [`Discard::index`].
            pub const ALL: &[Discard] = &[$(Discard::$variant),*];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Discard::$variant => $name,)* }
            }

            /// The description, one sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Discard::$variant => $about.trim_ascii(),)* }
            }

            /// The position in [`Discard::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

discards! {
    /// Neither a complete STUN message nor complete ChannelData.
    Malformed = "malformed";
    /// A response, or an indication that only servers send.
    NotForServers = "not_for_servers";
    /// A request of a method that this server does not support.
    UnknownMethod = "unknown_method";
    /// A wrong FINGERPRINT.
    Fingerprint = "fingerprint";
    /// An unauthenticated response over the rate limit of its source prefix.
    AnswerRate = "answer_rate";
    /// Data from a five-tuple that has no allocation.
    NoAllocation = "no_allocation";
    /// ChannelData with a channel number that is not bound, or no longer.
    NoChannel = "no_channel";
    /// A peer without a permission, or with an expired one.
    NoPermission = "no_permission";
    /// A Send indication without peer or data, or with unknown attributes.
    BadIndication = "bad_indication";
    /// A peer of a family for which the allocation has no relayed address.
    PeerFamily = "peer_family";
    /// A peer that the operator's rules refuse.
    PeerRefused = "peer_refused";
    /// A datagram for a relayed address whose allocation ended.
    NoRelayed = "no_relayed";
    /// Payload over the bandwidth limit or the octet quota.
    Bandwidth = "bandwidth";
    /// A new peer over the rate limit of new peers.
    PeerRate = "peer_rate";
    /// A payload that is too long for the message that would carry it.
    TooLong = "too_long";
    /// A retransmission of a request whose response is pending.
    InProgress = "in_progress";
    /// A DTLS record on a listener without DTLS.
    Dtls = "dtls";
}
