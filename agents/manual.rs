//! What a shell and `man` know of a program, made from the command line's own description.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages, such as /usr/local/share/man/man1; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints a script that completes a program's command line.
///
/// # Errors
/// That standard output cannot be written.
pub fn completions(mut command: Command, args: CompletionsArgs) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, &name, &mut script);
    // clap_complete 4.6 takes a dash in a program's own name for the border to a command, in one of two places.
    let script = String::from_utf8_lossy(&script).replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    match io::stdout().write_all(script.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a page for a program and for each of its commands: `wattledger.1`, `wattledger-report.1`, …
///
/// # Errors
/// That the folder or a page cannot be written; which, it says.
pub fn man(command: Command, args: &ManArgs) -> io::Result<()> {
    let folder = &args.folder;
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}
