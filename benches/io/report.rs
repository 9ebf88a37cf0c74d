//! The figures as tables for people, and as JSON for programs.

use std::fs;

use serde_json::{Value, json};

use crate::arguments::{Arguments, Level};
use crate::contender::Contender;
use crate::place::Kind;
use crate::rounds::{Row, Spread};

/// Rows that belong into one table, in the order in which they came.
pub(crate) fn tables(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|row, next| row.place == next.place && row.level == next.level)
}

pub(crate) fn title(row: &Row) -> String {
    let level = match row.level {
        Level::Image => "image: one file, O_DIRECT",
        Level::Database => "database: ext4, and gocryptfs's directory",
        Level::Beside => "beside: a commit while somebody writes in bulk, on ext4",
    };
    format!("{level}; on {}", row.place)
}

pub(crate) fn print(rows: &[Row], arguments: &Arguments) {
    for table in tables(rows) {
        let contenders: Vec<Contender> = table[0].measured.iter().map(|(contender, _)| *contender).collect();
        let cached = if arguments.uncached && table[0].place == Kind::Disk {
            "caches dropped before each job"
        } else {
            "cached"
        };
        println!("\n{}; medians of {} interleaved rounds; {cached}", title(&table[0]), table[0].rounds());
        let figures = |what: &str, of: &dyn Fn(&Row, Contender) -> Option<Spread>, decimals: usize| {
            print_table(what, table, &contenders, &|row, contender| {
                of(row, contender).map(|spread| format!("{:.decimals$}", spread.median))
            });
        };
        let decimals = if table[0].level == Level::Beside { 2 } else { 0 };
        figures("", &Row::value, decimals);
        for ours in Contender::OURS {
            let others: Vec<Contender> = contenders.iter().copied().filter(|other| ours.is_like(*other)).collect();
            print_table(&format!("{ours} for 1 of"), table, &others, &|row, other| row.ratio(ours, other).map(text));
        }
        figures("99th percentile, µs", &Row::p99_us, 0);
        let per =
            if table[0].level == Level::Database { "CPU s per GiB or 1000 transactions" } else { "CPU s per GiB" };
        figures(per, &Row::cpu_s, 2);
    }
}

fn text(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.2} ({least:.2}..{most:.2})")
}

/// Rows in which nobody has a cell are left out, and so is a table without rows.
fn print_table(what: &str, table: &[Row], contenders: &[Contender], cell: &dyn Fn(&Row, Contender) -> Option<String>) {
    let cells = |row| contenders.iter().map(|contender| cell(row, *contender)).collect::<Vec<_>>();
    let rows: Vec<_> = table.iter().map(|row| (row, cells(row))).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(_, cells)| cells.iter().any(Option::is_some)).collect();
    let Some(widest) = rows.iter().flat_map(|(_, cells)| cells.iter().flatten().map(String::len)).max() else {
        return;
    };
    let width = widest.max(12) + 2;
    print!("\n{what:<50}");
    contenders.iter().for_each(|contender| print!("{:>width$}", contender.to_string()));
    println!();
    for (row, cells) in rows {
        let job = if what.is_empty() { format!("{}, {}", row.job, row.unit.name()) } else { row.job.clone() };
        print!("{job:<50}");
        cells.into_iter().for_each(|cell| print!("{:>width$}", cell.unwrap_or_else(|| "-".to_owned())));
        println!();
    }
}

pub(crate) fn json(rows: &[Row], arguments: &Arguments) -> String {
    let results: Vec<Value> = rows.iter().flat_map(results).collect();
    let object = json!({
        "machine": machine(),
        "rounds": rows.iter().map(Row::rounds).min(),
        "seconds": arguments.seconds,
        "image_mib": arguments.size,
        "file_system_mib": arguments.file_system_size,
        "sparse": arguments.sparse,
        "uncached": arguments.uncached,
        "results": results,
    });
    serde_json::to_string_pretty(&object).unwrap()
}

/// One for each contender of a row.
fn results(row: &Row) -> Vec<Value> {
    let level = match row.level {
        Level::Image => "image",
        Level::Database => "database",
        Level::Beside => "beside",
    };
    let result = |contender: Contender| {
        let samples: Vec<f64> = row.samples(contender).unwrap().iter().map(|sample| sample.value).collect();
        let spread = |spread: Option<Spread>| {
            spread.map(|spread| json!({ "median": spread.median, "min": spread.least, "max": spread.most }))
        };
        json!({
            "place": row.place.to_string(),
            "level": level,
            "job": row.job,
            "contender": contender.to_string(),
            "unit": row.unit.name(),
            "median": row.value(contender).map(|spread| spread.median),
            "samples": samples,
            "envol_ratio": spread(row.ratio(Contender::Envol, contender)),
            "envol_no_cache_ratio": spread(row.ratio(Contender::EnvolNoCache, contender)),
            "p99_us": spread(row.p99_us(contender)),
            "cpu_s": spread(row.cpu_s(contender)),
        })
    };
    row.measured.iter().map(|(contender, _)| result(*contender)).collect()
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    json!({
        "processor": model.map(|(_, model)| model),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": kernel.trim(),
    })
}
