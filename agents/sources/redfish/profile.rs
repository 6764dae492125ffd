//! Who logs in, and when to stop: BMCs lock accounts that are refused too often.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::settings::ProfileSettings;

/// How long nobody logs in after two refusals in a row. Five refusals lock an account on the strictest BMCs,
/// for an hour; four an hour stay below that.
const PAUSE: Duration = Duration::from_secs(15 * 60);

/// Refusals in a row that pause a profile.
const REFUSALS_MAX: u32 = 2;

/// Longest password, and longest time for the command that gives it.
const SECRET_MAX: usize = 1024;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A password. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    /// The password itself, for the request that needs it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Name and password of all BMCs of one kind, and how they are received.
#[derive(Debug)]
pub(super) struct Profile {
    name: String,
    settings: ProfileSettings,
    state: Mutex<State>,
    /// As many may try at once as there may be refusals, until one was accepted.
    untried: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    secret: Option<Secret>,
    accepted: bool,
    refusals: u32,
    paused_until: Option<Instant>,
}

/// A permission to try name and password.
pub(super) struct Attempt<'a> {
    pub(super) user: &'a str,
    pub(super) secret: Secret,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Profile {
    pub(super) fn new(name: &str, settings: &ProfileSettings) -> Self {
        Self {
            name: name.into(),
            settings: settings.clone(),
            state: Mutex::default(),
            untried: Semaphore::new(REFUSALS_MAX as usize),
        }
    }

    /// Whether name and password go with every request, in place of a session.
    pub(super) const fn is_basic(&self) -> bool {
        self.settings.basic
    }

    /// Permission to try name and password.
    ///
    /// # Errors
    /// Why not: the profile pauses, or there is no password to be had.
    pub(super) async fn attempt(&self) -> Result<Attempt<'_>, String> {
        self.check_pause(Instant::now())?;
        let turn = if self.state().accepted { None } else { self.untried.acquire().await.ok() };
        // Those who came before may have been refused.
        self.check_pause(Instant::now())?;
        let known = self.state().secret.clone();
        let secret = match known {
            Some(secret) => secret,
            None => {
                let secret = secret(&self.settings).await.map_err(|why| format!("profile {}: {why}", self.name))?;
                self.state().secret = Some(secret.clone());
                secret
            }
        };
        Ok(Attempt { user: &self.settings.user, secret, _turn: turn })
    }

    /// Name and password were accepted.
    pub(super) fn accepted(&self) {
        let mut state = self.state();
        state.accepted = true;
        state.refusals = 0;
        state.paused_until = None;
    }

    /// Name and password were refused by this address. The second time in a row nobody tries any more for a
    /// while; the password is read anew then.
    pub(super) fn refused(&self, address: &str, now: Instant) {
        let mut state = self.state();
        state.refusals += 1;
        state.secret = None;
        if state.refusals < REFUSALS_MAX || state.paused_until.is_some_and(|until| now < until) {
            return;
        }
        state.accepted = false;
        state.paused_until = Some(now + PAUSE);
        tracing::error!(
            source = "redfish",
            profile = self.name,
            user = self.settings.user,
            address,
            minutes = PAUSE.as_secs() / 60,
            "user or password refused {} times in a row: this profile does not log in anywhere for a while, because BMCs lock accounts; sessions that are open go on",
            state.refusals
        );
    }

    fn check_pause(&self, now: Instant) -> Result<(), String> {
        let left = self.state().paused_until.and_then(|until| until.checked_duration_since(now));
        match left.filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(format!(
                "profile {} does not log in for {} min more, because user or password were refused",
                self.name,
                left.as_secs().div_ceil(60)
            )),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The password, from where the settings say.
async fn secret(settings: &ProfileSettings) -> Result<Secret, String> {
    let text = if !settings.password_command.is_empty() {
        from_command(&settings.password_command).await?
    } else if !settings.password_env.is_empty() {
        let name = &settings.password_env;
        std::env::var(name).map_err(|_| format!("password_env: the variable {name} is not set"))?
    } else {
        from_file(&settings.password_file)?
    };
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() || first.len() > SECRET_MAX {
        return Err("the password is empty or longer than 1024 bytes".into());
    }
    Ok(Secret(first.to_owned()))
}

fn from_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("password_file {}: {error}", path.display()))
}

