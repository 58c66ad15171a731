//! The services around the relay: web page, signaling, ICE servers, metrics, admin.
