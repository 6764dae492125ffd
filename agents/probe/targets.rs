//! What the probe shows of targets: all at once, each with its owners, within one limit of time.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use meter::Labels;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{device, fold, line, notes, plural};
use crate::guard::{Panicked, guarded, guarded_wait};
use crate::reader::Reader;
use crate::sources::FoundDevice;
use crate::sources::target::{Discovery, Reach, Target};

/// Targets looked at at once: as many connections.
const AT_ONCE: usize = 256;

/// What became of one target, or of the file that names a kind's targets.
#[derive(Debug)]
pub struct TargetFinding {
    /// The kind of source.
    pub source: &'static str,
    /// The address; nothing if the targets of this kind cannot be told.
    pub address: Option<String>,
    /// The owner that it is for, as configured.
    pub owner: Option<String>,
    /// What it has readings of, or why it has none.
    pub found: Result<FoundTarget, String>,
}

/// What a target has readings of.
#[derive(Debug)]
pub struct FoundTarget {
    /// Per owner.
    pub outlets: Vec<FoundOutlet>,
    /// What a person should know.
    pub note: Option<String>,
}

/// One owner's devices at a target.
#[derive(Debug)]
pub struct FoundOutlet {
    /// Whose.
    pub owner: String,
    /// What the hardware says of itself.
    pub labels: Labels,
    /// The devices.
    pub devices: Vec<FoundDevice>,
}

/// Looks at all targets; `progress` is told how many are done, and of how many. In the order of the
/// configuration.
pub async fn look(
    discoveries: Vec<Box<dyn Discovery>>,
    limit: Duration,
    mut progress: impl FnMut(usize, usize),
) -> Vec<TargetFinding> {
    let deadline = Instant::now() + limit;
    let (mut findings, mut targets) = (Vec::new(), Vec::new());
    for mut discovery in discoveries {
        match guarded(|| discovery.targets()).unwrap_or_else(|Panicked(said)| Err(said)) {
            Ok(found) => targets.extend(found),
            Err(why) => {
                let source = discovery.name();
                findings.push(TargetFinding { source, address: None, owner: None, found: Err(why) });
            }
        }
    }
    let total = targets.len();
    progress(0, total);
    let looks = stream::iter(targets.into_iter().enumerate());
    let looks = looks.map(|(place, target)| async move { (place, look_at(target, deadline, limit).await) });
    let mut done: Vec<(usize, TargetFinding)> = Vec::with_capacity(total);
    let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE));
    while let Some(finding) = looks.next().await {
        done.push(finding);
        progress(done.len(), total);
    }
    done.sort_by_key(|(place, _)| *place);
    findings.extend(done.into_iter().map(|(_, finding)| finding));
    findings
}

async fn look_at(mut target: Box<dyn Target>, deadline: Instant, limit: Duration) -> TargetFinding {
    let (source, address, owner) = (target.name(), target.address().to_owned(), target.owner().to_string());
    let reach = timeout_at(deadline, guarded_wait(async { target.probe().await })).await;
    let found = match reach {
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        Ok(Err(Panicked(said))) => Err(format!("panicked: {said}")),
        Ok(Ok(Reach::Absent { why })) => Err(why),
        Ok(Ok(Reach::Found { devices, note })) => {
            let outlets = target.outlets().iter().zip(devices).map(|(outlet, devices)| FoundOutlet {
                owner: outlet.owner.to_string(),
                labels: outlet.labels.clone(),
                devices,
            });
            Ok(FoundTarget { outlets: outlets.collect(), note })
        }
    };
    Reader::Remote(target).close().await;
    TargetFinding { source, address: Some(address), owner: Some(owner), found }
}

/// For people: a paragraph per target, one line per owner and device.
pub(super) fn table(findings: &[TargetFinding], width: Option<usize>, text: &mut String) {
    for finding in findings {
        let (source, address) = (finding.source, finding.address.as_deref().unwrap_or("its targets"));
        let found = match &finding.found {
            Ok(found) => found,
            Err(why) => {
                // Most reasons name the address themselves.
                let why = if why.starts_with(address) { why.clone() } else { format!("{address}: {why}") };
                fold(text, &format!("{source:<10} absent  "), &why, width);
                continue;
            }
        };
        let count = found.outlets.iter().map(|outlet| outlet.devices.len()).sum();
        fold(text, &format!("{source:<10} found   "), &format!("{count} {} at {address}", plural(count)), width);
        for outlet in &found.outlets {
            let labels = outlet.labels.iter().map(|(key, value)| format!(" {key}={value}"));
            fold(text, "  of ", &format!("{}{}", outlet.owner, labels.collect::<String>()), width);
            let names = outlet.devices.iter().map(|device| device.decl.key.device.len()).max().unwrap_or(0);
            outlet.devices.iter().for_each(|device| line(text, device, names, width));
        }
        notes(text, found.note.as_deref().unwrap_or_default(), width);
    }
}

