//! What energy costs and how it is told: windows and steps, selectors, rate cards, rollups,
//! statements as JSON and CSV.
//!
//! Pure: no clock, file, socket or runtime. The instant "now", the rate card's text and the usage of
//! hosts are handed in; what comes out is rows. Energy and money are summed exactly, as integers, and
//! rounded once, where a figure is printed, such that the rows of every grouping and step add up to
//! the same printed total (largest remainder, [`money::apportion`]).

pub mod currency;
pub mod error;
pub mod money;
pub mod rates;
mod rates_file;
pub mod rollup;
mod rows;
pub mod selector;
pub mod sheet;
pub mod statement;
pub mod step;
mod symbols;
pub mod usage;
pub mod window;

pub use currency::Currency;
pub use error::{CostError, Fault};
pub use meter::hostlist::{self, Pattern, expand};
pub use rates::{Rate, RateCard, Tariff};
pub use rollup::{ROWS_MAX, Rollup};
pub use selector::{By, Dimension, UNATTRIBUTED, Where};
pub use sheet::to_csv;
pub use statement::{Answer, Carbon, Cost, CostParts, FlaggedHost, QualityFigures, Row, Status};
pub use step::Step;
pub use usage::{DeviceId, HostId, HostInfo, HostSlot, HostTime, Line};
pub use window::{Window, zone};
