//! `report` against a server that the test plays.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use clap::Parser;
use console::{ConsoleError, ReportArgs, report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    report: ReportArgs,
}

fn args(server: &str, more: &[&str]) -> ReportArgs {
    let all = ["report", "--server", server].into_iter().chain(more.iter().copied());
    Program::try_parse_from(all).expect("good arguments").report
}

/// Answers one request with this status and body; gives back the request's first line.
async fn answer_once(status: &str, body: &str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.expect("a request");
        stream.write_all(answer.as_bytes()).await.expect("answered");
        let text = String::from_utf8_lossy(&request[..read]);
        text.lines().next().unwrap_or_default().to_owned()
    });
    (server, task)
}

#[tokio::test(flavor = "current_thread")]
async fn a_sheet_is_passed_on_as_it_is_into_a_whole_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("october.csv");
    let (server, request) = answer_once("200 OK", "start,end,energy_uj\n").await;
    let file = path.to_str().expect("a path");
    let more = ["--window", "2026-10", "--by", "team,site", "--where", "host=node[01-20]", "--step", "1d"];
    let args = args(&server, &[&more[..], &["--tz", "Europe/Paris", "--format", "csv", "--output", file]].concat());
    report(&args).await.expect("a report");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "start,end,energy_uj\n");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing else is left behind");
    let wanted = "GET /api/v1/report?window=2026-10&by=team%2Csite&where=host%3Dnode%5B01-20%5D&step=1d\
                  &tz=Europe%2FParis&format=csv HTTP/1.1";
    assert_eq!(request.await.expect("the request"), wanted);
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_question_is_a_fault_of_usage_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.txt");
    let problem = r#"{"code":"unknown-key","detail":"by: there is no key \"room\"; known are team","status":400}"#;
    let (server, _request) = answer_once("400 Bad Request", problem).await;
    let error = report(&args(&server, &["--output", path.to_str().expect("a path")])).await.expect_err("refused");
    assert_eq!(error.to_string(), "unknown-key: by: there is no key \"room\"; known are team");
    assert_eq!(error.exit_code(), 2);
    assert!(!path.exists());
}

#[tokio::test(flavor = "current_thread")]
async fn other_refusals_are_failures() {
    let problem = r#"{"code":"overloaded","title":"come again"}"#;
    let (server, _request) = answer_once("503 Service Unavailable", problem).await;
    let error = report(&args(&server, &[])).await.expect_err("refused");
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("overloaded: come again", 1));
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_behind_the_address_is_told_apart() {
    for (status, body) in [("200 OK", "<html>hello</html>"), ("404 Not Found", "<html>no</html>")] {
        let (server, _request) = answer_once(status, body).await;
        let error = report(&args(&server, &[])).await.expect_err("no aggregator");
        assert!(matches!(error, ConsoleError::NotUnderstood { .. }), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_there_says_what_to_do() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = report(&args(&server, &[])).await.expect_err("nobody");
    let text = error.to_string();
    assert!(text.contains(&server) && text.contains("wattledger serve") && text.contains("refused"), "{text}");
    assert_eq!(error.exit_code(), 1);
    let error = report(&args("ftp://nowhere", &[])).await.expect_err("no address");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn the_arguments_are_those_of_the_contract() {
    let args = args("http://x", &["--where", "site=par1", "--format", "focus"]);
    assert_eq!((args.window.as_str(), args.filter.as_deref()), ("lastmonth", Some("site=par1")));
    assert!(Program::try_parse_from(["report", "--format", "pdf"]).is_err());
}
