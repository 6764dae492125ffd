//! What `nvidia-smi` shows of real boards, and what the agent makes of the same answers.

use std::path::Path;

use crate::driver::{Call, Driver, Knob};
use crate::harness::Home;
use crate::nvml_probe::probe;

const NOT_SUPPORTED: u64 = 3;

/// A row of `nvidia-smi --query-gpu=… --format=csv`.
struct Captured {
    board: String,
    cells: Vec<(String, String)>,
}

impl Captured {
    fn cell(&self, column: &str) -> &str {
        let found = self.cells.iter().find(|(name, _)| name.split(' ').next() == Some(column));
        &found.unwrap_or_else(|| panic!("{}: no column {column}", self.board)).1
    }

    /// Milliwatts of `77.71 W`; nothing for `[N/A]`.
    fn milliwatts(&self, column: &str) -> Option<u64> {
        let (watts, hundredths) = self.cell(column).strip_suffix(" W")?.split_once('.')?;
        Some(watts.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
    }
}

/// Every row of every capture.
fn captured(folder: &Path) -> Vec<Captured> {
    let files = std::fs::read_dir(folder).expect("captures").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().contains("nvidia-smi-")).collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a capture");
        let board = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let split = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let mut header = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let cells = split(line);
            if line.starts_with("timestamp,") && line.contains("power.draw") {
                header = cells;
            } else if !header.is_empty() && cells.len() == header.len() {
                let cells = header.iter().cloned().zip(cells).collect();
                rows.push(Captured { board: board.clone(), cells });
            }
        }
    }
    rows
}

#[test]
fn the_power_is_the_one_that_nvidia_smi_calls_power_draw() {
    let Some(data) = std::env::var_os("WATTLEDGER_TEST_DATA") else {
        return eprintln!("SKIPPED: captures of nvidia-smi: WATTLEDGER_TEST_DATA does not name their folder");
    };
    let rows = captured(&Path::new(&data).join("exporter-pages"));
    assert_eq!(rows.len(), 12, "six boards, idle and under load");
    let home = Home::new();
    let Some(driver) = Driver::new(&home, rows.len() as u64) else { return };
    for (gpu, row) in (0..).zip(&rows) {
        let set = |column: &str, call: Call, knob: Knob| match row.milliwatts(column) {
            Some(mw) => driver.set(gpu, knob, mw),
            None => driver.fail(gpu, call, NOT_SUPPORTED),
        };
        set("power.draw.average", Call::AverageField, Knob::RawPower);
        set("power.draw.instant", Call::InstantField, Knob::RawInstant);
        set("power.max_limit", Call::Limits, Knob::LimitMw);
        driver.set(gpu, Knob::Mig, u64::from(row.cell("mig.mode.current") == "Enabled"));
        driver.set(gpu, Knob::Persistent, u64::from(row.cell("persistence_mode") == "Enabled"));
        assert_eq!(row.milliwatts("module.power.draw.average"), None, "{}: no board here is a superchip", row.board);
    }
    let found = probe(&home, &driver, &[]);
    let devices = found[0]["devices"].as_array().unwrap_or_else(|| panic!("devices in {found}"));
    assert_eq!(devices.len(), rows.len());
    for (device, row) in devices.iter().zip(&rows) {
        let watts = |column: &str| row.milliwatts(column).map(|mw| mw as f64 / 1e3);
        assert_eq!(device["watts"].as_f64(), watts("power.draw"), "{}", row.board);
        assert_eq!(device["limit_watts"].as_f64(), watts("power.max_limit"), "{}", row.board);
        let split = row.cell("mig.mode.current") == "Enabled";
        assert_eq!(device["about"].as_str().is_some_and(|about| about.contains("MIG")), split, "{}", row.board);
        let turing = row.board.contains("rtx-2080");
        assert_eq!(
            row.milliwatts("power.draw.average").is_none(),
            turing,
            "{}: Turing alone has no average",
            row.board
        );
    }
}
