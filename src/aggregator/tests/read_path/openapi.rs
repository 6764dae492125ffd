//! The document against what is served: every route, every parameter, every code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use aggregator::Settings;
use aggregator::http::codes::{CODES, find};
use meter::Slot;
use serde_json::Value;

use crate::fleet::{Fleet, MONDAY};
use crate::served::{Server, fetch};

fn server() -> Server {
    Server::on(Arc::clone(&Fleet::new().store) as _, Settings::default(), || Slot(MONDAY.0 + 2).start())
}

fn document(server: &Server) -> Value {
    server.json("/api/v1/openapi.json")
}

/// Method and path of every operation, with the operation.
fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &'_ Value)| {
        let item = item.as_object().expect("a path");
        item.keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    let names = paths.iter().flat_map(of_path);
    names
        .map(|(method, path)| {
            let operation = &document["paths"][&path][method.to_lowercase()];
            ((method, path), operation)
        })
        .collect()
}

/// Rust sources of the interface, without tests.
fn sources(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") || path.ends_with("benches") {
            continue;
        }
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            all.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned());
        }
    }
}

fn interface() -> Vec<String> {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("http"), &mut all);
    all
}

/// The routes that the code registers: of each `web::resource("/…")` its methods.
fn registered() -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    let mut verbs = 0;
    for source in interface() {
        verbs += source.matches("web::get()").count() + source.matches("web::post()").count();
        verbs += source.matches("web::put()").count();
        let text = source.replace('\n', " ");
        for (at, _) in text.match_indices("web::resource(\"/") {
            let (path, rest) = text[at + 15..].split_once('"').expect("an end of the path");
            let own = rest.split("web::resource").next().and_then(|own| own.split(';').next()).unwrap_or_default();
            let path = path.replace(":.+}", "}").replace(":.*}", "}");
            for (method, verb) in
                [("GET", "web::get()"), ("POST", "web::post()"), ("PUT", "web::put()"), ("POST", "guard::Post()).to(")]
            {
                if own.contains(verb) {
                    assert!(routes.insert((method.to_owned(), path.clone())), "{method} {path} is registered twice");
                }
            }
        }
        // acts.rs: resources that only POST reaches.
        for (at, _) in text.match_indices("act(\"/") {
            let path = text[at + 5..].split('"').next().expect("an end").replace(":.+}", "}");
            assert!(routes.insert(("POST".into(), path)));
        }
    }
    let others = routes.iter().filter(|(_, path)| path.ends_with("/rebind") || path.ends_with("retire")).count() + 1;
    // The three acts and the end of a job are guarded, not routed.
    assert_eq!(routes.len(), verbs + others, "a route is registered in a way that this test does not read");
    routes
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let server = server();
    let document = document(&server);
    assert_eq!(document["openapi"], "3.1.0");
    let told: BTreeSet<(String, String)> = operations(&document).into_keys().collect();
    assert_eq!(told, registered());
    assert!(told.len() > 35, "{told:?}");
}

#[test]
fn what_is_told_is_served_and_takes_the_parameters_that_are_told() {
    let server = server();
    let document = document(&server);
    let mut strict = 0;
    for ((method, path), operation) in operations(&document) {
        if method != "GET" || ["/healthz", "/readyz", "/"].contains(&path.as_str()) {
            continue;
        }
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = |place: &str| -> BTreeSet<String> {
            let there = parameters.iter().filter(|parameter| parameter["in"] == place);
            there.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(named("path").is_empty(), !path.contains('{'), "{path}");
        let url = path.replace("{id}", "x").replace("{period}", "2026-10").replace("{file}", "x");
        let (status, head, body) = fetch(server.addr, &format!("{url}?nonsense=1"), "");
        assert_eq!(status, 400, "{path}: {head}\n{body}");
        let problem: Value = serde_json::from_str(&body).expect("a problem");
        assert_eq!(problem["code"], "unknown-parameter", "{path}: {body}");
        let known: BTreeSet<String> = serde_json::from_value(problem["known"].clone()).expect("names");
        assert_eq!(known, named("query"), "{path}");
        strict += 1;
    }
    assert!(strict > 20);
}

#[test]
fn every_operation_says_what_it_is_and_what_it_answers() {
    let server = server();
    let document = document(&server);
    let mut ids = BTreeSet::new();
    for ((method, path), operation) in operations(&document) {
        let what = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{what}: its id comes twice");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{what}");
        let tag = operation["tags"][0].as_str().expect("a tag");
        let tags = document["tags"].as_array().expect("tags");
        assert!(tags.iter().any(|known| known["name"] == tag), "{what}: {tag}");
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let content = response["content"].as_object();
            if status.starts_with('4') || status == "500" {
                let content = content.unwrap_or_else(|| panic!("{what}: {status} has no body"));
                assert_eq!(content.keys().collect::<Vec<_>>(), ["application/problem+json"], "{what}: {status}");
            }
        }
        assert!(responses.contains_key("200"), "{what}");
    }
    // References lead somewhere.
    let text = document.to_string();
    for (at, _) in text.match_indices("\"#/") {
        let path = text[at + 2..].split('"').next().expect("an end");
        assert!(document.pointer(path).is_some(), "nothing is at {path}");
    }
}

#[test]
fn every_code_that_the_source_names_is_listed() {
    let mut all = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    let mut found = BTreeSet::new();
    for source in &all {
        let text: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
        for opening in ["bad_request(", "not_found(", "conflict(", "come_again(", "Problem::new("] {
            for (at, _) in text.match_indices(opening) {
                let rest = text[at + opening.len()..].trim_start();
                let rest = rest
                    .strip_prefix("StatusCode::")
                    .map_or(rest, |rest| rest.split_once(',').map_or(rest, |(_, rest)| rest.trim_start()));
                if let Some(code) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    found.insert(code.to_owned());
                }
            }
        }
    }
    assert!(found.len() > 45, "{found:?}");
    let unlisted: Vec<_> = found.iter().filter(|code| find(code).is_none()).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
    for code in CODES {
        let told = format!("\"{}\"", code.code);
        let elsewhere = ["bad-axis", "bad-host-list", "bad-rates", "bad-step", "bad-tariff", "bad-tz", "bad-where"];
        let of_others = ["account-cap", "clock-set-back", "host-bound-elsewhere", "too-many-rows"];
        let is_named = all.iter().any(|source| source.matches(&told).count() > usize::from(source.contains("CODES:")));
        assert!(
            is_named || elsewhere.contains(&code.code) || of_others.contains(&code.code),
            "{} is nowhere",
            code.code
        );
    }
}

#[test]
fn another_method_is_refused_and_the_right_one_named() {
    let server = server();
    let document = document(&server);
    for path in document["paths"].as_object().expect("paths").keys().filter(|path| !path.contains('{')) {
        let mut stream = std::net::TcpStream::connect(server.addr).expect("a connection");
        let request = format!("DELETE {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("sent");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
        let told = answer.to_ascii_lowercase();
        assert!(told.starts_with("http/1.1 405 "), "{path}: {answer}");
        assert!(told.contains("\r\nallow: ") && told.contains("method-not-allowed"), "{path}: {answer}");
        let allow = told.lines().find_map(|line| line.strip_prefix("allow: ")).expect("the header");
        let methods: std::collections::BTreeSet<&str> = allow.split(", ").collect();
        let known = document["paths"][path].as_object().expect("a path").keys().map(String::as_str);
        let head = document["paths"][path].get("get").map(|_| "head");
        assert_eq!(methods, known.chain(head).collect(), "{path}");
    }
}
