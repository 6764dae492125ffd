//! What the kernel says of this process, under the names that every Prometheus client uses.

use std::fs;

use super::text::{self, Family, Format, Kind};

/// `/proc` counts in hundredths of a second on every Linux: `USER_HZ` is part of its interface.
const TICKS_PER_SECOND: u64 = 100;

/// Writes what can be read; elsewhere than on Linux that is nothing.
pub fn write(format: Format, out: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |key: &str| number_after(&status, key).map(|kb| kb * 1024);

    if let Some((user, system)) = field(14).zip(field(15)) {
        let ticks = user + system;
        head(format, out, "process_cpu_seconds_total", Kind::Counter, "User and system CPU time spent in seconds.");
        text::value(out, format_args!("{}.{:02}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND));
    }
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|stat| number_after(&stat, "btime"));
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory size in bytes.", kilobytes("VmRSS:")),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", kilobytes("VmSize:")),
        ("process_open_fds", "Number of open file descriptors.", open_files()),
        ("process_max_fds", "Maximum number of open file descriptors.", most_files()),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            head(format, out, name, Kind::Gauge, help);
            text::value(out, value);
        }
    }
}

fn head(format: Format, out: &mut String, name: &'static str, kind: Kind, help: &'static str) {
    format.head(out, &Family { name, kind, help });
    text::series(out, name, []);
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<u64> {
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn most_files() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}
