//! How a message fails: a [`Reject`] is an error response, a [`Discard`] a counted silence.

use crate::turn::policy::Alternate;
use crate::wire::{AttributeType, ErrorCode};

/// Why a request is refused: it becomes the error response as it stands. RFC 8489 §6.3.4, RFC 8656 §19.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// An error code and nothing more.
    Code(ErrorCode),
    /// 420, with the attributes that were not understood.
    UnknownAttributes(Vec<AttributeType>),
    /// 401 or 438, with realm, nonce, and password algorithms.
    Challenge(ErrorCode),
    /// 300, with where to go.
    Alternate(Alternate),
    /// The request deserves no answer.
    Silence(Discard),
}

impl Reject {
    /// 400: malformed, or against the rules.
    pub const BAD_REQUEST: Reject = Reject::Code(ErrorCode::BAD_REQUEST);
    /// 401: no credentials, or wrong ones.
    pub const UNAUTHENTICATED: Reject = Reject::Challenge(ErrorCode::UNAUTHENTICATED);
    /// 438: the nonce is not ours or too old.
    pub const STALE_NONCE: Reject = Reject::Challenge(ErrorCode::STALE_NONCE);
    /// 437: there is no allocation, or already one.
    pub const MISMATCH: Reject = Reject::Code(ErrorCode::ALLOCATION_MISMATCH);
    /// 508: no room.
    pub const CAPACITY: Reject = Reject::Code(ErrorCode::INSUFFICIENT_CAPACITY);

    /// The response's code; `None` for a silence.
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

/// Declares the discards once: the variant, the name that metrics use, and what it means.
macro_rules! discards {
    ($(#[doc = $about:literal] $variant:ident = $name:literal;)*) => {
        /// Why a packet was dropped without an answer. Each is counted by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Discard {
            $(#[doc = $about] $variant,)*
        }

        impl Discard {
            /// All of them, in the order of [`Discard::index`].
            pub const ALL: &[Discard] = &[$(Discard::$variant),*];

            /// The name that metrics use.
            pub const fn name(self) -> &'static str {
                match self { $(Discard::$variant => $name,)* }
            }

            /// A sentence that says what it means.
            pub const fn about(self) -> &'static str {
                match self { $(Discard::$variant => $about.trim_ascii(),)* }
            }

            /// A small number for tables.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

discards! {
    /// Neither STUN nor ChannelData, or not whole.
    Malformed = "malformed";
    /// A response, or an indication that only servers send.
    NotForServers = "not_for_servers";
    /// A method that this server does not know.
    UnknownMethod = "unknown_method";
    /// FINGERPRINT does not match.
    Fingerprint = "fingerprint";
    /// An unauthenticated answer over the rate of its source prefix.
    AnswerRate = "answer_rate";
    /// Data from a five-tuple that has no allocation.
    NoAllocation = "no_allocation";
    /// ChannelData on a number that is not bound, or no longer.
    NoChannel = "no_channel";
    /// A peer for whose address there is no permission, or no longer.
    NoPermission = "no_permission";
    /// A Send indication that lacks its peer or its data, or has attributes that are not understood.
    BadIndication = "bad_indication";
    /// A peer of a family that the allocation has no relayed address for.
    PeerFamily = "peer_family";
    /// A peer that the operator's rules refuse.
    PeerRefused = "peer_refused";
    /// A datagram on a relayed address that is gone.
    NoRelayed = "no_relayed";
    /// More than the bandwidth that the policy grants.
    Bandwidth = "bandwidth";
    /// More new peers than the policy grants.
    PeerRate = "peer_rate";
    /// A payload that does not fit into the message it has to travel in.
    TooLong = "too_long";
    /// A retransmission of a request that is still being worked on.
    InProgress = "in_progress";
    /// DTLS where it is not spoken.
    Dtls = "dtls";
}
