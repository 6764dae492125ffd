//! Pure crates touch no clock, file, socket, environment, thread or terminal. Clippy enforces the
//! calls (each pure crate's `.clippy.toml`); this looks at the names, and at those files.

use toml::Table;

use crate::source::{code, is_test_file, production};
use crate::{files, none, read, root, shown};

const PURE: [&str; 4] = ["src/meter", "src/wire", "src/energy", "src/cost"];

/// Names that a pure crate has no use for.
const IMPURE: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::path",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "thread_local!",
];
const IMPURE_WORDS: [&str; 5] = ["tokio", "actix", "async", "println", "eprintln"];

/// The lines of a source that name something impure outside tests.
fn impure(source: &str) -> Vec<usize> {
    let code = code(&production(source));
    let names = |line: &str| {
        IMPURE.iter().any(|name| line.contains(name))
            || line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| IMPURE_WORDS.contains(&word))
    };
    code.lines().enumerate().filter(|(_, line)| names(line)).map(|(number, _)| number + 1).collect()
}

/// Complains where a pure crate's clippy file lost one of the root's settings.
fn lost(root_file: &Table, own: &Table) -> Vec<String> {
    let mut complaints = Vec::new();
    for (key, value) in root_file {
        let kept = match (value.as_array(), own.get(key)) {
            (Some(wanted), Some(have)) => {
                wanted.iter().all(|one| have.as_array().is_some_and(|have| have.contains(one)))
            }
            (None, have) => have == Some(value),
            _ => false,
        };
        if !kept {
            complaints.push(format!("{key} of the root's .clippy.toml is not repeated"));
        }
    }
    complaints
}

#[test]
fn pure_crates_name_nothing_impure() {
    let sources = PURE.into_iter().flat_map(|dir| files(dir, &[".rs"]));
    let sources = sources.filter(|path| !is_test_file(path));
    let complaints = sources.flat_map(|path| {
        impure(&read(&path))
            .into_iter()
            .map(move |line| format!("{}:{line}: a pure crate has no use for this", shown(&path)))
    });
    none(&complaints.collect::<Vec<_>>());
}

#[test]
fn pure_crates_have_one_clippy_file_that_repeats_the_roots() {
    let all = PURE.map(|dir| read(&root().join(dir).join(".clippy.toml")));
    assert!(all.iter().all(|one| *one == all[0]), "the four files are alike");
    let table = |text: &str| text.parse::<Table>().expect("a clippy file");
    none(&lost(&table(&read(&root().join(".clippy.toml"))), &table(&all[0])));
    for call in ["std::time::Instant::now", "std::time::SystemTime::now", "std::fs::File::open", "jiff::Timestamp::now"]
    {
        assert!(all[0].contains(&format!("\"{call}\"")), "{call} is forbidden");
    }
}

#[test]
fn an_impure_line_is_seen() {
    let source = "use std::fs;\nfn f() {\n    let t = Instant::now(); // Instant\n}\nasync fn g() {}\n/// std::net in prose\nstruct Asynchronous;\n";
    assert_eq!(impure(source), [1, 3, 5]);
    assert_eq!(impure("#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), [0_usize; 0]);
}

#[test]
fn a_lost_setting_is_seen() {
    let table = |text: &str| text.parse::<Table>().expect("a clippy file");
    let own = table("a = 1\nb = [{ path = 'x' }, { path = 'y' }]");
    assert_eq!(lost(&table("a = 1\nb = [{ path = 'x' }]"), &own), Vec::<String>::new());
    assert_eq!(lost(&table("a = 2"), &own).len(), 1);
    assert_eq!(lost(&table("b = [{ path = 'z' }]"), &own).len(), 1);
    assert_eq!(lost(&table("c = true"), &own).len(), 1);
}
