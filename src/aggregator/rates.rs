//! The rate card as the aggregator has it: read from its files.

use std::path::Path;

use cost::{CostError, RateCard};

use crate::watched::Files;

/// Reads a card and the files that it names, which lie in its folder unless it says where.
///
/// # Errors
/// All that is wrong with them, as text with file, line and key.
pub fn rate_card(path: &Path, files: &mut Files) -> Result<RateCard, String> {
    let text = files.text(path)?;
    card_of(path, &text, files).map_err(|error| match error {
        CostError::Rates(faults) => {
            let own = path.display();
            let lines = faults.iter().map(|fault| match fault.file {
                Some(_) => fault.to_string(),
                None => format!("{own}: {fault}"),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        error => format!("{}: {error}", path.display()),
    })
}

/// The card of a text that stands in the file `path`.
///
/// # Errors
/// [`CostError::Rates`] with every fault.
pub fn card_of(path: &Path, text: &str, files: &mut Files) -> Result<RateCard, CostError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    RateCard::read(text, &mut |name| files.text(&folder.join(name)))
}
