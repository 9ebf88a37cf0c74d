//! Writes the man pages of envol into a directory, one for each verb: `envol-manual DIR YYYY-MM-DD`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, date] = arguments.as_slice() else {
        eprintln!("usage: envol-manual DIR YYYY-MM-DD");
        return ExitCode::from(2);
    };
    match envol_manual::write_pages(Path::new(dir), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("envol-manual: {dir}: {error}");
            ExitCode::FAILURE
        }
    }
}
