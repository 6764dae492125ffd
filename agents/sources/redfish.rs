//! BMCs and power distribution units by Redfish: one agent reads many.
//!
//! A target is looked at once: which machine it stands for (`resources`), which of its figures is the
//! meter (`figures`, in documented order). From then on only the resources that hold these figures are
//! read, one request at a time, over one kept connection and one session. What is wrong with one target
//! delays and stops no other.
//!
//! The account is `chassis: bmc` of the owner `chassis/<configured name>`; where only the power supplies are
//! measured, `bmc/psu-<id>`. A sled without a meter of its own leads to the owner
//! `chassis/enclosure-<serial number>`, the same for every sled in it.

mod bmc;
mod client;
mod document;
mod figures;
mod places;
mod profile;
mod resources;
mod settings;
mod survey;
mod tls;

pub use settings::{Kind, ProfileSettings, RedfishSettings, TargetSettings};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::target::{Discovery, Target};
use bmc::{Bmc, Site};
use client::Client;
use places::Place;
use profile::Profile;
use tls::Trust;

/// The targets of the source `redfish`.
#[derive(Debug)]
pub struct Redfish {
    settings: RedfishSettings,
    cluster: String,
    /// Shared by all their targets, also by those that are found later: a pause holds for all.
    profiles: BTreeMap<String, Arc<Profile>>,
    /// Shared by all who are trusted alike.
    clients: BTreeMap<Trust, reqwest::Client>,
}

impl Redfish {
    /// The targets of these settings; nothing is asked yet.
    #[must_use]
    pub fn new(settings: &RedfishSettings, cluster: &str) -> Self {
        let profile =
            |(name, settings): (&String, &ProfileSettings)| (name.clone(), Arc::new(Profile::new(name, settings)));
        Self {
            settings: settings.clone(),
            cluster: cluster.into(),
            profiles: settings.profiles.iter().map(profile).collect(),
            clients: BTreeMap::new(),
        }
    }

    fn target(&mut self, place: Place) -> Result<Box<dyn Target>, String> {
        let http = match self.clients.get(&place.trust) {
            Some(client) => client.clone(),
            None => {
                let timeout = Duration::from_millis(self.settings.timeout_ms);
                let made = client::http(tls::config(&place.trust)?, timeout);
                let made = made.map_err(|why| format!("sources.redfish: the HTTP client cannot be made: {why}"))?;
                self.clients.insert(place.trust, made.clone());
                made
            }
        };
        let profile = place.profile.and_then(|name| self.profiles.get(&name).cloned());
        let site = Site {
            owner: place.owner,
            kind: place.kind,
            labels: place.labels,
            period_ns: super::period_ns(place.period_ms),
            outlets: place.outlets,
        };
        Ok(Box::new(Bmc::new(Client::new(http, place.url, profile), site)))
    }
}

impl Discovery for Redfish {
    fn name(&self) -> &'static str {
        "redfish"
    }

    fn targets(&mut self) -> Result<Vec<Box<dyn Target>>, String> {
        let places = places::places(&self.settings, &self.cluster)?;
        places.into_iter().map(|place| self.target(place)).collect()
    }

    fn files(&self) -> &[PathBuf] {
        &self.settings.file_sd
    }
}

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
