//! The report as one page that needs nothing else: to be read, printed and signed.

use std::fmt::{Display, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::drawing::{Layout, Limit};
use super::terminal::seconds;
use super::{KeyView, Report, recovery};

const STYLE: &str = include_str!("page.css");

pub(super) fn page(report: &Report, sha256: &str) -> String {
    let mut html = String::new();
    let title = format!("{} – {}", report.drill_id, report.operation);
    let verdict = report.verdict;
    let mut add = |text: String| html.push_str(&text);
    add(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&title)
    ));
    add(format!(
        "<header>\n<p class=\"verdict {verdict}\">{}</p>\n<h1>Revocation drill: {}</h1>\n<p class=\"muted\">{}</p>\n</header>\n",
        verdict.to_uppercase(),
        escape(report.operation),
        escape(&report.drill_id)
    ));
    add(checks(report));
    add(timeline(report));
    add(facts(report));
    add(observed(report));
    add(said(report));
    add(recovery::section(report));
    add(key(report));
    add(calls(report));
    add(list("Undone", &report.undo.done));
    add(list("Not undone", &report.undo.failed));
    let untested: Vec<String> = report.not_tested.iter().map(|what| (*what).to_owned()).collect();
    add(list("Not tested", &untested));
    add(format!(
        "<section class=\"signature\">\n<h2>Signature</h2>\n<p>SHA-256 of report.json, which has all of this and more:</p>\n\
         <p><code class=\"hash\">{sha256}</code></p>\n<div class=\"sign\"><p>Name</p><p>Date</p><p>Signature</p></div>\n\
         </section>\n</main>\n</body>\n</html>\n"
    ));
    html
}

fn to_the_ms(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// For text and for attributes in double quotes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // What a terminal would take as an order is nothing that HTML allows.
            control if control.is_control() && control != '\n' && control != '\t' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

fn checks(report: &Report) -> String {
    let mut rows = String::new();
    for check in &report.checks {
        let mark = if check.pass { "pass" } else { "fail" };
        let measured = match (check.measured_ms, check.limit_ms) {
            (Some(measured), _) => format!("{measured:.0} ms"),
            (None, Some(_)) => "never seen".to_owned(),
            (None, None) => String::new(),
        };
        let limit = check.limit_ms.map_or_else(String::new, |limit| format!("{limit} ms"));
        let note =
            check.note.as_deref().map_or_else(String::new, |note| format!("<br><small>{}</small>", escape(note)));
        let _ = writeln!(
            rows,
            "<tr><td><span class=\"mark {mark}\">{mark}</span></td><td><b>{}</b><br>{}{note}</td>\
             <td class=\"figure\">{measured}</td><td class=\"figure\">{limit}</td></tr>",
            escape(check.name),
            escape(check.says),
        );
    }
    let fixed = escape(&to_the_ms(report.thresholds_fixed_at));
    format!(
        "<section>\n<h2>Verdict</h2>\n<table class=\"checks\">\n<thead><tr><th></th><th>What</th><th class=\"figure\">Measured</th>\
         <th class=\"figure\">Limit</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n<p class=\"muted\">The limits were fixed at \
         {fixed}, before anything was made.</p>\n</section>\n"
    )
}

fn timeline(report: &Report) -> String {
    let limits: Vec<Limit> = report
        .checks
        .iter()
        .filter(|check| check.name == "detected")
        .filter_map(|check| Some(Limit { at_ms: f64::from(u32::try_from(check.limit_ms?).ok()?), class: "verdict" }))
        .collect();
    let t0 = report.revocation.as_ref().map_or_else(String::new, |revocation| to_the_ms(revocation.acknowledged_at));
    format!(
        "<section>\n<h2>Timeline</h2>\n<p class=\"muted\">To scale. T0 is {}: KMS had acknowledged.</p>\n\
         <p class=\"legend\"><span class=\"kms\">KMS</span><span class=\"access\">access</span><span class=\"verdict\">verdict\
         </span><span class=\"purge\">purge</span><span class=\"gone\">gone</span></p>\n<figure>\n{}{}</figure>\n</section>\n",
        escape(&t0),
        Layout::wide(&report.timeline, &limits).svg("wide"),
        Layout::narrow(&report.timeline, &limits).svg("narrow"),
    )
}

fn facts(report: &Report) -> String {
    let limits = &report.thresholds;
    let unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut rows = vec![
        ("Way", report.way.to_string()),
        ("Workload", report.workload.clone()),
        ("Volume", unknown(&report.volume_id)),
        ("Mounted on", unknown(&report.mount_point)),
        ("Size", format!("{} MiB", report.size_bytes >> 20)),
        ("Run by", unknown(&report.who.drill)),
        ("Volume service", unknown(&report.who.volume_service)),
    ];
    rows.extend(report.who.grantee.clone().map(|grantee| ("Grantee", grantee)));
    rows.extend(report.who.unknown.iter().map(|why| ("Not known", why.clone())));
    rows.push(("Host", format!("{}, Linux {}", report.host.name, report.host.kernel)));
    rows.push(("envol", report.envol_version.to_owned()));
    rows.push(("Probe interval", format!("{} ms", limits.probe_interval_ms)));
    rows.push(("Denial confirmed for", format!("{} ms", limits.confirm_denial_ms)));
    if let Some(revocation) = &report.revocation {
        rows.push(("Asked for at", to_the_ms(revocation.asked_at)));
        rows.push(("Acknowledged at", to_the_ms(revocation.acknowledged_at)));
        rows.push(("Request id", unknown(&revocation.request_id)));
    }
    if let Some(clock) = &report.clock {
        let text = format!("{:+.0} ms ± {:.0} ms: {}", clock.offset_ms, clock.uncertainty_ms, clock.note);
        rows.push(("Clock of KMS", text));
    }
    format!("<section>\n<h2>Who, what, where</h2>\n{}</section>\n", definitions(&rows))
}

fn observed(report: &Report) -> String {
    let Some(observed) = &report.observed else { return String::new() };
    let mut rows = String::new();
    for probe in [&observed.read, &observed.commit] {
        let at = |ms: Option<f64>| ms.map_or("never".to_owned(), seconds);
        let message = probe.message.as_deref().unwrap_or_default();
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"figure\">{}</td><td class=\"figure\">{}</td><td class=\"figure\">{}</td><td>{}</td></tr>",
            escape(probe.what),
            probe.successes,
            at(probe.last_success_ms),
            at(probe.first_failure_ms),
            escape(message),
        );
    }
    let ended = observed.observer_ended_ms.map_or_else(String::new, |ms| {
        format!(
            "<p class=\"muted\">The observer itself was ended at {}, as every user of the volume.</p>\n",
            seconds(ms)
        )
    });
    let log = if report.database_log.is_empty() {
        String::new()
    } else {
        format!("<h3>What the database saw</h3>\n<pre>{}</pre>\n", escape(&report.database_log.join("\n")))
    };
    format!(
        "<section>\n<h2>What a user of the volume saw</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Probe</th><th class=\"figure\">Succeeded</th>\
         <th class=\"figure\">Last</th><th class=\"figure\">First failure</th><th>Why</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n{ended}{log}</section>\n"
    )
}

