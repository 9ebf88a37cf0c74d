//! Bar charts as SVG, readable on light and on dark ground: one group of bars a job, each group with a scale of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::arguments::Level;
use crate::contender::Contender;
use crate::report;
use crate::rounds::Row;

const COLUMNS: usize = 2;
const COLUMN_WIDTH: usize = 560;
const NAME_WIDTH: usize = 92;
const BAR_WIDTH: usize = 330;
const BAR_HEIGHT: usize = 13;
const HEAD_HEIGHT: usize = 26;
const GAP: usize = 12;
const MARGIN: usize = 20;
const TITLE_HEIGHT: usize = 64;

const STYLE: &str = "
svg { color-scheme: light dark; background: #ffffff; font: 12px system-ui, 'DejaVu Sans', sans-serif; }
text { fill: #1f2328; } .quiet { fill: #59636e; } .title { font-size: 16px; font-weight: 600; } .job { font-weight: 600; }
.other { fill: #b4bdc8; } .plain { fill: #7d8da1; } .envol { fill: #0a7d5a; } .number { font-size: 11px; } .ours { font-weight: 600; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; }
.other { fill: #4a5361; } .plain { fill: #7c8896; } .envol { fill: #2fbf8f; }
}";

/// File names with their charts, one for each table.
pub(crate) fn charts(rows: &[Row]) -> BTreeMap<String, String> {
    let named = report::tables(rows).map(|table| {
        let level = match table[0].level {
            Level::Image => "image",
            Level::Database => "database",
            Level::Beside => "beside",
        };
        (format!("io-{level}-{}.svg", table[0].place), chart(table))
    });
    named.collect()
}

fn chart(table: &[Row]) -> String {
    let group_height = HEAD_HEIGHT + table[0].measured.len() * BAR_HEIGHT + GAP;
    let per_column = table.len().div_ceil(COLUMNS);
    let columns = table.len().min(COLUMNS);
    let width = 2 * MARGIN + columns * COLUMN_WIDTH;
    let height = 2 * MARGIN + TITLE_HEIGHT + per_column * group_height;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style>"
    );
    let rounds = table[0].rounds();
    let title = report::title(&table[0]);
    let rounds = if rounds == 1 { "One round".to_owned() } else { format!("Medians of {rounds} interleaved rounds") };
    let note = format!("{rounds}. Each group has a scale of its own; a bar that ends in » is cut.");
    let _ = writeln!(svg, "<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{title}</text>", MARGIN + 16);
    let _ = writeln!(svg, "<text class=\"quiet\" x=\"{MARGIN}\" y=\"{}\">{note}</text>", MARGIN + 38);
    for (index, row) in table.iter().enumerate() {
        let x = MARGIN + index / per_column * COLUMN_WIDTH;
        let y = MARGIN + TITLE_HEIGHT + index % per_column * group_height;
        group(&mut svg, row, x, y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn group(svg: &mut String, row: &Row, x: usize, y: usize) {
    let less_is_better = if row.unit == crate::rounds::Unit::Ms { ", less is better" } else { "" };
    let _ = writeln!(
        svg,
        "<text class=\"job\" x=\"{x}\" y=\"{}\">{} <tspan class=\"quiet\">{}{less_is_better}</tspan></text>",
        y + HEAD_HEIGHT - 8,
        row.job,
        row.unit.name()
    );
    let values = row.measured.iter().filter_map(|(contender, _)| Some((*contender, row.value(*contender)?.median)));
    let values: Vec<(Contender, f64)> = values.collect();
    let full = full_length(&values);
    for (index, (contender, value)) in values.into_iter().enumerate() {
        let top = y + HEAD_HEIGHT + index * BAR_HEIGHT;
        let length = (value / full).min(1.0) * BAR_WIDTH as f64;
        let cut = if value > full { "» " } else { "" };
        let (class, emphasis) = match contender {
            Contender::Envol | Contender::EnvolNoCache => ("envol", " ours"),
            Contender::Raw
            | Contender::RawBuffered
            | Contender::NoStore
            | Contender::Plain
            | Contender::PlainNoCache => ("plain", ""),
            _ => ("other", ""),
        };
        let (bar, text) = (x + NAME_WIDTH, top + BAR_HEIGHT - 3);
        let _ = writeln!(
            svg,
            "<text class=\"number{emphasis}\" x=\"{}\" y=\"{text}\" text-anchor=\"end\">{contender}</text>\
             <rect class=\"{class}\" x=\"{bar}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>\
             <text class=\"number{emphasis}\" x=\"{:.1}\" y=\"{text}\">{cut}{}</text>",
            bar - 6,
            top + 1,
            BAR_HEIGHT - 3,
            bar as f64 + length + 5.0,
            grouped(value)
        );
    }
}

/// The value of a bar as long as there is room for. Those who do nothing but read and write a file, or not even that, may be so
/// far ahead that beside them nobody else could be told apart.
fn full_length(values: &[(Contender, f64)]) -> f64 {
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let is_limit = |contender| matches!(contender, Contender::Raw | Contender::NoStore);
    let of_all = most(&mut values.iter().map(|(_, value)| *value));
    let of_others = most(&mut values.iter().filter(|(contender, _)| !is_limit(*contender)).map(|(_, value)| *value));
    let others_can_be_seen = of_others == f64::MIN_POSITIVE || of_all < 1.5 * of_others;
    if others_can_be_seen { of_all } else { of_others }
}

/// `12 345`, or with decimals what is small.
fn grouped(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space that does not break.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
