//! The ear for jobs: whoever starts and ends work on this machine tells the agent, and the agent puts it into the
//! machine's stream as a [`meter::Mark`], between the readings before and after it.
//!
//! Ways of hearing, one file each: [`socket`] for whoever can write a line, [`drop_dir`] for files, [`kubernetes`]
//! for pods. All of them end at the [`desk`], where a word is checked, its devices are found, and the mark is
//! handed to the spool. `wattledger-agent job` ([`command`]) speaks to the first two.

pub mod command;
pub mod desk;
pub mod devices;
pub mod drop_dir;
pub mod kubernetes;
pub mod message;
pub mod refused;
pub mod report;
pub mod roll;
pub mod settings;
mod slurm;
pub mod socket;
pub mod tally;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Addr, Recipient};
use meter::Owner;
use tokio::task::JoinHandle;

use crate::clock::BootId;
use crate::config::Settings;
use crate::health::Registry;
use crate::sampler::LookNow;
use crate::spool_actor::SpoolActor;
use desk::Desk;
use roll::Roll;
use settings::JobsSettings;
use tally::Tally;

/// What the ear needs of the agent.
#[derive(Debug)]
pub struct Needs {
    /// This machine.
    pub owner: Owner,
    /// Where marks go.
    pub spool: Addr<SpoolActor>,
    /// The running boot.
    pub boot: BootId,
    /// What is known of the sources.
    pub registry: Registry,
    /// This machine's sensors, to be read when something begins or ends.
    pub sensors: Vec<Recipient<LookNow>>,
    /// The kernel's tree.
    pub sys: PathBuf,
}

/// An ear at work.
#[derive(Debug)]
pub struct Ear {
    tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
    socket: Option<socket::Place>,
}

/// Begins to listen, as the settings say. What cannot be listened to is said in the log, and the agent goes on
/// without.
#[must_use]
pub fn start(settings: &Settings, needs: Needs) -> Ear {
    let jobs = &settings.jobs;
    let mut ear = Ear { tally: Arc::default(), tasks: Vec::new(), socket: None };
    if !jobs.enabled {
        return ear;
    }
    let state_dir = settings.state_dir();
    let roll = Roll::open(&state_dir, needs.boot.get());
    let cores_of = if jobs.cores_of > 0 { jobs.cores_of } else { devices::cores(&needs.sys) };
    let desk = Rc::new(Desk::new(needs, cores_of, roll, Arc::clone(&ear.tally)));
    if let Some((listener, place)) = listen(jobs) {
        ear.socket = Some(place);
        ear.tasks.push(actix_rt::spawn(socket::serve(listener, Rc::clone(&desk))));
    }
    ear.tasks.push(actix_rt::spawn(follow(jobs.clone(), jobs.drop_dir(&state_dir), desk)));
    ear
}

/// First what a boot before left running, and the files that were dropped meanwhile; then whatever comes.
async fn follow(jobs: JobsSettings, folder: Option<PathBuf>, desk: Rc<Desk>) {
    desk.end_what_ended_with_the_boot().await;
    let files = async {
        if let Some(folder) = folder {
            drop_dir::follow(&folder, &desk).await;
        }
    };
    let pods = async {
        if jobs.kubernetes.enabled {
            kubernetes::follow(&jobs.kubernetes, &desk).await;
        }
    };
    tokio::join!(files, pods);
}

fn listen(jobs: &JobsSettings) -> Option<(tokio::net::UnixListener, socket::Place)> {
    let Some(path) = jobs.socket() else {
        if jobs.socket.is_empty() {
            tracing::info!("no socket for jobs: there is no XDG_RUNTIME_DIR; jobs.socket names another place");
        }
        return None;
    };
    match socket::listen(&path, &jobs.socket_group) {
        Ok(listening) => {
            tracing::info!(socket = %path.display(), "jobs are told here");
            Some(listening)
        }
        Err(why) => {
            tracing::warn!(socket = %path.display(), why, "jobs are not heard by the socket; jobs.socket names another place, or \"off\"");
            None
        }
    }
}

impl Ear {
    /// What was heard so far.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Stops listening.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(place) = &self.socket {
            place.leave();
        }
    }
}

/// Writes a file under another name first, so that nobody sees a part of it.
///
/// # Errors
/// What the disk says.
fn write_whole(folder: &Path, name: &str, content: &[u8], mode: u32) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&temporary, folder.join(name)));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
