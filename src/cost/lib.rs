//! What energy costs and how it is told: windows and steps, selectors, rate cards, rollups,
//! statements as JSON and CSV.
//!
//! Pure: no clock, file, socket or runtime. The instant "now", the rate card's text and the usage of
//! hosts are handed in; what comes out is rows. Energy and money are summed exactly, as integers, and
//! rounded once, where a figure is printed, such that the rows of every grouping and step add up to
//! the same printed total (largest remainder, [`money::apportion`]).

pub mod budget;
mod cells;
pub mod charges;
pub mod closing;
pub mod currency;
pub mod division;
pub mod error;
pub mod explain;
pub mod focus;
mod hidden;
pub mod money;
mod priced;
mod pricing;
pub mod rates;
pub mod reconcile;
pub mod rollup;
mod rows;
pub mod selector;
pub mod sheet;
mod spread;
pub mod statement;
pub mod step;
mod symbols;
pub mod tenancy;
pub mod tenant;
mod tenants;
mod unrounded;
pub mod urdb;
pub mod usage;
pub mod window;

pub use charges::Charges;
pub use currency::Currency;
pub use division::{Before, Piece, divide};
pub use error::{CostError, Fault};
pub use focus::{Issuer, to_focus};
pub use meter::hostlist::{self, Pattern, expand};
pub use rates::{Figure, Rate, RateCard, Series, Tariff};
pub use rollup::{ROWS_MAX, Rollup};
pub use selector::{By, Dimension, UNATTRIBUTED, Where};
pub use sheet::to_csv;
pub use statement::{Answer, Carbon, Cost, CostParts, FlaggedHost, QualityFigures, Row, Status};
pub use step::Step;
pub use tenancy::{Held, Shares, Tenancy};
pub use tenant::{Axis, Class, JobKey, Policies, Policy};
pub use usage::{DeviceId, Holder, HostId, HostInfo, HostSlot, HostTime, Line, TenantId};
pub use window::{Window, zone};
