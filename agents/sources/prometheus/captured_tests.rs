//! Captured pages of exporters, in the folder that `WATTLEDGER_TEST_DATA` names: what a person who reads
//! them would write down.

use std::path::PathBuf;

use super::tests::{Shown, shown};

/// Pages and their accounts: copied from their lines, not from what the program made of them.
const PAGES: [(&str, &str); 15] = [
    (
        "node_exporter-e2e.prom",
        "
cpu:package-0 240422.366267 J
cpu:package-0/core 118821.284256 J",
    ),
    ("node_exporter-darwin-no-power.prom", ""),
    (
        "amd-device-metrics-exporter-mini.prom",
        "
gpu:6699c0a8-4200-4242-037f-f97e6cae0f09 41 W",
    ),
    // A template whose values were never filled in.
    ("all-smi/amd.prom", ""),
    ("all-smi/neuron.prom", ""),
    ("all-smi/real-api-0.28.1-no-gpu.prom", ""),
    (
        "all-smi/nvidia.prom",
        "
gpu:GPU-3dfc25ae-c87f-6d6f-8b05-0ed5b66cc469 572.694 W
gpu:GPU-4f2a5d05-0631-51f1-ab68-a07d86b63d07 517.976 W
gpu:GPU-e7fd6054-e296-6a99-9c23-79a8097eebd5 332.906 W
gpu:GPU-26921455-8228-c316-46fe-f63c3070b210 259.328 W
gpu:GPU-d2a1c574-cb4d-2a6b-2e1a-10fd07db9442 308.154 W
gpu:GPU-8c970dc9-7534-6635-002e-12d312e18029 433.745 W
gpu:GPU-2a229b35-1229-bcc2-24a3-d44243a4714a 357.128 W
gpu:GPU-ac3014f8-792c-15f8-ce9f-05e965821d38 318.776 W",
    ),
    (
        "all-smi/apple.prom",
        "
cpu:packages 20.093 W
gpu:GPU-314dfc13-e31b-fee5-daea-dfcfc665dd39 346.384 W
gpu:GPU-a9cac4c2-130c-433c-284b-3e025209b023 432.209 W
gpu:GPU-fe2046f1-c9ad-7135-5731-0512eb3c6c9f 347.576 W
gpu:GPU-b3307242-5dd9-63f1-90ed-c05a93a71829 489.884 W
gpu:GPU-a8168b67-f7bb-67fb-8bc9-880f26008439 234.281 W
gpu:GPU-7aa5db33-93cc-595f-ae3a-1d24b558c8f6 361.212 W
gpu:GPU-f9b07571-7189-0087-e841-ee258e539072 479.297 W
gpu:GPU-a169c825-0a53-7037-417b-c01985aa1741 346.040 W",
    ),
    (
        "all-smi/jetson.prom",
        "
gpu:GPU-76832e07-5f24-07ae-7512-b610b2a8a71f 248.381 W
gpu:GPU-64cbf86c-f48c-118b-2360-de94d8ca5af1 359.779 W
gpu:GPU-f127a0aa-749b-0e76-9a2d-82dc85d9ea82 250.506 W
gpu:GPU-7936025b-4704-d0db-9328-b93c2a924fa1 311.252 W
gpu:GPU-2504d66d-607e-4ccd-4947-684ee1b226d9 255.718 W
gpu:GPU-e788a7b3-23dd-52bf-5ea0-32d787452bff 377.718 W
gpu:GPU-739fa90a-3bb0-270e-f71d-33694a455c88 681.092 W
gpu:GPU-ba8e39e1-fb42-6985-1580-ef9f8f672ad2 354.339 W",
    ),
    (
        "all-smi/gaudi.prom",
        "
gpu:GPU-3404ba10-7c36-272f-b0cd-c18b827d767c 392.699 W
gpu:GPU-eef1897a-ad57-74eb-5b2f-8a49377a7d8b 458.578 W
gpu:GPU-8b34dc09-f8bd-a28b-c0be-e14859cff1fc 529.862 W
gpu:GPU-19c18930-0811-6410-1c0f-d5b5bb7c55b4 290.009 W
gpu:GPU-fdfee06e-ecbd-528c-466a-9ff98734e92f 266.473 W
gpu:GPU-dd205716-2352-8b0d-a33c-5ef2b009f658 602.913 W
gpu:GPU-dd123c1d-84b3-a0b7-063e-20ebc402bbcb 632.724 W
gpu:GPU-9acebce5-4da1-d7f5-35a0-2e7ae0cc72f6 425.013 W",
    ),
    (
        "all-smi/rebellions.prom",
        "
gpu:GPU-97c3a49b-8c18-3efc-ccaf-465948722e55 584.157 W
gpu:GPU-8fdd98fc-965f-2c0b-5df0-b86b0f2b3c38 619.099 W
gpu:GPU-2f696716-a6fd-7459-45dc-c3c7dd88da01 361.444 W
gpu:GPU-c3313d52-33c3-bffb-15c7-5edb61b21444 327.717 W
gpu:GPU-a93a3f73-c284-8147-11d9-6970cf3abfbb 199.241 W
gpu:GPU-7e40f235-69f9-b4ac-43c2-5b3c311c5605 476.499 W
gpu:GPU-e2d7708e-87fe-6b45-b1e9-4ec9b84efd16 259.130 W
gpu:GPU-08c5e6be-4bda-7998-1c9d-c4421d783e4b 285.430 W",
    ),
    (
        "all-smi/amdgpu.prom",
        "
gpu:2796A4E0-B8D8-B248-C751-506FABF58C24 363.882 W
gpu:1C4D9F15-2F1D-F0B9-5663-97EAEA2D5D9D 524.610 W
gpu:0AE43E58-F7B4-CB4E-E35A-C43669B7B17F 371.912 W
gpu:07507EF4-A59D-7B4F-9A68-9B8FC42B4DBF 456.033 W
gpu:97A2FF75-A678-9CFD-58C3-6121E9A1FFFC 575.567 W
gpu:9A1C63A3-F38A-414A-1583-A8D98A4F3228 366.115 W
gpu:E377AAAC-D2F1-CF3D-5DD4-AB4E7AFC771B 340.566 W
gpu:BCA145D3-AE52-5A9F-3C79-FBF9232B9625 457.928 W",
    ),
    (
        "all-smi/intel.prom",
        "
gpu:1B39BE63-FB4B-F3A1-E8EC-204C7FE007E2 700.000 W
gpu:C6AD2319-6873-BAE2-D4FF-BE58F9C7156B 558.161 W
gpu:055DA64B-1B81-1E16-2133-EB7085BAE70A 605.498 W
gpu:883A4EF3-E40D-9E4C-2EFE-4A9F45B48F1B 248.636 W
gpu:C81F190A-D9B8-AC55-B589-86A8B7CA9EB0 268.037 W
gpu:F6775677-83B2-CBE4-A6CA-4975558ABF14 479.263 W
gpu:EE1F5DDD-34BE-CB79-9BEF-763E8913F330 378.545 W
gpu:6DFC9AB3-357D-3F5F-65B0-C377DC1E0D42 395.249 W",
    ),
    (
        "all-smi/furiosa.prom",
        "
accelerator:8E04053C-9427-13F6-4664-8DD0E67985EF 147.131 W
accelerator:BA05F2EC-D3FD-F253-9611-67DB70F3C38E 84.970 W
accelerator:7005185A-E45C-7794-C57F-BCB5D375F4A4 39.119 W
accelerator:A6C9DF1A-2F35-8B0C-6311-2145D2D78A0F 77.219 W
accelerator:938F04C6-85FB-7499-3749-7BF0CA448B0E 39.547 W
accelerator:C7C3EA3B-4F6E-0CF1-B9E7-759F52471789 41.997 W
accelerator:7DF52E37-9C5A-3B91-1404-6D1378D984A9 40.920 W
accelerator:A75748C8-492A-79F9-7A57-612BACCFE244 39.998 W",
    ),
    (
        "all-smi/tenstorrent.prom",
        "
accelerator:72BEC501-B1E3-6426-2A8B-64E77C68C6F3 261.040 W
accelerator:85A609C9-84FD-43EF-26D0-2D985975980F 471.682 W
accelerator:7EA0F317-8608-1808-CBD3-0C187D0CDA04 536.790 W
accelerator:5F7B95DA-B7CF-CDEC-851E-62FFB45AB27F 426.564 W
accelerator:CE6D1ACE-637A-F3F0-C888-20DF729B1B16 537.313 W
accelerator:CA6EFC4D-2DB7-1C6B-2AAA-622FF95BBE2C 369.188 W
accelerator:10DF879A-E89A-508A-AA32-12E858730F72 365.984 W
accelerator:3C2DAE72-A9DA-36C7-7C76-69818FF85A3E 301.146 W",
    ),
];

