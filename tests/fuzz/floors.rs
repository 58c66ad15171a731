//! The two floors of Hairpin that read the network, as a crate of their own, with the bodies of
//! the fuzz targets.

extern crate self as hairpin;

#[path = "../../src/turn/mod.rs"]
pub mod turn;
#[path = "../../src/wire/mod.rs"]
pub mod wire;

#[path = "bodies.rs"]
pub mod bodies;
#[path = "../model/operation.rs"]
pub mod operation;
#[path = "../model/world.rs"]
pub mod world;
