//! docs/API.md and the OpenAPI document, held to the aggregator that runs.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aggregator::http::codes::CODES;
use serde_json::Value;

use crate::harness::{Done, Home, Server, client, get, output, tool};

/// Names schemathesis where it is not on the path.
const SCHEMATHESIS: &str = "WATTLEDGER_SCHEMATHESIS";
/// What the examples say to an aggregator of this address.
const DOCUMENTED: &str = "http://127.0.0.1:9810";

fn api_md() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/API.md");
    std::fs::read_to_string(path).expect("docs/API.md")
}

/// An aggregator with prices, labels and a budget.
fn start(home: &Home) -> Server {
    let rates = "[[rate]]\nsite = \"par1\"\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\npue = \"1.50\"\n";
    let rates = home.write("rates.toml", rates);
    let inventory = home.write("inventory.csv", "host,site,rack\nnode-17,par1,r1\nnode-18,par1,r2\n");
    let budgets = home.write("budgets.toml", "[[budget]]\nname = \"nlp\"\nwhere = \"team=nlp\"\nkwh = \"1000\"\n");
    let [rates, inventory, budgets] = [rates, inventory, budgets].map(|path| path.display().to_string());
    let config = format!(
        "[files]\ninventory = '{inventory}'\nrates = '{rates}'\n[budgets]\nfile = '{budgets}'\n[server]\ntimezone = \"UTC\"\n"
    );
    let config = home.write("wattledger.toml", config);
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

/// An example and the statuses that its calls are documented to have.
struct Example {
    script: String,
    statuses: Vec<String>,
}

/// The shell blocks of the page, each with the line after it.
fn examples(page: &str) -> Vec<Example> {
    let blocks = page.split("\n```sh\n").skip(1);
    let read = |block: &str| {
        let (script, rest) = block.split_once("\n```\n").expect("an end of the block");
        let says = rest.lines().next().unwrap_or_default();
        assert!(says.starts_with("Answers `"), "no status after\n{script}\n{says}");
        let numbers =
            says.split('`').filter(|word| word.len() == 3 && word.bytes().all(|digit| digit.is_ascii_digit()));
        Example { script: script.to_owned(), statuses: numbers.map(str::to_owned).collect() }
    };
    blocks.map(read).collect()
}

/// A curl in front of the real one that also tells the status, on standard error.
fn telling_curl(home: &Home, curl: &Path) -> PathBuf {
    let folder = home.path("bin");
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = format!("#!/bin/sh\nexec '{}' -w '%{{stderr}}%{{http_code}}\\n' \"$@\"\n", curl.display());
    let path = folder.join("curl");
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("may be run");
    folder
}

/// Pastes an example into a shell.
fn paste(home: &Home, server: &Server, folder: &Path, example: &Example) -> Done {
    let mut command = home.command("/bin/sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display()));
    command.arg("-c").arg(example.script.replace(DOCUMENTED, &server.url));
    output(home, command, Duration::from_secs(60))
}

/// Runs every example of the page; gives how many calls that were.
fn paste_all(home: &Home, server: &Server) -> Option<usize> {
    let curl = tool("curl", "the examples of docs/API.md")?;
    let folder = telling_curl(home, &curl);
    let mut calls = 0;
    for example in examples(&api_md()) {
        let done = paste(home, server, &folder, &example);
        let told: Vec<&str> = done.err.lines().collect();
        calls += told.len();
        let is_as_documented = match &*example.statuses {
            [one] => told.iter().all(|status| status == one),
            several => told == *several,
        };
        assert!(is_as_documented && !told.is_empty(), "{}\n{told:?}\n{}", example.script, done.out);
    }
    Some(calls)
}

#[test]
fn every_documented_example_answers_as_documented() {
    let home = Home::new();
    let server = start(&home);
    let Some(calls) = paste_all(&home, &server) else { return };
    assert!(calls >= 40, "{calls}");
    // They were no empty questions.
    let rollup = get(&format!("{}/api/v1/rollup?window=2026-10&where=host=node-17", server.url)).json();
    // 60 s × (412.5 W + 398 W) ÷ 2, and 60 s × (398 W + 405.25 W) ÷ 2.
    assert_eq!(rollup["total"]["energy_uj"], "48412500000");
}

/// Status, tag and body of an answer, for somebody who may have one already.
fn fetched(url: &str, known: Option<&str>) -> (u16, String, Vec<u8>) {
    let client = client();
    let request = known.iter().fold(client.get(url), |request, tag| request.header("if-none-match", *tag));
    let answer = request.send().unwrap_or_else(|why| panic!("GET {url}: {why}"));
    let tag = answer.headers().get("etag").map_or("", |tag| tag.to_str().expect("text")).to_owned();
    (answer.status().as_u16(), tag, answer.bytes().expect("a whole answer").to_vec())
}

#[test]
fn what_stays_as_it_is_is_sent_once_and_what_does_not_has_no_tag() {
    let home = Home::new();
    let server = start(&home);
    if paste_all(&home, &server).is_none() {
        return;
    }
    for path in [
        "statements/2026-10?site=par1",
        "statements/2026-10?site=par1&format=csv",
        "statements/2026-10?site=par1&format=focus",
        "statements/2026-10?site=par1&format=html",
        "statements/2026-10?site=par1&by=host",
        "report?window=2026-10&by=team",
        "report?window=2026-10&by=team&format=csv",
        "openapi.json",
        "docs",
    ] {
        let url = format!("{}/api/v1/{path}", server.url);
        let (status, tag, body) = fetched(&url, None);
        assert_eq!((status, tag.starts_with('"'), body.is_empty()), (200, true, false), "{path}: {tag}");
        assert_eq!(fetched(&url, Some(&tag)), (304, tag.clone(), Vec::new()), "{path}");
        assert_eq!(fetched(&url, Some("\"another\"")), (200, tag, body), "{path}: the same bytes");
    }
    for path in ["rollup?window=24h", "report?window=24h&format=csv", "hosts", "top"] {
        let (status, tag, _) = fetched(&format!("{}/api/v1/{path}", server.url), Some("*"));
        assert_eq!((status, tag.as_str()), (200, ""), "{path}");
    }
}

#[test]
fn every_operation_has_an_example_and_every_example_is_an_operation() {
    let home = Home::new();
    let server = start(&home);
    let document = get(&format!("{}/api/v1/openapi.json", server.url)).json();
    let told = |(path, item): (&String, &Value)| -> Vec<String> {
        item.as_object().expect("a path").keys().map(|method| format!("{} {path}", method.to_uppercase())).collect()
    };
    let operations: BTreeSet<String> = document["paths"].as_object().expect("paths").iter().flat_map(told).collect();
    let page = api_md();
    let sections = page.split("\n### `").skip(1);
    let documented: BTreeSet<String> = sections
        .map(|section| {
            let (name, rest) = section.split_once('`').expect("a name");
            assert!(rest.split("\n## ").next().unwrap_or_default().contains("\n```sh\n"), "{name} has no example");
            name.to_owned()
        })
        .collect();
    assert_eq!(documented, operations);
}

#[test]
fn the_codes_of_the_page_are_those_of_the_code() {
    let rows = CODES.iter().map(|code| {
        let statuses: Vec<String> = code.statuses.iter().map(u16::to_string).collect();
        format!("| `{}` | {} | {} |", code.code, statuses.join(", "), code.meaning)
    });
    let page = api_md();
    let told: Vec<&str> = page.lines().skip_while(|line| *line != "|---|---|---|").skip(1).collect();
    assert_eq!(told, rows.collect::<Vec<_>>());
}

/// What a page names to be loaded.
fn loaded(page: &str) -> Vec<&str> {
    let of = |attribute| page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
    of("src=\"").chain(of("href=\"")).collect()
}

#[test]
fn the_documentation_page_is_all_here() {
    let home = Home::new();
    let server = start(&home);
    let page = get(&format!("{}/api/v1/docs", server.url));
    assert_eq!((page.status, page.kind.as_str()), (200, "text/html"));
    let parts = loaded(&page.body);
    assert!(parts.len() >= 6, "{parts:?}");
    for part in parts {
        assert!(!part.contains("//"), "{part} lies elsewhere");
        let answer = client().get(format!("{}/api/v1/{part}", server.url)).send().expect("an answer");
        assert_eq!(answer.status(), 200, "{part}");
        // Nothing else may be loaded, whatever the script has in mind.
        let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
        assert!(!policy.contains("http"), "{policy}");
    }
    let start = get(&format!("{}/api/v1/docs/swagger-initializer.js", server.url)).body;
    assert!(start.contains("\"url\": \"openapi.json\"") && start.contains("\"validatorUrl\": \"none\""), "{start}");
    assert!(!start.contains("petstore"), "{start}");
}

/// The program, or nothing and a visible line.
fn schemathesis() -> Option<PathBuf> {
    match std::env::var_os(SCHEMATHESIS) {
        Some(path) => Some(PathBuf::from(path)),
        None => tool("st", &format!("schemathesis against the document ({SCHEMATHESIS} may name the program)")),
    }
}

#[test]
fn schemathesis_finds_no_answer_that_is_not_documented() {
    let Some(program) = schemathesis() else { return };
    let home = Home::new();
    let server = start(&home);
    // So that there is something to find, under the names that the document's examples have.
    paste_all(&home, &server);
    let mut command = home.command(program.to_str().expect("a plain path"));
    command.arg("run").arg(format!("{}/api/v1/openapi.json", server.url)).args(["--url", &server.url]);
    // Not `allow`: a host or job may be called `x/stop`, so that GET is possible there, too.
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance,unsupported_method";
    command.args(["--checks", checks, "--phases", "examples,coverage,fuzzing", "--seed", "1"]);
    command.args(["--max-examples", "20", "--request-timeout", "30", "--continue-on-failure"]);
    // An answer that never ends.
    command.args(["--exclude-path", "/api/v1/events"]);
    command.args(["--suppress-health-check", "all", "--warnings", "off"]).stdin(Stdio::null());
    let done = output(&home, command, Duration::from_secs(240));
    let done = done.ok();
    assert!(done.out.contains("No issues found") || done.out.contains("passed"), "{}", done.out);
    let ready = get(&format!("{}/readyz", server.url));
    assert_eq!(ready.status, 200, "{}", ready.body);
}