/// The one page that has a counter beside each power.
const EIGHT_H200: &str = "all-smi/real-api-0.28.1-fake-8xH200.prom";

fn folder() -> Option<PathBuf> {
    let Some(data) = std::env::var_os("WATTLEDGER_TEST_DATA") else {
        eprintln!("SKIPPED: captured pages: WATTLEDGER_TEST_DATA does not name the folder with them");
        return None;
    };
    Some(PathBuf::from(data).join("exporter-pages"))
}

fn page(folder: &std::path::Path, name: &str) -> Shown {
    shown(&std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

#[test]
fn captured_pages_give_exactly_what_a_person_would_write_down() {
    let Some(folder) = folder() else { return };
    for (name, expected) in PAGES {
        let mut expected: Vec<&str> = expected.trim().lines().collect();
        expected.sort_unstable();
        let mut found = page(&folder, name);
        found.accounts.sort_unstable();
        let expected: Vec<String> = expected.into_iter().map(super::tests::in_small_units).collect();
        assert_eq!(found.accounts, expected, "{name}");
        let refused = if name == "all-smi/amd.prom" { vec!["power-not-finite 8"] } else { Vec::new() };
        assert_eq!(found.refused, refused, "{name}");
    }
}

#[test]
fn a_page_with_counters_gives_both_values_of_each_device() {
    let Some(folder) = folder() else { return };
    let found = page(&folder, EIGHT_H200);
    let expected = |n| format!("gpu:GPU-aaaaaaaa-0000-0000-0000-00000000000{n} 400000 mW 7242184000 uJ");
    assert_eq!(found.accounts, (0..8).map(expected).collect::<Vec<_>>());
    assert!(found.refused.is_empty());
    assert!(found.remarks.iter().any(|remark| remark.contains("sum of what it reads")), "{:?}", found.remarks);
}

/// By the processor's time of this thread, whatever else the machine does: 0.6 ms in a build for tests. The
/// bound is what a hundred such pages every 15 s may cost an agent: a tenth of a core.
#[test]
fn five_thousand_lines_of_which_two_are_of_interest_cost_little() {
    let Some(folder) = folder() else { return };
    let page = std::fs::read(folder.join("node_exporter-e2e.prom")).expect("a page");
    let cpu_ns = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    };
    let since = cpu_ns();
    for _ in 0..50 {
        assert_eq!(shown(std::hint::black_box(&page)).accounts.len(), 2);
    }
    let each_us = (cpu_ns() - since) / 50_000;
    println!("{} bytes in {each_us} us", page.len());
    assert!(each_us < 15_000, "{each_us} us");
}
