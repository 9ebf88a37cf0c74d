//! `envol status --watch`: a look a second, until somebody has seen enough.
//!
//! It only looks on: a volume may come, go and end meanwhile.

mod history;
mod line;
mod screen;
mod view;

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::figures::Interval;
use super::{Merged, merged};
use crate::catalog::{self, VolumePaths};
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::interruption::interrupted;
use crate::cli::output::{Output, printed};

use history::History;
use screen::Screen;

const INTERVAL: Duration = Duration::from_secs(1);

/// One look.
struct Sample {
    at: Timestamp,
    clock: Instant,
    merged: Merged,
}

enum Happening {
    Sample(Box<Sample>),
    /// Somebody has seen enough.
    Enough,
    /// Ctrl-Z.
    Suspend,
}

pub(super) fn run(paths: &VolumePaths, output: &Output) -> Result<(), CliError> {
    let unexpected = |error: io::Error| CliError::new(ExitStatus::Unexpected, error.to_string());
    let (happen, happenings) = mpsc::channel();
    let runtime = Runtime::new().map_err(unexpected)?;
    let on_screen = !output.json && screen::is_suitable();
    {
        let happen = happen.clone();
        runtime.spawn(async move {
            interrupted().await;
            let _ = happen.send(Happening::Enough);
        });
    }
    let looks = (paths.clone(), happen.clone());
    thread::Builder::new().name("looks".to_owned()).spawn(move || look(&looks.0, &looks.1)).map_err(unexpected)?;
    let shown = if on_screen {
        let _in_runtime = runtime.enter();
        let mut suspensions = signal(SignalKind::from_raw(libc::SIGTSTP)).map_err(unexpected)?;
        let suspend = happen.clone();
        runtime.spawn(async move {
            while suspensions.recv().await.is_some() && suspend.send(Happening::Suspend).is_ok() {}
        });
        if io::stdin().is_terminal() {
            thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&happen)).map_err(unexpected)?;
        }
        on_a_screen(&happenings)
    } else {
        in_lines(&happenings, output.json)
    };
    printed(shown)
}

/// In a thread of its own: a daemon that does not answer must not hold up Ctrl-C.
fn look(paths: &VolumePaths, happen: &Sender<Happening>) {
    let mut next = Instant::now();
    loop {
        let merged = merged(paths, catalog::summarize(paths));
        let sample = Sample { at: Timestamp::now(), clock: Instant::now(), merged };
        if happen.send(Happening::Sample(Box::new(sample))).is_err() {
            return;
        }
        next = (next + INTERVAL).max(Instant::now());
        thread::sleep(next - Instant::now());
    }
}

fn read_keys(happen: &Sender<Happening>) {
    for byte in io::stdin().lock().bytes() {
        if matches!(byte, Ok(b'q' | b'Q')) {
            let _ = happen.send(Happening::Enough);
        }
    }
}

fn on_a_screen(happenings: &Receiver<Happening>) -> io::Result<()> {
    let mut history = History::default();
    let mut screen = Screen::enter()?;
    let mut last: Option<Box<Sample>> = None;
    for happening in happenings {
        match happening {
            Happening::Enough => break,
            Happening::Suspend => {
                drop(screen);
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
                screen = Screen::enter()?;
            }
            Happening::Sample(sample) => {
                let interval = last.as_deref().and_then(|last| interval(last, &sample));
                history.push(interval.as_ref());
                screen.draw(&view::lines(&sample, interval.as_ref(), &history, screen::width()))?;
                last = Some(sample);
            }
        }
    }
    Ok(())
}

fn in_lines(happenings: &Receiver<Happening>, json: bool) -> io::Result<()> {
    let mut last: Option<Box<Sample>> = None;
    for happening in happenings {
        match happening {
            Happening::Enough => break,
            Happening::Suspend => {}
            Happening::Sample(sample) => {
                let interval = last.as_deref().and_then(|last| interval(last, &sample));
                let mut out = io::stdout().lock();
                if json {
                    let mut object = sample.merged.to_json();
                    object["at"] = json!(sample.at);
                    object["interval"] = json!(interval.as_ref().map(Interval::to_json));
                    writeln!(out, "{object}")?;
                } else {
                    writeln!(out, "{}", line::plain(&sample, interval.as_ref()))?;
                }
                out.flush()?;
                last = Some(sample);
            }
        }
    }
    Ok(())
}

/// `None` where the two looks were not at the same daemon, or at one that counts nothing.
fn interval(earlier: &Sample, later: &Sample) -> Option<Interval> {
    let same = earlier.merged.live.as_ref()?.pid == later.merged.live.as_ref()?.pid;
    let seconds = (later.clock - earlier.clock).as_secs_f64();
    let (before, now) = (earlier.merged.counters()?, later.merged.counters()?);
    same.then(|| Interval::between(before, now, seconds))
}
