//! The source `redfish` on BMCs that stand in for real ones.

#![cfg(test)]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../../tests/harness/bmc.rs"]
mod bmc;
mod connection;
mod machines;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agents::sources::PollError;
use agents::sources::redfish::{Redfish, RedfishSettings};
use agents::sources::target::{Discovery, Reach, Target};
use bmc::{Bmc, PASSWORD, USER};
use meter::Sample;
use serde_json::{Value, json};

const METRICS: &str = "/redfish/v1/Chassis/1/EnvironmentMetrics";
const UUID: &str = "4C4C4544-0051-4E10-8058-C4C04F4E4D32";

/// Targets of these settings, with a profile `ops` that has the right password.
fn targets(settings: Value) -> Result<Vec<Box<dyn Target>>, String> {
    let mut all = json!({
        "period_ms": 100,
        "timeout_ms": 2000,
        "profiles": { "ops": { "user": USER, "password_command": ["echo", PASSWORD] } },
    });
    for (key, value) in settings.as_object().expect("settings") {
        all[key] = value.clone();
    }
    let settings: RedfishSettings = serde_json::from_value(all).expect("good settings");
    settings.check()?;
    Redfish::new(&settings, "default").targets()
}

/// The one target of a BMC that is trusted by its fingerprint.
fn target(bmc: &Bmc) -> Box<dyn Target> {
    let one = json!([{ "address": bmc.url(), "pin": bmc.fingerprint(), "name": "bmc-1" }]);
    targets(json!({ "targets": one })).expect("a target").remove(0)
}

/// A server that draws this many watts.
fn server(watts: &Arc<AtomicU64>) -> Bmc {
    let bmc = Bmc::start();
    let watts = Arc::clone(watts);
    bmc.be_a_server("S1", UUID, move || {
        format!(r#"{{"PowerWatts": {{"Reading": {}}}}}"#, watts.load(Ordering::Relaxed))
    });
    bmc
}

fn four_hundred() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(400))
}

async fn probed(target: &mut Box<dyn Target>) -> Vec<Vec<agents::sources::FoundDevice>> {
    match target.probe().await {
        Reach::Found { devices, .. } => devices,
        Reach::Absent { why } => panic!("absent: {why}"),
    }
}

async fn absent(target: &mut Box<dyn Target>) -> String {
    match target.probe().await {
        Reach::Absent { why } => why,
        Reach::Found { devices, .. } => panic!("found {devices:?}"),
    }
}

async fn read(target: &mut Box<dyn Target>) -> Result<Vec<Vec<Sample>>, PollError> {
    let mut into = vec![Vec::new(); target.outlets().len()];
    target.read(&mut into).await?;
    Ok(into)
}

/// What a failed reading says.
async fn failure(target: &mut Box<dyn Target>) -> String {
    read(target).await.expect_err("a failure").to_string()
}
