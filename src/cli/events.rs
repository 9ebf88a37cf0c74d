//! `envol events`: what became of a volume, a line an event.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use super::arguments::Events;
use super::error::CliError;
use super::interruption::Interruption;
use super::output::{Output, printed};
use crate::catalog::{CatalogError, Root};
use crate::revocation::events::{Event, EventLog, StoredEvent};

pub(super) fn run(root: &Root, verb: &Events, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    let interruption = if verb.follow { Some(Interruption::await_one()?) } else { None };
    let until = interruption.as_ref().map(|interruption| &interruption.received);

    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let log = EventLog::at(paths.events());
    let read = log.read(until, &mut |stored| {
        written = print(&mut out, stored, output.json);
        // Who follows reads each event when it comes.
        if verb.follow && written.is_ok() {
            written = out.flush();
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    read.map_err(CatalogError::io("read", log.path()))?;
    printed(written.and_then(|()| out.flush()))
}

fn print(out: &mut impl Write, stored: &StoredEvent, json: bool) -> io::Result<()> {
    if json { writeln!(out, "{}", stored.line) } else { writeln!(out, "{}", text(stored.event)) }
}

/// When, what, why, and a sentence; below a purge its steps and what is left.
fn text(event: &Event) -> String {
    let cause = event.cause.as_deref().unwrap_or("-");
    // The longest names are denial-not-confirmed and key-pending-replica-deletion, which is rare.
    let mut lines = vec![format!("{:.3}  {:<20}  {cause:<20}  {}", event.at, event.kind.as_str(), event.message)];
    for step in event.steps.iter().flatten() {
        let took_ms = format!("{}.{:03}", step.took_us / 1000, step.took_us % 1000);
        let error = step.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        lines.push(format!("    {:<22}  at {:>6} ms, took {took_ms:>9} ms{error}", step.step, step.at_ms));
    }
    lines.extend(event.left.iter().flatten().map(|left| format!("    left: {left}")));
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

/// Paths and AWS's words are in it, and must not write on the terminal of who reads the log.
fn printable(line: &str) -> String {
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::events::{EventKind, StepRecord, VolumeState};

    #[test]
    fn a_purge_has_its_steps_and_what_is_left_below_it() {
        let step = |step: &str, at_ms, took_us, error: Option<&str>| StepRecord {
            step: step.to_owned(),
            at_ms,
            took_us,
            error: error.map(str::to_owned),
        };
        let steps = vec![step("terminal-flag", 0, 12, None), step("unmounted", 251, 1_002_003, Some("busy\u{1b}"))];
        let message = "volume vol-1 is purged";
        let event = Event::new("vol-1".parse().unwrap(), EventKind::Purged, VolumeState::Terminal, message)
            .at("2026-11-24T21:00:00.1239Z".parse().unwrap())
            .cause("key-disabled")
            .purge(steps, vec!["a mount at /mnt\nx".to_owned()]);
        assert_eq!(
            text(&event).lines().collect::<Vec<_>>(),
            [
                "2026-11-24T21:00:00.123Z  purged                key-disabled          volume vol-1 is purged",
                "    terminal-flag           at      0 ms, took     0.012 ms",
                "    unmounted               at    251 ms, took  1002.003 ms: busy\\u{1b}",
                "    left: a mount at /mnt\\nx",
            ]
        );
    }

    #[test]
    fn without_a_cause_the_columns_stay() {
        let event = Event::new("vol-1".parse().unwrap(), EventKind::Detached, VolumeState::Available, "gone")
            .at("2026-11-24T21:00:00Z".parse().unwrap());
        assert_eq!(text(&event), "2026-11-24T21:00:00.000Z  detached              -                     gone");
    }
}
