//! Jobs: as they are told, as they are listed, and where what measures their machines is cut for them.
//!
//! What they held is [`billing::holds`].

pub mod devices;
pub mod following;
pub mod listed;
pub mod said;
pub mod telling;
