//! `envol check`.

use std::io::{self, IsTerminal};

use serde_json::json;

use super::arguments::Check;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, Root};

pub(super) fn run(root: &Root, verb: &Check, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    let id = &verb.volume;
    let show = !output.json && io::stderr().is_terminal();
    let mut last = None;
    let report = catalog::check(&paths, &mut |done, total| {
        let percent = done * 100 / total.max(1);
        if show && last.replace(percent) != Some(percent) {
            eprint!("\rchecking {percent:3}%{}", if done == total { "\n" } else { "" });
        }
    })?;
    let object = json!({
        "volume_id": id,
        "sound": report.problems.is_empty(),
        "problems": report.problems,
        "written_blocks": report.written_blocks,
        "lost_blocks": report.lost_blocks,
    });
    let mut text: String = report.problems.iter().map(|problem| format!("{problem}\n")).collect();
    text += &format!("volume {id}: {} written blocks, {} lost", report.written_blocks, report.lost_blocks);
    output.print(&text, &object)?;
    if report.problems.is_empty() {
        Ok(())
    } else {
        let way_back = if report.header_is_gone {
            format!("; `envol header restore {id} FILE` brings back a header that was backed up")
        } else {
            String::new()
        };
        let message = format!("volume {id} is damaged: {} problem(s) found{way_back}", report.problems.len());
        Err(CliError { printed: true, ..CliError::new(ExitStatus::NotOurs, message) })
    }
}
