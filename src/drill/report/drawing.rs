//! The timeline as an inline SVG: each event has a row of its own, so that labels cannot collide, and its mark stands
//! where its time is, to scale.

use std::fmt::Write;

use super::html::escape;
use super::terminal::seconds;
use super::{Entry, Kind};

/// Width of one character of the monospaced font, as part of its size; the widest in use.
const CHARACTER: f64 = 0.62;
const MARGIN: f64 = 12.0;
const RADIUS: f64 = 5.0;
const TOP: f64 = 34.0;

/// How a drawing of one width is divided.
struct Columns {
    width: f64,
    font: f64,
    track_left: f64,
    track_right: f64,
    row_height: f64,
    /// Where the text stands in a row, and where the mark.
    text_offset: f64,
    mark_offset: f64,
    label_chars: usize,
}

/// Everything that is drawn, in the units of the view box.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    font: f64,
    track_left: f64,
    track_right: f64,
    zero: f64,
    pub(super) rows: Vec<Row>,
    pub(super) ticks: Vec<(f64, Label)>,
    limits: Vec<(f64, &'static str)>,
}

pub(super) struct Row {
    pub(super) label: Label,
    pub(super) time: Label,
    pub(super) x: f64,
    pub(super) y: f64,
    kind: Kind,
}

/// A piece of text and the box that it fills.
pub(super) struct Label {
    pub(super) text: String,
    pub(super) left: f64,
    pub(super) baseline: f64,
    pub(super) width: f64,
    pub(super) font: f64,
}

/// A line across: where a limit lies.
pub(super) struct Limit {
    pub(super) at_ms: f64,
    pub(super) class: &'static str,
}

impl Columns {
    /// Label, track and time side by side.
    fn wide() -> Self {
        Self {
            width: 960.0,
            font: 14.0,
            track_left: 390.0,
            track_right: 835.0,
            row_height: 26.0,
            text_offset: 18.0,
            mark_offset: 13.0,
            label_chars: 42,
        }
    }

    /// Label and time above the track.
    fn narrow() -> Self {
        Self {
            width: 380.0,
            font: 12.5,
            track_left: MARGIN + RADIUS,
            track_right: 380.0 - MARGIN - RADIUS,
            row_height: 42.0,
            text_offset: 16.0,
            mark_offset: 29.0,
            label_chars: 33,
        }
    }
}

impl Layout {
    pub(super) fn wide(entries: &[Entry], limits: &[Limit]) -> Self {
        Self::new(&Columns::wide(), entries, limits)
    }

    pub(super) fn narrow(entries: &[Entry], limits: &[Limit]) -> Self {
        Self::new(&Columns::narrow(), entries, limits)
    }

    fn new(columns: &Columns, entries: &[Entry], limits: &[Limit]) -> Self {
        let times = || entries.iter().map(|entry| entry.at_ms).filter(|at| at.is_finite());
        let first = times().fold(0.0, f64::min);
        let last = times().fold(1.0, f64::max);
        let scale = (columns.track_right - columns.track_left) / (last - first);
        let x = |at_ms: f64| columns.track_left + (at_ms.clamp(first, last) - first) * scale;
        let label = |text: String, left, baseline| {
            let width = width_of(&text, columns.font);
            Label { text, left, baseline, width, font: columns.font }
        };
        let mut y = TOP;
        let mut rows = Vec::new();
        for entry in entries {
            let time = seconds(entry.at_ms);
            let time_left = columns.width - MARGIN - width_of(&time, columns.font);
            let baseline = y + columns.text_offset;
            rows.push(Row {
                label: label(shortened(&entry.label, columns.label_chars), MARGIN, baseline),
                time: label(time, time_left, baseline),
                x: x(entry.at_ms),
                y: y + columns.mark_offset,
                kind: entry.kind,
            });
            y += columns.row_height;
        }
        let tick_font = columns.font - 1.0;
        let mut ticks: Vec<(f64, Label)> = Vec::new();
        let step = tick_step(last - first);
        let mut at = (first / step).ceil() * step;
        while at <= last {
            let text = tick_text(at, step);
            let width = width_of(&text, tick_font);
            let left = (x(at) - width / 2.0).clamp(0.0, columns.width - width);
            if ticks.last().is_none_or(|(_, before)| before.left + before.width + 6.0 <= left) {
                ticks.push((x(at), Label { text, left, baseline: TOP - 16.0, width, font: tick_font }));
            }
            at += step;
        }
        let limits = limits.iter().filter(|limit| limit.at_ms >= first && limit.at_ms <= last);
        Self {
            width: columns.width,
            height: y + 8.0,
            font: columns.font,
            track_left: columns.track_left,
            track_right: columns.track_right,
            zero: x(0.0),
            rows,
            ticks,
            limits: limits.map(|limit| (x(limit.at_ms), limit.class)).collect(),
        }
    }

