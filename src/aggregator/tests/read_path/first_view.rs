//! What the first view of a large fleet takes: 10,000 hosts with 10 devices each.

use std::time::{Duration, Instant};

use aggregator::Settings;
use meter::{Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, fetch_once};

const HOSTS: usize = 10_000;
const DEVICES: [(Scope, &str); 10] = [
    (Scope::Chassis, "bmc"),
    (Scope::Gpu, "g0"),
    (Scope::Gpu, "g1"),
    (Scope::Gpu, "g2"),
    (Scope::Gpu, "g3"),
    (Scope::Gpu, "g4"),
    (Scope::Gpu, "g5"),
    (Scope::Gpu, "g6"),
    (Scope::Cpu, "package-0"),
    (Scope::Cpu, "package-1"),
];

fn now() -> Utc {
    Slot(MONDAY.0 + 2).start()
}

fn large() -> Server {
    let mut fleet = Fleet::new();
    for number in 0..HOSTS {
        let owner = host(&format!("node-{number:05}"));
        fleet.owner(&owner, &DEVICES, MONDAY, Slot(MONDAY.0 + 1));
        let (team, rack) = (format!("team-{}", number % 40), format!("rack-{}", number / 32));
        let site = ["par1", "sto1", "iad2"][number % 3];
        fleet.label(&owner, MONDAY.start(), &[("team", &team), ("rack", &rack), ("site", site)]);
        for slot in [MONDAY, Slot(MONDAY.0 + 1)] {
            fleet.open(&owner, slot, &[cell(kj(450), 900); 10]);
        }
    }
    fleet.settle_all(Slot(MONDAY.0 + 1));
    Server::on(fleet.store, Settings::default(), now)
}

/// CPU that all threads of this process have taken.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a Linux");
    let of = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(of).sum())
}

#[test]
#[cfg_attr(debug_assertions, ignore = "unoptimised it takes a minute: cargo nextest run --release")]
fn the_first_view_of_10_000_hosts_is_small_and_quick() {
    let server = large();
    let begin = Instant::now();
    let (status, _, html) = fetch_once(server.addr, "/", "");
    println!("answered {} bytes after {:?}", html.len(), begin.elapsed());
    assert_eq!(status, 200);
    while !server.get("/").2.contains("This month") {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("made for the first time: {:?}", begin.elapsed());
    for path in ["/", "/?by=host", "/?by=rack&sort=power", "/hosts/node-00007"] {
        server.get(path);
        // What is made anew beside is not part of a view: the least of several has none of it.
        let taken = (0..12).map(|_| {
            let before = cpu();
            let (status, _, html) = server.get(path);
            assert_eq!(status, 200);
            (cpu().saturating_sub(before), html.len())
        });
        let (taken, bytes) = taken.min().expect("several");
        println!("{path}: {bytes} bytes, {taken:?} of CPU");
        assert!(bytes <= 200_000, "{path} has {bytes} bytes");
        assert!(taken <= Duration::from_millis(150) || path != "/", "{path} took {taken:?}");
    }
}