fn said(report: &Report) -> String {
    let said = &report.volume_said;
    let rows: Vec<(&str, String)> = ["state", "rds_status", "cause", "detail", "request_id", "message", "next"]
        .into_iter()
        .filter_map(|name| Some((name, said[name].as_str()?.to_owned())))
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        format!("<section>\n<h2>What the volume said</h2>\n{}</section>\n", definitions(&rows))
    }
}

fn key(report: &Report) -> String {
    let Some(key) = &report.key else { return String::new() };
    let whose = match (key.own, key.shared) {
        (true, _) => "made for this drill, to be deleted",
        (false, false) => "given, used by nobody else",
        (false, true) => "given, and shared with others",
    };
    let mut rows = String::new();
    let mut policies = String::new();
    for (when, view) in
        [("Before", Some(&key.before)), ("Revoked", Some(&key.revoked)), ("Undone", key.undone.as_ref())]
    {
        let (state, grants) = view.map_or(("unknown", String::new()), |view| (view.state.as_str(), grants(view)));
        let _ = writeln!(rows, "<tr><td>{when}</td><td>{}</td><td>{}</td></tr>", escape(state), escape(&grants));
        let policy = view.map_or_else(String::new, |view| pretty(&view.policy));
        let _ = writeln!(
            policies,
            "<details><summary>Policy: {}</summary><pre>{}</pre></details>",
            when.to_lowercase(),
            escape(&policy)
        );
    }
    format!(
        "<section>\n<h2>Key</h2>\n<p><code>{}</code><br><span class=\"muted\">{whose}</span></p>\n<div class=\"scroll\"><table>\n<thead><tr><th></th><th>State</th>\
         <th>Grants</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{policies}</section>\n",
        escape(key.arn.as_str())
    )
}

fn grants(view: &KeyView) -> String {
    let names: Vec<String> = view
        .grants
        .iter()
        .map(|grant| {
            let whose = grant.grantee_principal.as_deref().unwrap_or("somebody");
            format!("{} to {whose}: {}", grant.name.as_deref().unwrap_or(&grant.id), grant.operations.join(", "))
        })
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join("; ") }
}

fn pretty(policy: &str) -> String {
    let value: Option<Value> = serde_json::from_str(policy).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| policy.to_owned())
}

fn calls(report: &Report) -> String {
    let mut rows = String::new();
    for call in &report.kms_calls {
        let outcome = match (&call.error_code, call.http_status) {
            (Some(code), _) => code.clone(),
            (None, Some(status)) => status.to_string(),
            (None, None) => "no answer".to_owned(),
        };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td><code>{}</code></td><td class=\"figure\">{:.1} ms</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(&call.operation),
            escape(&call.started_at.strftime("%H:%M:%S%.3f").to_string()),
            call.took_ms,
            escape(&outcome),
            escape(call.request_id.as_deref().unwrap_or("–")),
        );
    }
    format!(
        "<section>\n<h2>Calls of the drill to KMS</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Operation</th><th>At, UTC</th>\
         <th class=\"figure\">Took</th><th>Answer</th><th>Request id</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

fn list(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    format!("<section>\n<h2>{title}</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

pub(super) fn definitions(rows: &[(impl Display, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(&name.to_string()), escape(value)))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<script>&\"'</script>"), "&lt;script&gt;&amp;&quot;&#39;&lt;/script&gt;");
        assert_eq!(escape("a\u{1b}[31m\tb\n"), "a\u{fffd}[31m\tb\n");
        assert_eq!(
            definitions(&[("<b>", "</dd>".to_owned())]),
            "<dl>\n<dt>&lt;b&gt;</dt><dd>&lt;/dd&gt;</dd>\n</dl>\n"
        );
    }
}
