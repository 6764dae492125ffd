//! Which day's pages are to be made next, and making them.

use std::time::Instant;

use meter::{SECOND_NS, Utc};

use crate::daybook::DayBook;
use crate::error::BillingError;
use crate::figures::Figures;
use crate::lines::days::{pages_of, stale_days};

/// A day rests for so long after its end: agents post every 10 to 60 s, and a meter's next reading may still tell of
/// the last 15 min.
const RESTS_NS: i64 = 1800 * SECOND_NS;
/// Days looked at in one go.
const GO: i32 = 32;
/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400 * SECOND_NS;

/// Looks at the days before `until`, with these figures; makes the newest that needs it, for as long as `goes_on`.
/// Tells before which day to go on; nothing at the end.
///
/// # Errors
/// [`BillingError`] if the store or the book fails.
pub fn make_one(
    book: &DayBook,
    figures: &Figures<'_>,
    until: Option<i32>,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<i32>, BillingError> {
    let over = day_of(Utc(figures.now.0.saturating_sub(RESTS_NS)));
    let accounts = figures.snapshot.owners().flat_map(|view| &view.state.accounts);
    let Some(first) = accounts.filter(|account| !account.is_unread()).map(|account| day_of(account.first.at)).min()
    else {
        return Ok(None);
    };
    let until = until.unwrap_or(over).min(over);
    let from = until.saturating_sub(GO).max(first);
    if from >= until || book.is_full_before(until - 1)? {
        return Ok(None);
    }
    match stale_days(figures, book, from..until)?.pop() {
        Some(day) => {
            let begun = Instant::now();
            let Some(pages) = pages_of(figures, day, goes_on)? else { return Ok(None) };
            book.keep(day, &pages)?;
            tracing::debug!(day, elapsed = ?begun.elapsed(), "a day's pages were made");
            Ok(Some(day))
        }
        None => Ok(Some(from)),
    }
}

fn day_of(at: Utc) -> i32 {
    i32::try_from(at.0.div_euclid(DAY_NS)).unwrap_or(i32::MIN)
}
