//! Settings of the ear for jobs, and where its socket and its folder are.

use std::path::{Path, PathBuf};

use meter::job::CORES_MAX;
use serde::{Deserialize, Serialize};

/// The word that switches the socket or the folder off.
const OFF: &str = "off";
/// The name of the socket in its folder.
const SOCKET: &str = "agent.sock";
/// Where the agent of a machine listens, unless it is told otherwise or runs for a person.
const SYSTEM_SOCKET: &str = "/run/wattledger/agent.sock";

/// How the agent is told of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsSettings {
    /// Whether it listens at all.
    pub enabled: bool,
    /// The Unix socket; empty for the usual place, `off` for none.
    pub socket: String,
    /// The group that may speak to the socket, by name or number; empty for the agent's own.
    pub socket_group: String,
    /// The folder for files; empty for `jobs` in the state folder, `off` for none.
    pub drop_dir: String,
    /// How many cores the machine has, where whoever starts a job does not say; zero to count them.
    pub cores_of: u32,
    /// Pods, by the kubelet.
    pub kubernetes: KubernetesSettings,
}

/// Settings of the ear for pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSettings {
    /// Whether to ask the kubelet.
    pub enabled: bool,
    /// Its socket.
    pub socket: PathBuf,
    /// Milliseconds between two questions: a pod's edges are known to that.
    pub period_ms: u64,
}

impl Default for JobsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: String::new(),
            socket_group: String::new(),
            drop_dir: String::new(),
            cores_of: 0,
            kubernetes: KubernetesSettings::default(),
        }
    }
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self { enabled: false, socket: "/var/lib/kubelet/pod-resources/kubelet.sock".into(), period_ms: 10_000 }
    }
}

impl JobsSettings {
    /// Where an agent with these settings listens; nowhere if it shall not, or a person's session has no folder
    /// for sockets.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match self.socket.as_str() {
            _ if !self.enabled => None,
            OFF => None,
            "" => usual(&|name| std::env::var_os(name).map(PathBuf::from), rustix::process::geteuid().is_root()),
            path => Some(path.into()),
        }
    }

    /// Where an agent may be listening, as whoever wants to tell it something sees it: best first.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut places: Vec<PathBuf> = self.socket().into_iter().collect();
        let system = PathBuf::from(SYSTEM_SOCKET);
        if self.enabled && self.socket.is_empty() && !places.contains(&system) {
            places.push(system);
        }
        places
    }

    /// The folder for files; none if it is switched off.
    #[must_use]
    pub fn drop_dir(&self, state_dir: &Path) -> Option<PathBuf> {
        match self.drop_dir.as_str() {
            _ if !self.enabled => None,
            OFF => None,
            "" => Some(state_dir.join("jobs")),
            path => Some(path.into()),
        }
    }

    /// Checks what a file or the environment said.
    ///
    /// # Errors
    /// Which key cannot be as it is, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [("socket", &self.socket), ("drop_dir", &self.drop_dir)] {
            if !value.is_empty() && value != OFF && !value.starts_with('/') {
                return Err(format!("jobs.{key} = {value:?}: it is a path from the root, \"\" or \"{OFF}\""));
            }
        }
        if self.cores_of > CORES_MAX {
            return Err(format!("jobs.cores_of = {}: at most {CORES_MAX}", self.cores_of));
        }
        let period_ms = self.kubernetes.period_ms;
        if !(1000..=3_600_000).contains(&period_ms) {
            return Err(format!("jobs.kubernetes.period_ms = {period_ms}: it lies between 1000 and 3600000"));
        }
        Ok(())
    }
}

/// The usual place of the socket: the folder that a service manager made, else that of the machine, else that of
/// the person's session.
fn usual(variable: &dyn Fn(&str) -> Option<PathBuf>, is_root: bool) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|path| path.is_absolute());
    // A service manager may give several folders, with colons between them.
    let runtime = folder("RUNTIME_DIRECTORY").filter(|path| !path.to_string_lossy().contains(':'));
    match runtime {
        Some(runtime) => Some(runtime.join(SOCKET)),
        None if is_root => Some(SYSTEM_SOCKET.into()),
        None => folder("XDG_RUNTIME_DIR").map(|session| session.join("wattledger").join(SOCKET)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_place_is_the_services_then_the_machines_then_the_sessions() {
        let session = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| PathBuf::from("/run/user/7"));
        let service = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| PathBuf::from("/run/wl"));
        assert_eq!(usual(&service, false), Some("/run/wl/agent.sock".into()));
        assert_eq!(usual(&session, true), Some("/run/wattledger/agent.sock".into()));
        assert_eq!(usual(&session, false), Some("/run/user/7/wattledger/agent.sock".into()));
        assert_eq!(usual(&|_| None, false), None);
        assert_eq!(usual(&|_| Some("relative".into()), false), None);
    }

    #[test]
    fn what_is_switched_off_is_nowhere() {
        let off = JobsSettings { socket: OFF.into(), drop_dir: OFF.into(), ..JobsSettings::default() };
        assert_eq!((off.socket(), off.drop_dir(Path::new("/s"))), (None, None));
        assert!(off.sockets().is_empty() && off.check().is_ok());
        let disabled = JobsSettings { enabled: false, socket: "/x".into(), ..JobsSettings::default() };
        assert_eq!((disabled.socket(), disabled.drop_dir(Path::new("/s"))), (None, None));
        let usual = JobsSettings::default().drop_dir(Path::new("/s"));
        assert_eq!(usual, Some("/s/jobs".into()));
    }

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        let with = |change: fn(&mut JobsSettings)| {
            let mut settings = JobsSettings::default();
            change(&mut settings);
            settings.check().expect_err("refused")
        };
        assert!(with(|jobs| jobs.socket = "agent.sock".into()).contains("jobs.socket"));
        assert!(with(|jobs| jobs.drop_dir = "none".into()).contains("jobs.drop_dir"));
        assert!(with(|jobs| jobs.cores_of = CORES_MAX + 1).contains("jobs.cores_of"));
        assert!(with(|jobs| jobs.kubernetes.period_ms = 999).contains("jobs.kubernetes.period_ms"));
    }
}
