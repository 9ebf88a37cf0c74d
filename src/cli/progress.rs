//! How far something is: a bar on a terminal, a plain line now and then elsewhere, nothing beside JSON.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use super::quantity::size;

/// Between two plain lines: a log should say that it goes on, and no more.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

const REDRAWS_PER_S: u8 = 5;

pub(super) struct Progress {
    label: &'static str,
    began: Instant,
    /// Where there was something done already when it began.
    from: Option<u64>,
    shown_at: Instant,
    way: Way,
}

enum Way {
    Bar(ProgressBar),
    Lines,
    Silent,
}

impl Progress {
    pub(super) fn new(label: &'static str, output: &Output) -> Self {
        let way = if output.json {
            Way::Silent
        } else if io::stderr().is_terminal() {
            Way::Bar(bar(label))
        } else {
            Way::Lines
        };
        let now = Instant::now();
        Self { label, began: now, from: None, shown_at: now, way }
    }

    /// In bytes. A `total` of 0 is not known yet.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let from = *self.from.get_or_insert(done);
        match &self.way {
            Way::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Way::Lines if self.shown_at.elapsed() >= LINE_INTERVAL && total > 0 => {
                self.shown_at = Instant::now();
                let rate = per_second(done.saturating_sub(from), self.began.elapsed());
                let left = total.saturating_sub(done).checked_div(rate);
                let left = left.map_or_else(String::new, |seconds| format!(", {seconds} s left"));
                eprintln!("envol: {}: {} of {}, {}/s{left}", self.label, size(done), size(total), size(rate));
            }
            Way::Lines | Way::Silent => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S));
    let style =
        "{msg} [{bar:25}] {percent:>3}%  {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is a constant").progress_chars("##-"));
    bar.set_message(label);
    bar
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}
