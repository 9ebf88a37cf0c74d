//! Parse, dispatch, exit code. Two steps of the daemon run in a process of their own, which is this program under
//! another name.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    if envol::secret::is_unwrap_helper(&argv0) {
        return envol::secret::run_unwrap_helper();
    }
    if envol::host::file_system::is_shutdown_helper(&argv0) {
        return envol::host::file_system::run_shutdown_helper(std::env::args_os().skip(1));
    }
    envol::cli::run()
}