/// What a command prints. What it complains about is not passed on: it may hold what nobody should read.
async fn from_command(command: &[String]) -> Result<String, String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(String::new()) };
    let wrong = |why: &str| format!("password_command {}: {why}", PathBuf::from(program).display());
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| wrong(&error.to_string()))?;
    let mut out = child.stdout.take().ok_or_else(|| wrong("has no output"))?.take(2 * SECRET_MAX as u64);
    let mut text = String::new();
    let run = async {
        out.read_to_string(&mut text).await?;
        child.wait().await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, run).await {
        Err(_) => Err(wrong("took longer than 10 s")),
        Ok(Err(error)) => Err(wrong(&error.to_string())),
        Ok(Ok(status)) if !status.success() => Err(wrong(&format!("failed ({status})"))),
        Ok(Ok(_)) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(settings: ProfileSettings) -> Profile {
        Profile::new("ops", &ProfileSettings { user: "monitor".into(), ..settings })
    }

    fn command(arguments: &[&str]) -> Profile {
        let password_command = arguments.iter().map(|&one| one.into()).collect();
        profile(ProfileSettings { password_command, ..ProfileSettings::default() })
    }

    async fn password(profile: &Profile) -> Result<String, String> {
        profile.attempt().await.map(|attempt| attempt.secret.expose().to_owned())
    }

    #[actix_rt::test]
    async fn a_password_comes_from_a_file_a_variable_or_a_command() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "s3cret word\nsecond line\n").expect("written");
        let from_file = ProfileSettings { password_file: file.path().into(), ..ProfileSettings::default() };
        assert_eq!(password(&profile(from_file)).await.as_deref(), Ok("s3cret word"));
        assert_eq!(password(&command(&["printf", "%s\\n", "a;b $HOME"])).await.as_deref(), Ok("a;b $HOME"), "no shell");
        let from_env = ProfileSettings { password_env: "PATH".into(), ..ProfileSettings::default() };
        assert_eq!(password(&profile(from_env)).await.ok(), std::env::var("PATH").ok());
    }

    #[actix_rt::test]
    async fn without_a_password_the_reason_names_the_setting() {
        let missing = ProfileSettings { password_env: "NO_SUCH_VARIABLE".into(), ..ProfileSettings::default() };
        for (profile, part) in [
            (profile(missing), "password_env"),
            (
                profile(ProfileSettings { password_file: "/nowhere".into(), ..ProfileSettings::default() }),
                "password_file",
            ),
            (command(&["/nowhere/command"]), "password_command"),
            (command(&["false"]), "failed"),
            (command(&["true"]), "empty"),
        ] {
            let why = password(&profile).await.expect_err(part);
            assert!(why.contains(part) && why.contains("profile ops"), "{why}");
        }
    }

    #[actix_rt::test]
    async fn two_refusals_in_a_row_pause_the_profile_and_the_password_is_read_anew_after() {
        let profile = command(&["echo", "hunter2"]);
        let start = Instant::now();
        assert!(profile.attempt().await.is_ok());
        profile.refused("https://a", start);
        assert!(profile.attempt().await.is_ok(), "once may be a mistake of that BMC");
        profile.accepted();
        profile.refused("https://a", start);
        profile.refused("https://b", start);
        assert_eq!(profile.state().secret, None);
        let why = password(&profile).await.expect_err("a pause");
        assert!(why.contains("15 min") && !why.contains("hunter2"), "{why}");
        assert!(profile.check_pause(start + Duration::from_secs(14 * 60)).is_err());
        assert!(profile.check_pause(start + PAUSE).is_ok());
        // After the pause one refusal is enough.
        profile.refused("https://a", start + PAUSE);
        assert!(profile.check_pause(start + PAUSE + Duration::from_secs(60)).is_err());
        assert!(!format!("{profile:?}").contains("hunter2"));
    }

    #[actix_rt::test]
    async fn until_one_was_accepted_no_more_try_at_once_than_may_be_refused() {
        let profile = command(&["echo", "hunter2"]);
        let (first, second) = (profile.attempt().await.expect("a turn"), profile.attempt().await.expect("a turn"));
        let waits = tokio::time::timeout(Duration::from_millis(50), profile.attempt()).await;
        assert!(waits.is_err(), "a third waits");
        profile.accepted();
        drop(first);
        assert!(profile.attempt().await.is_ok() && profile.attempt().await.is_ok() && profile.attempt().await.is_ok());
        assert!(!format!("{:?}", second.secret).contains("hunter2"));
    }
}
