//! Why something could not be worked out.

use cost::CostError;
use store::StoreError;

/// Why a rollup could not be fed.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// The history could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A posting is not what was written.
    #[error("a posting cannot be read: {0}")]
    Record(#[from] store::records::RecordError),
    /// More jobs than a question may have.
    #[error("{0} holds of jobs lie in the window, more than a question may have: ask for a shorter one")]
    TooManyHolds(usize),
    /// The day book cannot be read or written.
    #[error("the day book: {0}")]
    Book(#[from] std::io::Error),
    /// The question cannot be answered.
    #[error(transparent)]
    Cost(#[from] CostError),
}