/// For scripts: as a source, with `target`, `owner` and `outlets` beside it; each device names its owner.
#[must_use]
pub fn json(finding: &TargetFinding) -> Value {
    let (source, target, owner) = (finding.source, &finding.address, &finding.owner);
    match &finding.found {
        Err(why) => json!({"source": source, "target": target, "owner": owner, "state": "absent", "why": why}),
        Ok(found) => {
            let of = |outlet: &FoundOutlet| -> Vec<Value> {
                let with_owner = |one: &FoundDevice| {
                    let mut value = device(one);
                    value["owner"] = json!(outlet.owner);
                    value
                };
                outlet.devices.iter().map(with_owner).collect()
            };
            let outlets = found.outlets.iter().map(|outlet| json!({"owner": outlet.owner, "labels": outlet.labels}));
            json!({
                "source": source,
                "target": target,
                "owner": owner,
                "state": "found",
                "note": found.note,
                "outlets": outlets.collect::<Vec<_>>(),
                "devices": found.outlets.iter().flat_map(of).collect::<Vec<_>>(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, FutureExt, pending, ready};
    use meter::{AccountKey, DeviceDecl, Milliwatts, Owner, OwnerKind, Sample, Scope};

    use super::*;
    use crate::sources::PollError;
    use crate::sources::target::Outlet;

    struct Bmc(String, Vec<Outlet>);

    impl Target for Bmc {
        fn name(&self) -> &'static str {
            "redfish"
        }
        fn address(&self) -> &str {
            &self.0
        }
        fn owner(&self) -> &Owner {
            &self.1[0].owner
        }
        fn period_ns(&self) -> u64 {
            1
        }
        fn probe(&mut self) -> BoxFuture<'_, Reach> {
            if self.0.contains("slow") {
                return pending().boxed();
            }
            let decl = self.1[0].devices[0].clone();
            let now = Some(Sample { power: Some(Milliwatts(412_500)), ..Sample::default() });
            let devices = vec![vec![FoundDevice { decl, about: "what the BMC says".into(), now }]];
            ready(Reach::Found { devices, note: None }).boxed()
        }
        fn outlets(&self) -> &[Outlet] {
            &self.1
        }
        fn read<'a>(&'a mut self, _: &'a mut [Vec<Sample>]) -> BoxFuture<'a, Result<(), PollError>> {
            ready(Ok(())).boxed()
        }
        fn close(&mut self) -> BoxFuture<'_, ()> {
            ready(()).boxed()
        }
    }

    struct Two(Result<(), String>);

    impl Discovery for Two {
        fn name(&self) -> &'static str {
            "redfish"
        }
        fn targets(&mut self) -> Result<Vec<Box<dyn Target>>, String> {
            self.0.clone()?;
            let key = AccountKey::new(Scope::Chassis, "bmc").expect("a good name");
            let decl = DeviceDecl { key, period_ns: 1, limit: Milliwatts(0), modulus: None, epoch: 0 };
            let labels = Labels::from([("hw.serial".into(), "A1".into())]);
            let bmc = |name: &str| -> Box<dyn Target> {
                let owner = Owner::new("c", OwnerKind::Chassis, name).expect("a good name");
                let outlet = Outlet { owner, labels: labels.clone(), devices: vec![decl.clone()] };
                Box::new(Bmc(format!("https://{name}"), vec![outlet]))
            };
            Ok(vec![bmc("slow"), bmc("quick")])
        }
        fn files(&self) -> &[std::path::PathBuf] {
            &[]
        }
    }

    #[actix_rt::test]
    async fn a_target_that_does_not_answer_delays_no_other_and_is_said_to() {
        let kinds: Vec<Box<dyn Discovery>> = vec![Box::new(Two(Ok(()))), Box::new(Two(Err("bmcs.toml:3: no".into())))];
        let mut told = Vec::new();
        let findings = look(kinds, Duration::from_secs(1), |done, total| told.push((done, total))).await;
        assert_eq!(told, [(0, 2), (1, 2), (2, 2)]);
        let mut text = String::new();
        table(&findings, None, &mut text);
        let expected = "redfish    absent  its targets: bmcs.toml:3: no\n\
                        redfish    absent  https://slow: no answer within 1 s\n\
                        redfish    found   1 device at https://quick\n\
                        \x20 of c/chassis/quick hw.serial=A1\n";
        assert!(text.starts_with(expected) && text.contains("412.5 W  what the BMC says"), "{text}");
        let values: Vec<Value> = findings.iter().map(json).collect();
        assert_eq!((&values[1]["state"], &values[1]["target"]), (&json!("absent"), &json!("https://slow")));
        assert_eq!(
            (&values[2]["owner"], &values[2]["devices"][0]["owner"]),
            (&json!("c/chassis/quick"), &json!("c/chassis/quick"))
        );
        assert_eq!(
            (&values[2]["outlets"][0]["labels"]["hw.serial"], &values[2]["devices"][0]["watts"]),
            (&json!("A1"), &json!(412.5))
        );
    }
}
