//! The IANA registries of STUN and TURN: methods, classes, attributes, error codes, password
//! algorithms.

use std::fmt;

/// Declares a newtype over a number with a constant and a name for each registered value.
macro_rules! registry {
    ($(#[$doc:meta])* $name:ident($number:ty) { $($(#[$item:meta])* $constant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $number);

        impl $name {
            $($(#[$item])* #[doc = concat!("`", $text, "`, ", stringify!($value), ".")] pub const $constant: $name = $name($value);)*

            /// All registered values.
            pub const ALL: &[$name] = &[$($name::$constant),*];

            /// The registered name, or `None`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({:#06x})", stringify!($name), self.0),
                }
            }
        }
    };
}

registry! {
    /// A STUN method, 12 bits. RFC 8489 §18.2, RFC 8656 §17, RFC 6062 §6.1.
    Method(u16) {
        BINDING = 0x001, "Binding";
        ALLOCATE = 0x003, "Allocate";
        REFRESH = 0x004, "Refresh";
        SEND = 0x006, "Send";
        DATA = 0x007, "Data";
        CREATE_PERMISSION = 0x008, "CreatePermission";
        CHANNEL_BIND = 0x009, "ChannelBind";
        CONNECT = 0x00a, "Connect";
        CONNECTION_BIND = 0x00b, "ConnectionBind";
        CONNECTION_ATTEMPT = 0x00c, "ConnectionAttempt";
    }
}

/// The class of a message: the bits C1 and C0. RFC 8489 §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Demands a response.
    Request,
    /// Demands no response.
    Indication,
    /// Success response.
    Success,
    /// Error response.
    Error,
}

/// The 14 bits of a STUN message type from its method and class. RFC 8489 §5, figure 3.
pub const fn message_type(method: Method, class: Class) -> u16 {
    let m = method.0;
    let spread = (m & 0x00f) | ((m & 0x070) << 1) | ((m & 0xf80) << 2);
    spread
        | match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        }
}

/// The method and class of a STUN message type: the inverse of [`message_type`].
pub const fn method_and_class(message_type: u16) -> (Method, Class) {
    let t = message_type;
    let method = (t & 0x00f) | ((t >> 1) & 0x070) | ((t >> 2) & 0xf80);
    let class = match t & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    (Method(method), class)
}

registry! {
    /// An attribute's type. RFC 8489 §18.3, RFC 8656 §18, and the RFCs named at each.
    AttributeType(u16) {
        MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
        /// RFC 5780 §7.2.
        CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
        USERNAME = 0x0006, "USERNAME";
        MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
        ERROR_CODE = 0x0009, "ERROR-CODE";
        UNKNOWN_ATTRIBUTES = 0x000a, "UNKNOWN-ATTRIBUTES";
        CHANNEL_NUMBER = 0x000c, "CHANNEL-NUMBER";
        LIFETIME = 0x000d, "LIFETIME";
        XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
        DATA = 0x0013, "DATA";
        REALM = 0x0014, "REALM";
        NONCE = 0x0015, "NONCE";
        XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
        REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
        EVEN_PORT = 0x0018, "EVEN-PORT";
        REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
        DONT_FRAGMENT = 0x001a, "DONT-FRAGMENT";
        /// RFC 7635 §6.2.
        ACCESS_TOKEN = 0x001b, "ACCESS-TOKEN";
        MESSAGE_INTEGRITY_SHA256 = 0x001c, "MESSAGE-INTEGRITY-SHA256";
        PASSWORD_ALGORITHM = 0x001d, "PASSWORD-ALGORITHM";
        USERHASH = 0x001e, "USERHASH";
        XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
        RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
        /// RFC 8445 §16.1; not understood by a TURN server.
        PRIORITY = 0x0024, "PRIORITY";
        /// RFC 8445 §16.1; not understood by a TURN server.
        USE_CANDIDATE = 0x0025, "USE-CANDIDATE";
        /// RFC 5780 §7.6.
        PADDING = 0x0026, "PADDING";
        /// RFC 5780 §7.5.
        RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
        /// RFC 6062 §6.2.1.
        CONNECTION_ID = 0x002a, "CONNECTION-ID";
        ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
        ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
        PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
        ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
        ICMP = 0x8004, "ICMP";
        SOFTWARE = 0x8022, "SOFTWARE";
        ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
        FINGERPRINT = 0x8028, "FINGERPRINT";
        /// RFC 5780 §7.3.
        RESPONSE_ORIGIN = 0x802b, "RESPONSE-ORIGIN";
        /// RFC 5780 §7.4.
        OTHER_ADDRESS = 0x802c, "OTHER-ADDRESS";
        /// RFC 7635 §6.1.
        THIRD_PARTY_AUTHORIZATION = 0x802e, "THIRD-PARTY-AUTHORIZATION";
        /// draft-ietf-tram-stun-origin.
        ORIGIN = 0x802f, "ORIGIN";
        /// RFC 8016 §3.1.
        MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
    }
}

