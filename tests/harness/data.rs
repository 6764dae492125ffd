//! Recorded fleets, where the folder with them is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use super::Point;

/// The folder of a recorded set, or nothing and a visible line that says what is skipped.
pub(crate) fn recorded(set: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WATTLEDGER_TEST_DATA").map(|all| Path::new(&all).join(set));
    match folder {
        Some(folder) if folder.join("samples.csv.gz").is_file() => Some(folder),
        Some(folder) => panic!("WATTLEDGER_TEST_DATA is set, but there is no {}/samples.csv.gz", folder.display()),
        None => {
            eprintln!("SKIPPED: {set}: WATTLEDGER_TEST_DATA does not name the folder of recorded fleets");
            None
        }
    }
}

/// A recorded set's readings by run and device (or host and device): what the product reads from the
/// same file, read here by other code.
pub(crate) fn samples(folder: &Path, run: &str) -> BTreeMap<(String, String), Vec<Point>> {
    let mut all: BTreeMap<(String, String), Vec<Point>> = BTreeMap::new();
    let file = std::fs::File::open(folder.join("samples.csv.gz")).expect("recorded samples");
    let mut rows = csv::Reader::from_reader(GzDecoder::new(file));
    let header = rows.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|one| one == name).unwrap_or_else(|| panic!("a column {name}"));
    let (run, ms, device, power) = (column(run), column("ts_ms"), column("device"), column("watts"));
    for row in rows.records() {
        let row = row.expect("a row");
        let key = (row[run].to_owned(), row[device].to_owned());
        all.entry(key).or_default().push((row[ms].parse().expect("milliseconds"), milliwatts(&row[power])));
    }
    all.values_mut().for_each(|points| points.sort_by_key(|point| point.0));
    all
}

/// Milliwatts of decimal watts; nothing for an empty field or a negative value, which no meter means.
fn milliwatts(text: &str) -> Option<i64> {
    let watts: f64 = text.parse().ok()?;
    (watts >= 0.0).then(|| (watts * 1000.0).round() as i64)
}

/// A set's reference figures.
pub(crate) fn reference(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("reference.json")).expect("reference figures");
    serde_json::from_str(&text).expect("JSON")
}
