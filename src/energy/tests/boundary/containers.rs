//! Domains that contain others.

use energy::Missed;
use meter::{Doubt, Scope};

use crate::support::{Entry, bill_of, billed, told};

use Scope::{Cpu, Dram, Gpu, Other};

#[test]
fn each_container_keeps_what_its_contents_do_not_explain() {
    type Case<'a> = (&'a [Entry<'a>], &'a [i128], i128);
    let cases: [Case<'_>; 7] = [
        // The platform contains packages and memory but no GPU; cores are a part of their package.
        (
            &[
                (Cpu, "psys", 30, 900),
                (Cpu, "package-0", 10, 900),
                (Cpu, "package-0/core", 8, 900),
                (Dram, "package-0", 4, 900),
                (Gpu, "a", 100, 900),
            ],
            &[16, 10, 4, 100],
            130,
        ),
        // A sum over all packages, from an exporter, beside the agent's own readings of them.
        (&[(Cpu, "packages", 21, 900), (Cpu, "package-0", 10, 900), (Cpu, "package-1", 10, 900)], &[1, 10, 10], 21),
        (&[(Dram, "packages", 7, 900), (Dram, "package-0", 4, 900), (Cpu, "package-0", 5, 900)], &[3, 4, 5], 12),
        (&[(Cpu, "packages", 21, 900), (Dram, "packages", 7, 900)], &[21, 7], 28),
        // One in the other: 50 of the platform contain 21 of the packages, which contain 20.
        (
            &[
                (Cpu, "package-0", 20, 900),
                (Cpu, "psys", 50, 900),
                (Cpu, "packages", 21, 900),
                (Dram, "packages", 7, 900),
            ],
            &[20, 22, 1, 7],
            50,
        ),
        // A superchip: the module contains what the driver reads of its GPU, and the CPU.
        (&[(Gpu, "GPU-1", 500, 900), (Cpu, "grace-0", 200, 900), (Other, "module-0", 760, 900)], &[500, 200, 60], 760),
        // Which GPU sits in which module is unknown: 100 are left of 400 and 600.
        (
            &[
                (Gpu, "GPU-1", 400, 900),
                (Gpu, "GPU-2", 500, 900),
                (Gpu, "0000:3b:00.0", 11, 900),
                (Other, "module-0", 400, 900),
                (Other, "module-1", 600, 900),
            ],
            &[400, 500, 11, 40, 60],
            1011,
        ),
    ];
    for (entries, expected, total) in cases {
        let (lines, sum, metered) = billed(entries);
        let lines: Vec<i128> = lines.into_iter().map(|(_, joules)| joules).collect();
        assert_eq!((lines.as_slice(), sum, metered), (expected, total, false), "{entries:?}");
    }
}

#[test]
fn what_modules_keep_adds_up_to_the_last_half_picojoule() {
    let entries =
        [(Gpu, "GPU-1", 1, 900), (Other, "module-0", 3, 900), (Other, "module-1", 3, 900), (Other, "module-2", 1, 900)];
    let out = bill_of(&entries, &[], &Missed::default());
    assert_eq!(out.total(), crate::support::joules(7));
}

#[test]
fn a_container_below_its_contents_keeps_a_negative_rest_and_is_flagged() {
    for (packages, flagged) in [(15, true), (18, true), (19, false), (25, false)] {
        let entries = [(Cpu, "packages", packages, 900), (Cpu, "package-0", 10, 900), (Cpu, "package-1", 10, 900)];
        let out = bill_of(&entries, &[], &Missed::default());
        let rest = i128::from(packages) - 20;
        assert_eq!(told(&out).0, [(Some(0), rest), (Some(1), 10), (Some(2), 10)]);
        assert_eq!(out.doubts.contains(Doubt::ContainerBelowContents), flagged, "{packages}");
    }
}

#[test]
fn seconds_that_a_container_missed_are_its_contents() {
    // 10 of the packages' 20 J fall on the half that the exporter saw: it explains them, and 1 J more.
    let entries = [(Cpu, "packages", 11, 450), (Cpu, "package-0", 20, 900)];
    let out = bill_of(&entries, &[], &Missed::default());
    assert_eq!(told(&out), (vec![(Some(0), 1), (Some(1), 20)], 21, false));
    assert!(!out.doubts.contains(Doubt::ContainerBelowContents));
    // And contents that missed some leave it to the container.
    assert_eq!(billed(&[(Cpu, "packages", 22, 900), (Cpu, "package-0", 10, 450)]).1, 22);
}
