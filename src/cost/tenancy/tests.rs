use super::*;

const A: TenantId = TenantId(2);
const B: TenantId = TenantId(3);

fn held(tenant: TenantId, span: Range<i64>, devices: &[&str], cores: u32, cores_of: u32) -> Held {
    let devices = devices.iter().map(|name| Arc::from(*name)).collect();
    let job = u64::from(tenant.0);
    Held { from: Utc(span.start), until: Utc(span.end), tenant, job, devices, cores, cores_of, gpus: 0 }
}

fn machine(held: Vec<Held>) -> Tenancy {
    Tenancy::new(held, accounts())
}

fn accounts() -> Vec<(Scope, Arc<str>)> {
    let gpus = (0..4).map(|n| (Scope::Gpu, format!("GPU-{n}").into()));
    let cpus = (0..2).map(|n| (Scope::Cpu, format!("package-{n}").into()));
    let others = [(Scope::Gpu, "GPU-0/1".into()), (Scope::Dram, "".into()), (Scope::Dram, "package-9".into())];
    gpus.chain(cpus).chain(others).collect()
}

/// Who has a line, part by part: `2:1/4 1:3/4 @50`.
fn told(held: Vec<Held>, scope: Option<Scope>, device: &str) -> String {
    let mut machine = machine(held);
    let parts = machine.parts(&(Utc(0)..Utc(100)), &[]);
    let part = |(until, shares): (Utc, Shares)| {
        let of: Vec<_> = shares.of.iter().map(|(who, weight)| format!("{}:{weight}", who.0)).collect();
        let sign = if shares.by_number { "#" } else { "@" };
        format!("{}/{} {sign}{}", of.join(" "), shares.whole, until.0)
    };
    let account = scope.map(|scope| {
        let is_it = |account: &(Scope, Arc<str>)| account.0 == scope && *account.1 == *device;
        accounts().iter().position(is_it).expect("an account of the machine")
    });
    parts.shares(account).map(part).collect::<Vec<_>>().join(", ")
}

#[test]
fn devices_go_to_whom_names_them_and_the_rest_by_cores() {
    let job = || vec![held(A, 20..60, &["GPU-0"], 16, 64)];
    assert_eq!(told(job(), Some(Scope::Gpu), "GPU-0"), "1:1/1 @20, 2:1/1 @60, 1:1/1 @100");
    assert_eq!(told(job(), Some(Scope::Gpu), "GPU-1"), "1:1/1 @20, 1:1/1 @60, 1:1/1 @100");
    assert_eq!(told(job(), Some(Scope::Cpu), "package-0"), "1:1/1 @20, 2:16 1:48/64 @60, 1:1/1 @100");
    assert_eq!(told(job(), None, ""), "1:1/1 @20, 2:16 1:48/64 @60, 1:1/1 @100");
    let package = || vec![held(A, 0..100, &["package-1"], 1, 2)];
    assert_eq!(told(package(), Some(Scope::Cpu), "package-1"), "2:1/1 @100");
    assert_eq!(told(package(), Some(Scope::Cpu), "package-0"), "1:1/1 @100");
    assert_eq!(told(package(), Some(Scope::Dram), "package-9"), "2:1 1:1/2 @100");
}

#[test]
fn several_on_one_device_share_it_evenly_and_too_many_cores_are_scaled_down() {
    let two = || vec![held(A, 0..100, &["GPU-0"], 48, 64), held(B, 50..100, &["GPU-0"], 48, 64)];
    assert_eq!(told(two(), Some(Scope::Gpu), "GPU-0"), "2:1/1 @50, 2:1 3:1/2 @100");
    assert_eq!(told(two(), Some(Scope::Dram), ""), "2:48 1:16/64 @50, 2:48 3:48/96 @100");
    let sizes = vec![held(A, 0..100, &[], 1, 4), held(B, 0..100, &[], 2, 6)];
    assert_eq!(told(sizes, None, ""), "2:3 3:4 1:5/12 @100");
}

#[test]
fn instances_share_their_board_by_their_number() {
    let two =
        vec![held(A, 0..100, &["MIG-GPU-0/1/0", "MIG-GPU-0/2/0"], 0, 0), held(B, 0..100, &["MIG-GPU-0/3/0"], 0, 0)];
    assert_eq!(told(two, Some(Scope::Gpu), "GPU-0"), "2:2 3:1/3 @100");
    let board = vec![held(A, 0..100, &["GPU-0"], 0, 0)];
    assert_eq!(told(board, Some(Scope::Gpu), "GPU-0/1"), "2:1/1 @100");
}

#[test]
fn who_is_alone_on_a_machine_of_unknown_size_holds_it() {
    let alone = || vec![held(A, 0..100, &[], 0, 0), held(B, 50..100, &["GPU-1"], 0, 0)];
    assert_eq!(told(alone(), None, ""), "2:1/1 @50, 1:1/1 @100");
    assert_eq!(told(alone(), Some(Scope::Gpu), "GPU-3"), "2:1/1 @50, 1:1/1 @100");
    assert_eq!(told(vec![held(A, 0..100, &["GPU-1"], 0, 0)], Some(Scope::Gpu), "GPU-3"), "1:1/1 @100");
    assert_eq!(told(vec![held(A, 0..100, &[], 4, 8)], Some(Scope::Gpu), "GPU-3"), "1:1/1 @100");
}

#[test]
fn gpus_by_number_are_a_share_of_those_that_nobody_names() {
    let number = |tenant, gpus| Held { gpus, ..held(tenant, 0..100, &[], 1, 2) };
    assert_eq!(told(vec![number(A, 2)], Some(Scope::Gpu), "GPU-0"), "2:2 1:2/4 #100");
    assert_eq!(told(vec![number(A, 4)], Some(Scope::Gpu), "GPU-0"), "2:1/1 @100");
    let beside = || vec![number(A, 2), held(B, 0..100, &["GPU-0"], 0, 0)];
    assert_eq!(told(beside(), Some(Scope::Gpu), "GPU-0"), "3:1/1 @100");
    assert_eq!(told(beside(), Some(Scope::Gpu), "GPU-1"), "2:2 1:1/3 #100");
    assert_eq!(told(vec![number(A, 4), number(B, 2)], Some(Scope::Gpu), "GPU-1"), "2:4 3:2/6 #100");
}

#[test]
fn a_job_told_twice_counts_once() {
    let twice = vec![held(A, 10..60, &["GPU-0"], 16, 64), held(A, 0..70, &[], 16, 64)];
    assert_eq!(told(twice, None, ""), "2:16 1:48/64 @10, 2:16 1:48/64 @60, 2:16 1:48/64 @70, 1:1/1 @100");
}

#[test]
fn slots_follow_each_other_and_quiet_ones_keep_the_epoch() {
    let mut machine = machine(vec![held(A, 150..250, &[], 1, 2), held(B, 900..901, &[], 1, 1)]);
    let mut epochs = Vec::new();
    for slot in 0..10 {
        let parts = machine.parts(&(Utc(slot * 100)..Utc(slot * 100 + 100)), &[]);
        epochs.push((parts.epoch(), parts.is_whole()));
    }
    assert_eq!(epochs[3..9].iter().map(|(epoch, _)| epoch).collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert!(!epochs[1].1 && !epochs[2].1 && epochs[3].1 && !epochs[9].1);
}
