//! By the socket.

use std::time::{Duration, Instant};

use agents::clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Machine, held, names, words};

const SECOND: u64 = 1_000_000_000;

#[actix_rt::test]
async fn a_job_is_told_in_three_lines_and_nonsense_is_refused_by_name() {
    let machine = Machine::new();
    let agent = machine.start();
    let start = json!({"start": {"id": "4711", "user": "alice", "account": "nlp", "labels": {"partition": "gpu"},
        "devices": [crate::gpu(1), "0"], "cores": 4, "cores_of": 16}});
    let answer = machine.say_soon(&start).await;
    assert!(answer["ok"] == true && answer["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{answer}");
    for (line, word) in [
        (json!({"start": {"id": "1", "devices": ["2"]}}), "\"2\""),
        (json!({"start": {"id": "1", "devices": ["GPU-other"]}}), "GPU-other"),
        (json!({"start": {"id": "1", "cores": 9, "cores_of": 8}}), "cores"),
        (json!({"start": {"id": ""}}), "id"),
        (json!({"stop": "1", "at": "2001-01-01T00:00:00Z"}), "before the machine started"),
        (json!({"stop": "1", "at": "2101-01-01T00:00:00Z"}), "ahead"),
        (json!("hello"), "no message"),
    ] {
        let answer = machine.say(&line).await;
        assert!(answer["error"].as_str().is_some_and(|why| why.contains(word)), "{line}: {answer}");
    }
    assert_eq!(machine.say(&json!({"cut": true})).await["ok"], true);
    assert_eq!(machine.say(&json!({"stop": "4711"})).await["ok"], true);
    assert!(agent.stop().await, "everything is delivered");
    let marks = machine.fake.seen().marks();
    assert_eq!(words(&marks), ["+4711", "|", "-4711"]);
    assert_eq!(held(&marks[0]), (names(&[0, 1]), 4, 16));
    assert!(marks.is_sorted_by_key(|(at, _)| *at));
    assert!(!std::path::Path::new(&machine.settings.jobs.socket).exists(), "it is taken away at the end");
}

#[actix_rt::test]
async fn sensors_are_read_at_a_mark() {
    let mut machine = Machine::new();
    let period_s = 20;
    machine.settings.sources.simulated.period_ms = period_s * 1000;
    let agent = machine.start();
    assert_eq!(machine.say_soon(&json!({"start": {"id": "1", "devices": ["0"]}})).await["ok"], true);
    // What was read a moment ago is not read again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Far from the instants at which the clock asks for readings.
    while !(3..period_s - 5).contains(&(clock::boot_ns() / SECOND % period_s)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(machine.say(&json!({"stop": "1"})).await["ok"], true);
    let at = machine.marks(2).await[1].0;
    let since = Instant::now();
    let next = loop {
        let instants = machine.fake.seen().instants().concat();
        if let Some(next) = instants.into_iter().filter(|instant| *instant > at).min() {
            break next;
        }
        assert!(since.elapsed() < Duration::from_secs(8), "no reading follows the mark");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(next - at < 2 * SECOND, "a reading comes {} ms behind the mark", (next - at) / 1_000_000);
    // The clock goes on as before: readings that were asked for put off none.
    let now = clock::boot_ns();
    let due = now - now % (period_s * SECOND) + period_s * SECOND;
    tokio::time::sleep(Duration::from_nanos(due - now + 3 * SECOND)).await;
    // The last look comes later than what a busy machine puts off.
    agent.stop().await;
    let instants = machine.fake.seen().instants().concat();
    let near = instants.iter().filter(|instant| instant.abs_diff(due) < 2 * SECOND).count();
    assert_eq!(near, 1, "{due} in {instants:?}");
}

#[actix_rt::test]
async fn whoever_hangs_blocks_nobody() {
    let machine = Machine::new();
    let agent = machine.start();
    let mut hanging = Vec::new();
    for _ in 0..40 {
        let mut stream = machine.connect().await;
        stream.write_all(b"{\"stop\":").await.expect("written");
        hanging.push(stream);
    }
    let since = Instant::now();
    assert_eq!(machine.say(&json!({"stop": "1"})).await["ok"], true);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    // They are sent away after a while, unheard.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), hanging[0].read_to_end(&mut rest)).await;
    assert!(matches!(ended, Ok(Ok(0))), "{ended:?}");
    // What never ends its line is told so.
    let mut endless = machine.connect().await;
    let written = endless.write_all(&vec![b' '; 300 << 10]).await;
    endless.shutdown().await.expect("shut down");
    let mut answer = String::new();
    let read = endless.read_to_string(&mut answer).await;
    assert!(answer.contains("longer than"), "{written:?} {read:?} {answer}");
    agent.stop().await;
    assert_eq!(words(&machine.fake.seen().marks()), ["-1"]);
}