impl AttributeType {
    /// Returns true if an agent that does not understand the attribute must reject the message. RFC
    /// 8489 §14.
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

registry! {
    /// An error code, 300 to 699, with the reason phrase that RFC 8489 §14.8 recommends. RFC 8489
    /// §18.5, RFC 8656 §19.
    ErrorCode(u16) {
        TRY_ALTERNATE = 300, "Try Alternate";
        BAD_REQUEST = 400, "Bad Request";
        UNAUTHENTICATED = 401, "Unauthenticated";
        FORBIDDEN = 403, "Forbidden";
        /// RFC 8016 §3.1.
        MOBILITY_FORBIDDEN = 405, "Mobility Forbidden";
        UNKNOWN_ATTRIBUTE = 420, "Unknown Attribute";
        ALLOCATION_MISMATCH = 437, "Allocation Mismatch";
        STALE_NONCE = 438, "Stale Nonce";
        ADDRESS_FAMILY_NOT_SUPPORTED = 440, "Address Family not Supported";
        WRONG_CREDENTIALS = 441, "Wrong Credentials";
        UNSUPPORTED_TRANSPORT = 442, "Unsupported Transport Protocol";
        PEER_ADDRESS_FAMILY_MISMATCH = 443, "Peer Address Family Mismatch";
        /// RFC 6062 §6.3.
        CONNECTION_ALREADY_EXISTS = 446, "Connection Already Exists";
        /// RFC 6062 §6.3.
        CONNECTION_TIMEOUT_OR_FAILURE = 447, "Connection Timeout or Failure";
        ALLOCATION_QUOTA_REACHED = 486, "Allocation Quota Reached";
        SERVER_ERROR = 500, "Server Error";
        INSUFFICIENT_CAPACITY = 508, "Insufficient Capacity";
    }
}

registry! {
    /// How a long-term key is derived from a password. RFC 8489 §18.5.
    PasswordAlgorithm(u16) {
        MD5 = 0x0001, "MD5";
        SHA256 = 0x0002, "SHA-256";
    }
}

/// The value of every STUN message's octets 4 to 8. RFC 8489 §5.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

/// `REQUESTED-TRANSPORT` of a UDP relay: the IP protocol's number. RFC 8656 §18.7.
pub const PROTOCOL_UDP: u8 = 17;
/// `REQUESTED-TRANSPORT` of a TCP relay. RFC 6062 §4.1.
pub const PROTOCOL_TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_types_are_those_of_the_rfcs() {
        assert_eq!(message_type(Method::BINDING, Class::Request), 0x0001);
        assert_eq!(message_type(Method::BINDING, Class::Success), 0x0101);
        assert_eq!(message_type(Method::ALLOCATE, Class::Error), 0x0113);
        assert_eq!(message_type(Method::DATA, Class::Indication), 0x0017);
    }

    #[test]
    fn every_message_type_is_parsed_as_written() {
        for number in 0..0x1000 {
            for class in [
                Class::Request,
                Class::Indication,
                Class::Success,
                Class::Error,
            ] {
                let written = message_type(Method(number), class);
                assert!(written < 0x4000);
                assert_eq!(method_and_class(written), (Method(number), class));
            }
        }
    }
}
