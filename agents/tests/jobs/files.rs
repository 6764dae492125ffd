//! By files in the drop folder.

use std::time::{Duration, Instant};

use agents::clock;
use jiff::Timestamp;
use serde_json::json;

use crate::{Machine, words};

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn files_are_taken_in_order_dated_by_their_instant_and_deleted() {
    let machine = Machine::new();
    let folder = machine.path("state/jobs");
    std::fs::create_dir_all(&folder).expect("a folder");
    let put = |name: &str, text: String| {
        std::fs::write(folder.join(".new"), text).expect("written");
        std::fs::rename(folder.join(".new"), folder.join(name)).expect("renamed");
    };
    let ago = Timestamp::now() - Duration::from_secs(30);
    put("2.json", format!("{}\n", json!({"stop": "early"})));
    put(
        "1.json",
        format!(
            "{}\n\n{}\n",
            json!({"start": {"id": "early", "devices": ["0"]}, "at": ago.to_string()}),
            json!({"cut": true})
        ),
    );
    put(
        "3.json",
        format!(
            "{}\nnonsense\n{}\n",
            json!({"start": {"id": "late"}}),
            json!({"start": {"id": "x", "devices": ["no-gpu"]}})
        ),
    );
    put("notes.txt", "not for the agent".into());
    let agent = machine.start();
    let marks = machine.marks(4).await;
    assert_eq!(words(&marks), ["+early", "|", "-early", "+late"]);
    let dated = clock::wall_offset_ns().saturating_add_unsigned(marks[0].0);
    let off = (i128::from(dated) - ago.as_nanosecond()).abs();
    // Here and in the agent both clocks are read one after the other, and a busy machine may come between.
    assert!(off < 200_000_000, "dated {off} ns beside its instant");
    assert!(marks[0].0 < marks[1].0, "the others are of now");
    until("files are deleted", || !folder.join("1.json").exists() && !folder.join("3.json").exists()).await;
    assert!(folder.join("notes.txt").exists());
    // The reason comes after the file.
    let reason = folder.join("rejected/3.json.reason");
    until("there is a reason", || reason.exists()).await;
    let reason = std::fs::read_to_string(reason).expect("a reason");
    assert!(
        reason.contains("line 2: no message") && reason.contains("line 3: ") && reason.contains("no-gpu"),
        "{reason}"
    );
    assert!(folder.join("rejected/3.json").exists());
    // What comes while it runs is taken at once.
    let since = Instant::now();
    put("4.json", json!({"stop": "late"}).to_string());
    until("the file is taken", || !folder.join("4.json").exists()).await;
    assert!(since.elapsed() < Duration::from_secs(10), "not by the slow look: {:?}", since.elapsed());
    agent.stop().await;
    assert_eq!(words(&machine.fake.seen().marks()[4..]), ["-late"]);
}

#[actix_rt::test]
async fn a_folder_that_goes_away_is_made_again() {
    let mut machine = Machine::new();
    machine.settings.jobs.drop_dir = machine.path("drop").display().to_string();
    let folder = machine.path("drop");
    let agent = machine.start();
    until("the folder is made", || folder.is_dir()).await;
    std::fs::remove_dir(&folder).expect("removed");
    until("the folder is made again", || folder.is_dir()).await;
    // Whole at once: the folder may be looked at while it is new.
    std::fs::write(folder.join(".new"), json!({"cut": true}).to_string()).expect("written");
    std::fs::rename(folder.join(".new"), folder.join("1.json")).expect("renamed");
    machine.marks(1).await;
    agent.stop().await;
}
