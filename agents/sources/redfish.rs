//! BMCs and power distribution units by Redfish: one agent reads many.

#![cfg_attr(not(test), expect(dead_code, reason = "what reads the payloads is there, what fetches them follows"))]

mod document;
mod figures;
mod resources;

/// A recorded payload, or nothing and a visible line that says what is skipped.
#[cfg(test)]
fn payload(name: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("WATTLEDGER_TEST_DATA") else {
        eprintln!("SKIPPED: {name}: WATTLEDGER_TEST_DATA does not name the folder of recorded payloads");
        return None;
    };
    let path = std::path::Path::new(&folder).join("redfish-ipmi-payloads").join(name);
    Some(std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
}
