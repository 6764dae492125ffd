//! Ground of the house: units, time and slots, owners and accounts, readings, quality.
//!
//! Every other crate stands on this one. It knows no clock, no file, no socket and no actor:
//! instants are handed in, bytes are somebody else's business.
//!
//! All quantities are integers. Power is a whole number of milliwatts, time of nanoseconds, so that
//! the area of a trapezoid is a whole number of half picojoules ([`units::Energy`]) and sums do not
//! depend on their order.

pub mod bill;
pub mod hash;
pub mod hostlist;
pub mod job;
pub mod key;
pub mod machine;
pub mod mutant;
pub mod quality;
pub mod reading;
pub mod refusal;
pub mod time;
pub mod units;

pub use bill::{Doubt, DoubtCounts, Doubts, Method, Methods};
pub use job::{Allocation, Hold, JobError, Mark};
pub use key::{AccountKey, NameError, Owner, OwnerKind, PARTS, Scope};
pub use machine::same_machine;
pub use mutant::{Mutant, mutant};
pub use quality::{ByQuality, Quality};
pub use reading::{Clock, Context, DeviceDecl, Digest, Id, Labels, Position, Reading, Record, Sample, Span, Summary};
pub use refusal::Refusal;
pub use time::{SECOND_NS, SLOT_NS, Slot, Utc, overlap_ns};
pub use units::{Energy, MICROJOULE, Microjoules, Milliwatts};
