//! Sockets without protocol: the only floor with `unsafe`.
