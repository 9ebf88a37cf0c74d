//! envol's I/O beside others: all contenders do the same work in one run, round about, on disk and on tmpfs. What counts is the
//! ratio within a round. `scripts/bench.sh io` makes ready what this needs; `--help` has the options.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod arguments;
mod beside;
mod chart;
mod contender;
mod cpu;
mod database;
mod file_system;
mod fio;
mod guards;
mod image;
mod interruption;
mod place;
mod report;
mod rounds;
mod served;

use std::fs;

use clap::Parser;

use arguments::{Arguments, Level};
use harness::Host;
use place::Place;
use rounds::Row;

/// What all levels need: who makes the volumes, and what was asked for.
struct Setting {
    host: Host,
    arguments: Arguments,
}

fn main() {
    let arguments = Arguments::parse();
    interruption::watch();
    let setting = Setting { host: Host::unwatched(), arguments };
    let mut rows = Vec::new();
    for kind in setting.arguments.place.kinds() {
        for level in setting.arguments.levels() {
            if interruption::is_wanted() {
                break;
            }
            let place = Place::new(*kind, &setting.arguments);
            rows.extend(measure(&setting, level, &place).into_iter().filter(|row| row.rounds() > 0));
        }
    }
    report::print(&rows, &setting.arguments);
    let out = &setting.arguments.out;
    fs::create_dir_all(out).unwrap();
    fs::write(out.join("io.json"), report::json(&rows, &setting.arguments)).unwrap();
    eprintln!("{}", out.join("io.json").display());
    for (name, svg) in chart::charts(&rows) {
        fs::write(out.join(&name), svg).unwrap();
        eprintln!("{}", out.join(&name).display());
    }
}

fn measure(setting: &Setting, level: Level, place: &Place) -> Vec<Row> {
    let contenders = contender::present(level, &setting.arguments);
    if contenders.is_empty() {
        return Vec::new();
    }
    match level {
        Level::Image => image::measure(setting, place, &contenders),
        Level::Database => database::measure(setting, place, &contenders),
        Level::Beside => beside::measure(setting, place, &contenders),
    }
}