    pub(super) fn svg(&self, class: &str) -> String {
        let Self { width, height, font, track_left, track_right, zero, .. } = self;
        let mut svg = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-label=\"Timeline to scale, from T0\" font-size=\"{font}\">\n"
        );
        let mut add = |element: String| {
            let _ = writeln!(svg, "{element}");
        };
        let bottom = height - 8.0;
        for (x, label) in &self.ticks {
            add(format!(
                "<line class=\"tick\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>",
                TOP - 10.0
            ));
            add(label.svg("muted"));
        }
        for (x, class) in &self.limits {
            add(format!(
                "<line class=\"limit {class}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>",
                TOP - 10.0
            ));
        }
        for row in &self.rows {
            let (x, y, kind) = (row.x, row.y, class_of(row.kind));
            let (from, to) = if x < *zero { (x, *zero) } else { (*zero, x) };
            add(format!(
                "<line class=\"track\" x1=\"{track_left:.1}\" y1=\"{y:.1}\" x2=\"{track_right:.1}\" y2=\"{y:.1}\"/>"
            ));
            add(format!("<line class=\"bar {kind}\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\"/>"));
            add(format!("<circle class=\"dot {kind}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>"));
            add(row.label.svg("label"));
            add(row.time.svg("time"));
        }
        svg + "</svg>\n"
    }
}

impl Label {
    fn svg(&self, class: &str) -> String {
        let Self { text, left, baseline, font, .. } = self;
        format!(
            "<text class=\"{class}\" x=\"{left:.1}\" y=\"{baseline:.1}\" font-size=\"{font}\">{}</text>",
            escape(text)
        )
    }
}

fn class_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Kms => "kms",
        Kind::Access => "access",
        Kind::Verdict => "verdict",
        Kind::Purge => "purge",
        Kind::Gone => "gone",
    }
}

#[allow(clippy::cast_precision_loss, reason = "a label is short")]
fn width_of(text: &str, font: f64) -> f64 {
    text.chars().count() as f64 * font * CHARACTER
}

fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

/// 1, 2 or 5 times a power of ten, so that there are four to ten.
fn tick_step(span_ms: f64) -> f64 {
    let rough = span_ms / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(10.0 * power)
}

fn tick_text(at_ms: f64, step_ms: f64) -> String {
    let digits = if step_ms >= 1000.0 {
        0
    } else if step_ms >= 100.0 {
        1
    } else if step_ms >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{:.digits$} s", at_ms / 1000.0);
    // Zero from below has a sign.
    text.strip_prefix("-")
        .filter(|rest| !rest.contains(|digit: char| ('1'..='9').contains(&digit)))
        .map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left, top, right, bottom.
    fn bounds(label: &Label) -> [f64; 4] {
        [label.left, label.baseline - label.font * 0.8, label.left + label.width, label.baseline + label.font * 0.25]
    }

    fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
        a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
    }

    fn check(layout: &Layout, entries: &[Entry]) {
        let mut boxes: Vec<_> = layout.ticks.iter().map(|(_, label)| bounds(label)).collect();
        for row in &layout.rows {
            boxes.extend([bounds(&row.label), bounds(&row.time)]);
            boxes.push([row.x - RADIUS, row.y - RADIUS, row.x + RADIUS, row.y + RADIUS]);
        }
        for (index, a) in boxes.iter().enumerate() {
            assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= layout.width && a[3] <= layout.height, "outside: {a:?}");
            for b in &boxes[index + 1..] {
                assert!(!overlap(a, b), "{a:?} lies on {b:?}");
            }
        }
        assert_eq!(layout.rows.len(), entries.len());
        for (row, next) in layout.rows.iter().zip(layout.rows.iter().skip(1)) {
            assert!(row.x <= next.x, "the order of the marks is that of the times");
        }
    }

    fn entries(times: &[f64]) -> Vec<Entry> {
        let entry = |at_ms: &f64| Entry {
            label: format!("an event with a name that is rather long, at {at_ms} <&>"),
            at_ms: *at_ms,
            kind: Kind::Purge,
            source: "volume",
        };
        times.iter().map(entry).collect()
    }

    #[test]
    fn labels_never_overlap_and_all_lies_inside() {
        let close: Vec<f64> = (0..14).map(|step| 1200.0 + f64::from(step)).collect();
        for times in [
            &[][..],
            &[0.0],
            &[0.0, 0.0, 0.0],
            &[-3.0, 0.0, 812.5, 812.6, 812.7, 900.0],
            &close,
            &[-250.0, 0.0, 0.001, 0.002],
            &[0.0, 65_000.0, 3_600_000.0],
            &[-120_000.0, -5.0, 0.0],
        ] {
            let entries = entries(times);
            let limits = [Limit { at_ms: 2000.0, class: "verdict" }];
            for layout in [Layout::wide(&entries, &limits), Layout::narrow(&entries, &limits)] {
                check(&layout, &entries);
                assert!(!layout.svg("wide").contains("<&>"));
            }
        }
    }

    #[test]
    fn marks_are_to_scale() {
        let layout = Layout::wide(&entries(&[0.0, 250.0, 500.0, 1000.0]), &[]);
        let at = |row: usize| layout.rows[row].x - layout.rows[0].x;
        assert!((at(1) * 2.0 - at(2)).abs() < 1e-6 && (at(2) * 2.0 - at(3)).abs() < 1e-6);
        let ticks: Vec<&str> = layout.ticks.iter().map(|(_, label)| label.text.as_str()).collect();
        assert_eq!(ticks[..3], ["0.0 s", "0.2 s", "0.4 s"]);
    }
}
