//! Parse, dispatch, exit code. Some work of the daemon, and the observer of a drill, run in processes of their own, which
//! are this program under another name.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    envol::host::show_as(&argv0);
    if envol::secret::is_unwrap_helper(&argv0) {
        return envol::secret::run_unwrap_helper();
    }
    if envol::host::child::is_child(&argv0) {
        return envol::host::child::run_child(std::env::args_os().skip(1));
    }
    if envol::daemon::is_companion(&argv0) {
        return envol::daemon::run_companion();
    }
    if envol::drill::is_observer(&argv0) {
        return envol::drill::run_observer(std::env::args_os().skip(1));
    }
    envol::cli::run()
}
