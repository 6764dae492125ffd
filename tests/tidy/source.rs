//! What stands in source files: their length, floats, panics, and the names of places.

use std::path::Path;

use crate::{files, none, read, shown};

/// A file is read at one sitting: from here on it is split.
const LINES_MAX: usize = 600;
/// From here on a file is listed, so that nobody is surprised.
const LINES_LISTED: usize = 400;

/// Whether a file holds only tests or benchmarks.
pub(crate) fn is_test_file(path: &Path) -> bool {
    let shown = shown(path);
    let mut parts = shown.split('/');
    shown.ends_with("_tests.rs") || parts.any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
}

/// The source without what `#[cfg(test)]` covers; line numbers stay. Relies on rustfmt's layout: an
/// item ends at its first line, or at a closing brace that stands as deep as its first line.
pub(crate) fn production(source: &str) -> String {
    let mut kept = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with("#[cfg(test)]") {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        kept.push('\n');
        let depth = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            kept.push('\n');
            let ends = line.trim_end().ends_with([';', '}']) && line.len() - line.trim_start().len() == depth;
            if ends && !line.trim_start().starts_with("#[") {
                break;
            }
        }
    }
    kept
}

/// The source with comments blanked out and string contents removed; line numbers stay.
pub(crate) fn code(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '"' if is_raw(&kept) => {
                let close = format!("\"{}", "#".repeat(kept.len() - kept.trim_end_matches('#').len()));
                let mut text = String::new();
                while !text.ends_with(&close)
                    && let Some(c) = rest.next()
                {
                    text.push(c);
                }
                kept.push('"');
                kept.extend(text.chars().filter(|c| *c == '\n'));
                kept.push_str(&close);
            }
            '"' => {
                kept.push('"');
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => {
                            let escaped = rest.next();
                            kept.extend(escaped.filter(|c| *c == '\n'));
                        }
                        '"' => break,
                        '\n' => kept.push('\n'),
                        _ => {}
                    }
                }
                kept.push('"');
            }
            '\'' if rest.peek() == Some(&'"') => {
                // The character '"' opens no string.
                rest.next();
                rest.next();
                kept.push_str("' '");
            }
            '\'' if rest.peek() == Some(&'\\') => {
                rest.next();
                rest.next();
                kept.push_str("' ");
            }
            _ => kept.push(c),
        }
    }
    kept
}

