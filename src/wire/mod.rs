//! Octets and messages.
