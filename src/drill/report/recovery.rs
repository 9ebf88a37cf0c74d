//! What a recovery took, for the terminal and for the page.

use super::Report;
use super::html::{definitions, escape};
use crate::drill::recovery::Recovery;

/// The figures of a recovery, in words.
pub(super) fn facts(recovery: &Recovery) -> Vec<(&'static str, String)> {
    let s = |ms: f64| format!("{:.3} s", ms / 1000.0);
    let unknown = |value: Option<String>, why: &str| value.unwrap_or_else(|| why.to_owned());
    vec![
        ("Snapshot taken within", unknown(recovery.snapshot_ms.map(s), "it was there before")),
        ("Snapshot until revocation", s(recovery.loss_window_ms)),
        ("Key allowed again at", recovery.allowed_again_at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
        ("Volume restored after", s(recovery.restored_ms)),
        ("At work after", unknown(recovery.database_up_ms.map(s), "left to whoever has the volume")),
        ("Commits lost", unknown(recovery.lost_commits.map(|lost| lost.to_string()), "what was committed since")),
    ]
}

pub(super) fn section(report: &Report) -> String {
    let Some(recovery) = &report.recovery else {
        let reason = report.recovery_reason.as_deref().unwrap_or("nothing is known of it");
        return format!("<section>\n<h2>Recovery</h2>\n<p>None: {}</p>\n</section>\n", escape(reason));
    };
    let mut rows =
        vec![("Snapshot", recovery.snapshot_id.to_string()), ("Restored to", recovery.volume_id.to_string())];
    rows.extend(facts(recovery));
    let next: String = recovery.next.iter().map(|next| format!("<p>{}</p>\n", escape(next))).collect();
    format!(
        "<section>\n<h2>Recovery</h2>\n{}{next}<h3>The way there and back, as it is typed</h3>\n<pre>{}</pre>\n</section>\n",
        definitions(&rows),
        escape(&recovery.commands.join("\n"))
    )
}
