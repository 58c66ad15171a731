//! Shards: one core, one `turn::Server`, its sockets.
