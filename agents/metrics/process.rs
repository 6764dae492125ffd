//! What the kernel says of this process, under the names that every Prometheus client uses.

use std::fs;

use super::page::{Page, thousandths};

/// `/proc` counts in hundredths of a second on every Linux: `USER_HZ` is part of its interface.
const TICKS_PER_SECOND: u64 = 100;

/// Writes what can be read; elsewhere than on Linux that is nothing.
pub(super) fn write(page: &mut Page) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some((user, system)) = field(14).zip(field(15)) {
        page.counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.");
        page.series([], thousandths((user + system) * 1000 / TICKS_PER_SECOND));
    }
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|stat| number_after(&stat, "btime"));
    let open_files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            number_after(&status, "VmRSS:").map(|kb| kb * 1024),
        ),
        ("process_open_fds", "Number of open file descriptors.", open_files),
        ("process_max_fds", "Maximum number of open file descriptors.", number_after(&limits, "Max open files")),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            page.gauge(name, help);
            page.series([], value);
        }
    }
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}