/// Whether the quote that follows opens a raw string.
fn is_raw(before: &str) -> bool {
    let word = before.trim_end_matches('#');
    let last = word.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    matches!(last, "r" | "br")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Complains about floats outside functions whose documentation says that they are for people.
fn floats(source: &str) -> Vec<usize> {
    let lines: Vec<&str> = source.lines().collect();
    let code = code(&production(source));
    let uses = code.lines().enumerate().filter(|(_, line)| words(line).any(|word| word == "f64" || word == "f32"));
    uses.filter(|(number, _)| !is_for_people(&lines, *number)).map(|(number, _)| number + 1).collect()
}

/// Whether the function around this line says in its documentation that it is for people.
fn is_for_people(lines: &[&str], number: usize) -> bool {
    let head = |line: &str| words(line).any(|word| word == "fn");
    let Some(function) = (0..=number).rev().find(|at| head(lines[*at])) else { return false };
    lines[..function]
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .any(|line| line.starts_with("///") && line.contains("for people"))
}

/// Complains about panics on a missing value. A file whose head expects them says why, and to clippy.
fn panics(source: &str) -> Vec<usize> {
    let expects = |line: &str| line.starts_with("#![expect(") || line.starts_with("#![cfg(test)]");
    if source.lines().any(expects) && (source.contains("clippy::expect_used") || source.contains("#![cfg(test)]")) {
        return Vec::new();
    }
    let code = code(&production(source));
    let panicking = |line: &str| line.contains(".unwrap()") || line.contains(".expect(");
    code.lines().enumerate().filter(|(_, line)| panicking(line)).map(|(number, _)| number + 1).collect()
}

/// The one file that makes a call by hand, and why: `docs/decisions/0013-module-scope.md`.
const UNSAFE: &str = "agents/sources/nvml/module.rs";
/// An audit of the unsafe file is a matter of minutes.
const UNSAFE_LINES_MAX: usize = 60;

/// Lines with something unsafe, or that permit it.
fn unsafety(source: &str) -> Vec<usize> {
    let code = code(source);
    let is_unsafe = |line: &str| words(line).any(|word| matches!(word, "unsafe" | "unsafe_code"));
    code.lines().enumerate().filter(|(_, line)| is_unsafe(line)).map(|(number, _)| number + 1).collect()
}

/// What is wrong with the unsafe file: it has one block, which says why it is sound, under one expectation.
fn audit(source: &str) -> Vec<&'static str> {
    let lines: Vec<&str> = source.lines().collect();
    let found = unsafety(source);
    let is = |number: &usize, what: &str| lines[number - 1].contains(what);
    let block = found.iter().find(|number| is(number, "unsafe {"));
    let comment = block.map(|number| lines[..number - 1].iter().rev().take_while(|line| line.trim().starts_with("//")));
    let sound = comment.is_some_and(|mut comment| comment.any(|line| line.contains("SAFETY:")));
    let expected = found.iter().any(|number| is(number, "#[expect(unsafe_code, reason ="));
    let rules = [
        (lines.len() <= UNSAFE_LINES_MAX, "it is too long"),
        (found.len() == 2 && expected, "it has more than one expectation and one block"),
        (sound, "the block does not say why it is sound"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}

/// Words that would name the place where this was written instead of the thing itself.
fn places(text: &str, folders_too: bool) -> Vec<usize> {
    let work = concat!("/wo", "rk/");
    let shared = concat!("sha", "red/");
    let machine = concat!("fa", "rm-");
    let names = |line: &str| {
        line.contains(work)
            || line.contains(machine)
            || folders_too && words_with_slash(line).any(|word| word == shared)
    };
    text.lines().enumerate().filter(|(_, line)| names(line)).map(|(number, _)| number + 1).collect()
}

fn words_with_slash(line: &str) -> impl Iterator<Item = &str> {
    line.split_inclusive('/').map(|piece| piece.rsplit(|c: char| !c.is_alphanumeric() && c != '/').next().unwrap_or(""))
}

fn complain(path: &Path, lines: Vec<usize>, what: &str) -> Vec<String> {
    lines.into_iter().map(|line| format!("{}:{line}: {what}", shown(path))).collect()
}

fn ours() -> Vec<std::path::PathBuf> {
    ["src", "agents", "tests"].into_iter().flat_map(|dir| files(dir, &[".rs"])).collect()
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let mut complaints = Vec::new();
    for path in ours() {
        let lines = read(&path).lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{}: {lines} lines, at most {LINES_MAX}", shown(&path)));
        } else if lines > LINES_LISTED {
            eprintln!("{}: {lines} lines, more than {LINES_LISTED}", shown(&path));
        }
    }
    none(&complaints);
}

#[test]
fn energy_is_counted_in_integers() {
    let core = ["src/meter", "src/energy"].into_iter().flat_map(|dir| files(dir, &[".rs"]));
    let core = core.filter(|path| !is_test_file(path));
    let what = "a float in a function whose documentation does not say that it is for people";
    none(&core.flat_map(|path| complain(&path, floats(&read(&path)), what)).collect::<Vec<_>>());
}

#[test]
fn nothing_panics_on_a_missing_value() {
    let code = ours().into_iter().filter(|path| !is_test_file(path));
    none(
        &code
            .flat_map(|path| complain(&path, panics(&read(&path)), "unwrap or expect outside tests"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn one_small_file_is_unsafe_and_says_why() {
    let (unsafe_file, others): (Vec<_>, Vec<_>) = ours().into_iter().partition(|path| shown(path) == UNSAFE);
    none(&others.iter().flat_map(|path| complain(path, unsafety(&read(path)), "unsafe")).collect::<Vec<_>>());
    assert_eq!(unsafe_file.len(), 1, "{UNSAFE} is gone: forbid unsafe code again");
    assert_eq!(audit(&read(&unsafe_file[0])), [""; 0]);
    let manifest: toml::Table = read(&crate::root().join("Cargo.toml")).parse().expect("TOML");
    assert_eq!(manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
}

#[test]
fn nothing_names_the_place_where_it_was_written() {
    let endings =
        [".rs", ".toml", ".md", ".csv", ".json", ".html", ".css", ".js", ".yml", ".yaml", ".service", ".proto", "run"];
    let in_folders = ["src", "agents", "tests", "configs", "docs", ".ci", ".config"];
    let mut all: Vec<_> = in_folders.into_iter().flat_map(|dir| files(dir, &endings)).collect();
    all.extend(
        [".deny.toml", ".clippy.toml", ".gitignore", "Cargo.toml", "README.md"].map(|name| crate::root().join(name)),
    );
    let complaints = all.iter().flat_map(|path| {
        let folders_too = !shown(path).starts_with(".ci");
        complain(path, places(&read(path), folders_too), "names the place where it was written")
    });
    none(&complaints.collect::<Vec<_>>());
}

#[test]
fn a_float_is_seen_unless_it_is_for_people() {
    assert_eq!(floats("/// Sums.\nfn sum() -> f64 {\n    0.0\n}"), [2]);
    assert_eq!(
        floats("/// Kilowatt hours, for people only.\n#[must_use]\nfn kwh() -> f64 {\n    let x: f64 = 0.0;\n    x\n}"),
        [0_usize; 0]
    );
    assert_eq!(floats("struct A {\n    x: f32,\n}"), [2]);
    assert_eq!(
        floats("// not an `f64`\nlet s = \"f64\";\n#[cfg(test)]\nmod tests {\n    const X: f64 = 0.0;\n}"),
        [0_usize; 0]
    );
}

#[test]
fn a_panic_is_seen_unless_it_is_in_a_test() {
    assert_eq!(panics("fn f() {\n    x.unwrap();\n    y.expect(\"so\");\n    z.unwrap_or(1);\n}"), [2, 3]);
    assert_eq!(
        panics("#[cfg(test)]\nmod tests {\n    fn f() {\n        x.unwrap();\n    }\n}\nfn g() {\n    x.unwrap();\n}"),
        [8]
    );
    assert_eq!(panics("let a = r#\"\n.unwrap() \"b\" \"#;\nlet b = '\\\"'; c.unwrap();"), [3]);
    assert_eq!(panics("#[cfg(test)]\nmod tests;\nfn g() {\n    x.unwrap(); // why\n    \".unwrap()\";\n}"), [4]);
}

#[test]
fn what_is_unsafe_is_seen() {
    let good = "#[expect(unsafe_code, reason = \"so\")]\nfn f() {\n    // SAFETY: it is.\n    unsafe { g() }\n}";
    assert_eq!(unsafety(good), [1, 4]);
    assert_eq!(unsafety("// unsafe\nlet a = \"unsafe {\";\nlet unsafely = 1;"), [0_usize; 0]);
    assert_eq!(unsafety("#![allow(unsafe_code)]\nunsafe impl Send for A {}"), [1, 2]);
    assert_eq!(audit(good), [""; 0]);
    assert_eq!(audit(&good.replace("// SAFETY: it is.", "// It is.")).len(), 1);
    assert_eq!(audit(&format!("{good}\nunsafe fn h() {{}}")).len(), 1);
    assert_eq!(audit(&format!("{good}{}", "\n".repeat(60))).len(), 1);
}

#[test]
fn a_place_is_seen() {
    assert_eq!(places(concat!("a\nsee /wo", "rk/x\nb"), true), [2]);
    assert_eq!(places(concat!("see ../sha", "red/data"), true), [1]);
    assert_eq!(places(concat!("see ../sha", "red/data"), false), [0_usize; 0]);
    assert_eq!(places(concat!("the fa", "rm-hand"), false), [1]);
    assert_eq!(places("?idle=&shared= and unshared/x, network/y", true), [0_usize; 0]);
}
