//! The report for a terminal.

use std::fmt::Write;

use super::recovery::facts;
use super::{Report, judge};

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("{}  {}", report.verdict.to_uppercase(), report.drill_id));
    line(format!("  {} on {}", report.operation, report.key.as_ref().map_or("?", |key| key.arn.as_str())));
    line(format!("  volume {}, workload {}", report.volume_id.as_deref().unwrap_or("?"), report.workload));
    line(String::new());
    line("   after T0".to_owned());
    for entry in &report.timeline {
        line(format!("{:>10}  {:<52} {}", seconds(entry.at_ms), entry.label, entry.source));
    }
    line(String::new());
    for check in &report.checks {
        let mark = if check.pass { "pass" } else { "FAIL" };
        let figures = match (check.measured_ms, check.limit_ms) {
            (Some(measured), Some(limit)) => format!("{measured:.0} ms of {limit} ms"),
            (None, Some(limit)) => format!("never, of {limit} ms"),
            (Some(measured), None) => format!("{measured:.0} ms"),
            _ => String::new(),
        };
        let figures = if check.pass { figures } else { judge::sentence(check) };
        line(format!("  {mark}  {:<13} {figures}", check.name));
    }
    if let Some(clock) = &report.clock {
        let (offset, open) = (clock.offset_ms, clock.uncertainty_ms);
        line(format!("  the clock of KMS is {offset:+.0} ms from this host's, known to ±{open:.0} ms"));
    }
    if let Some(recovery) = &report.recovery {
        line(String::new());
        line(format!("  recovery from {}", recovery.snapshot_id));
        for (name, value) in facts(recovery) {
            line(format!("    {name:<28} {value}"));
        }
        line(String::new());
        line("  the way there and back".to_owned());
        recovery.commands.iter().for_each(|command| line(format!("    {command}")));
        recovery.next.iter().for_each(|next| line(format!("  {next}")));
    }
    if let Some(reason) = &report.recovery_reason {
        line(format!("  recovery: none; {reason}"));
    }
    if let Some(written) = &report.written {
        line(String::new());
        line(format!("report   {}", written.directory.join("report.html").display()));
        line(format!("SHA-256  {}  of report.json", written.sha256));
    }
    out
}

/// `+1.234 s`
pub(super) fn seconds(ms: f64) -> String {
    format!("{:+.3} s", ms / 1000.0)
}
