//! The node agent; see the library `agents`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agents::cli::main()
}
