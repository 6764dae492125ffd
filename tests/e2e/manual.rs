//! Completions and man pages, as a shell and `man` take them.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Home, output};

const PROGRAMS: [(&str, &str); 2] =
    [(env!("CARGO_BIN_EXE_wattledger"), "wattledger"), (env!("CARGO_BIN_EXE_wattledger-agent"), "wattledger-agent")];

fn printed(home: &Home, program: &str, arguments: &[&str]) -> String {
    let mut command = home.command(program);
    command.args(arguments);
    output(home, command, Duration::from_secs(30)).ok().out
}

#[test]
fn bash_completes_commands_and_their_flags() {
    let home = Home::new();
    for (program, name) in PROGRAMS {
        let script = printed(&home, program, &["completions", "bash"]);
        let function =
            script.lines().find_map(|line| line.trim_start().strip_prefix("complete -F ")?.split(' ').next());
        let function = function.expect("a registered function").to_owned();
        let script = home.write("completion.bash", script);
        // What bash does when somebody presses the tabulator behind these words.
        let complete = |words: &str, last: usize| {
            let text = format!(
                "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; \
                 {function} {name} \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[*]}}\"",
                script.display(),
                last - 1
            );
            let done = Command::new("bash").args(["-c", &text]).output().expect("bash");
            assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).expect("UTF-8").trim().to_owned()
        };
        let (begun, whole, flag) =
            if name == "wattledger" { ("repo", "report", "--window") } else { ("pro", "probe", "--config") };
        assert_eq!(complete(&format!("{name} {begun}"), 1), whole);
        let flags = complete(&format!("{name} {whole} --"), 2);
        assert!(flags.split(' ').any(|one| one == flag), "{flags}");
    }
}

#[test]
fn every_command_has_a_page_and_every_shell_a_script() {
    let home = Home::new();
    for (program, name) in PROGRAMS {
        let folder = home.path("man1");
        printed(&home, program, &["man", folder.to_str().expect("a plain path")]);
        let help = printed(&home, program, &["--help"]);
        let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let commands: Vec<&str> = listed.map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
        assert!(commands.len() > 4, "{help}");
        for command in commands.iter().filter(|command| **command != "help" && !command.is_empty()) {
            let page = folder.join(format!("{name}-{command}.1"));
            let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{page}");
        }
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            assert!(printed(&home, program, &["completions", shell]).contains(name), "{shell}");
        }
    }
    let mut command = home.command(PROGRAMS[0].0);
    command.args(["man", "/proc/none"]);
    let done = output(&home, command, Duration::from_secs(30));
    assert!(done.status.code() == Some(1) && done.err.contains("/proc/none"), "{}", done.err);
}
