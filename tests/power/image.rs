//! The data lie on ext4 in an image file. The process is stopped and the image copied: what is not in
//! the copy had not reached the disk. The file system of the copy replays its journal, and the
//! aggregator starts on what it finds.
//!
//! The image is mounted in a mount namespace of the aggregator's own, so that nothing stays mounted
//! whatever ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cut::Draw;
use crate::harness::{Home, slot_ago_ms, tool};
use crate::senders::{Held, Senders};
use crate::victim::Victim;
use crate::{cuts, seed};

const HOSTS: u64 = 18;
const IMAGE_BYTES: u64 = 128 << 20;
/// Mounts an image (`$0`) at a folder (`$1`) and becomes the command that follows.
const MOUNT_AND_RUN: &str = r#"mount -o loop,nodiscard "$0" "$1" && shift && exec "$@""#;

/// Whether this machine lets us; if not, a visible line says why.
fn can_mount(home: &Home) -> bool {
    const SKIPPED: &str = "power cuts of a disk image";
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: {SKIPPED}: only root can mount one");
        return false;
    }
    if ["mkfs.ext4", "unshare", "mount"].iter().any(|name| tool(name, SKIPPED).is_none()) {
        return false;
    }
    let image = home.path("trial.img");
    make(&image);
    let trial = in_image(&image, &home.path(""), &Command::new("true")).output().expect("unshare runs");
    if !trial.status.success() {
        eprintln!("SKIPPED: {SKIPPED}: {}", String::from_utf8_lossy(&trial.stderr).trim());
    }
    trial.status.success()
}

fn make(image: &Path) {
    std::fs::File::create(image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("a sparse file");
    let made = Command::new("mkfs.ext4").arg("-q").arg(image).output().expect("mkfs.ext4 runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The command, on a machine of its own that sees the image at `folder`.
fn in_image(image: &Path, folder: &Path, command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_RUN]).arg(image).arg(folder);
    wrapped.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// Stops a process, takes what its disk holds, and ends it.
fn take_power(victim: &mut Victim, image: &Path, copy: &Path) {
    kill_process(Pid::from_child(&victim.child), Signal::STOP).expect("a running aggregator");
    std::fs::copy(image, copy).expect("a copy of the image");
    victim.child.kill().expect("a stopped aggregator");
    victim.child.wait().expect("its end");
}

#[test]
fn what_was_acknowledged_is_on_the_image() {
    let home = Home::new();
    if !can_mount(&home) {
        return;
    }
    std::fs::create_dir(home.data()).expect("a folder");
    let mut draw = Draw(seed() + 7);
    let mut senders = Senders::new(HOSTS, slot_ago_ms(24 * 20));
    let mut image: PathBuf = home.path("disk-0.img");
    make(&image);
    let (count, mut unanswered, mut restored) = (cuts(4), 0, 0);
    for round in 0..=count {
        let mut command = home.serve("127.0.0.1:0", &[]);
        command.env("WATTLEDGER__STORE__EXPORT_EVERY_S", "2").env("WATTLEDGER_LOG", "info");
        let mut victim = Victim::start(in_image(&image, &home.data(), &command), &home.path("serve.log"));
        let url = victim.url.clone().unwrap_or_else(|| panic!("it does not start\n{}", victim.said));
        let Held { lost, unanswered: more, .. } = senders.check(&url).expect("an answer");
        assert_eq!(lost, 0, "after {round} cuts\n{}", victim.said);
        unanswered += more;
        restored += u64::from(victim.said.contains("restored from"));
        senders.catch_up(&url);
        let held = senders.check(&url).expect("an answer");
        assert_eq!((held.lost, held.unanswered), (0, 0), "after everything was sent again");
        if round == count {
            break;
        }
        let moment = Duration::from_millis(draw.up_to(1_500));
        let copy = home.path(&format!("disk-{}.img", round + 1));
        let since = Instant::now();
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| senders.post_until(&url, &|| false));
            std::thread::sleep(moment.saturating_sub(since.elapsed()));
            take_power(&mut victim, &image, &copy);
            posting.join().expect("the senders end with the aggregator");
        });
        std::fs::remove_file(&image).expect("the old image");
        image = copy;
    }
    println!(
        "disk image: {count} cuts, {} posts acknowledged, 0 lost, {unanswered} there unanswered, {restored} restores",
        senders.acknowledged()
    );
}
