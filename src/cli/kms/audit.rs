//! `envol kms audit`: the audit log, a line a record.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use local_kms::{AuditFilter, AuditRecord, read_audit};
use serde_json::Value;

use super::super::error::CliError;
use super::super::exit_code::ExitStatus;
use super::super::interruption::Interruption;
use super::super::output::{Output, printed};
use super::failed;

pub(super) fn run(dir: &Path, filter: &AuditFilter, follow: bool, output: &Output) -> Result<(), CliError> {
    let interruption = if follow { Some(Interruption::await_one()?) } else { None };
    let until = interruption.as_ref().map(|interruption| &interruption.received);

    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let read = read_audit(dir, filter, until, &mut |record| {
        written = print(&mut out, record, output.json);
        // Who follows the log reads each record when it comes.
        if follow && written.is_ok() {
            written = out.flush();
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let summary = read.map_err(|error| failed(ExitStatus::of_kms_open(&error), &error))?;
    printed(written.and_then(|()| out.flush()))?;
    if summary.torn_lines > 0 {
        let lines = if summary.torn_lines == 1 { "line is no whole record" } else { "lines are no whole records" };
        output.warning(&format!("{} {lines}, torn by a crash or a full disk, and not shown", summary.torn_lines));
    }
    Ok(())
}

fn print(out: &mut impl Write, read: &AuditRecord, json: bool) -> io::Result<()> {
    if json { writeln!(out, "{}", read.line) } else { writeln!(out, "{}", text(read.record)) }
}

/// For people: when, what, who, under which key, for what, and what came of it.
fn text(record: &Value) -> String {
    let field = |name: &str| record[name].as_str().unwrap_or("-");
    // The longest name is that by which volumes are made: GenerateDataKeyWithoutPlaintext.
    let mut line = format!("{}  {:<31}  {:<12}", field("eventTime"), field("eventName"), caller(record));
    line += &format!("  {:<36}", keys(record));
    for (name, value) in contexts(record) {
        line += &format!("  {name}={}", value.as_str().unwrap_or_default());
    }
    line += &format!("  {}", record["errorCode"].as_str().unwrap_or("ok"));
    // Whoever calls the KMS chooses some of it, and must not write on the terminal of who reads the log.
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The user's name, `ROLE/SESSION`, or the service; and the service through which one called.
fn caller(record: &Value) -> String {
    let identity = &record["userIdentity"];
    let arn = identity["arn"].as_str();
    let role_session = arn.and_then(|arn| arn.split_once(":assumed-role/")).map(|(_, session)| session);
    let invoked_by = identity["invokedBy"].as_str();
    match (identity["userName"].as_str().or(role_session).or(arn), invoked_by) {
        (Some(who), Some(service)) => format!("{who} via {service}"),
        (who, service) => who.or(service).unwrap_or("-").to_owned(),
    }
}

/// The ids of the keys that were touched, else what the call named.
fn keys(record: &Value) -> String {
    let resources = record["resources"].as_array().into_iter().flatten();
    let arns: Vec<&str> = resources.filter_map(|resource| resource["ARN"].as_str()).collect();
    let mut ids: Vec<&str> = arns.iter().filter_map(|arn| arn.split_once(":key/")).map(|(_, id)| id).collect();
    ids.dedup();
    if ids.is_empty() {
        ids.extend(arns.iter().filter_map(|arn| arn.rsplit(':').next()));
    }
    if ids.is_empty() {
        ids.extend(record["requestParameters"]["keyId"].as_str());
    }
    if ids.is_empty() { "-".to_owned() } else { ids.join(" ") }
}

/// The pairs of the encryption context; of a re-encryption those of both, of a grant those of its constraint.
fn contexts(record: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let parameters = &record["requestParameters"];
    [
        &parameters["encryptionContext"],
        &parameters["sourceEncryptionContext"],
        &parameters["destinationEncryptionContext"],
        &parameters["constraints"]["encryptionContextSubset"],
        &parameters["constraints"]["encryptionContextEquals"],
    ]
    .into_iter()
    .filter_map(Value::as_object)
    .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_line_says_who_did_what_for_what_and_what_came_of_it() {
        let arn = format!("arn:aws:kms:us-east-1:111122223333:key/{KEY}");
        let record = json!({
            "eventTime": "2026-11-24T17:20:28Z", "eventName": "Decrypt", "userIdentity": { "userName": "ana" },
            "requestParameters": { "encryptionContext": { "aws:ebs:id": "vol-1", "aws:rds:db-id": "db-A" } },
            "resources": [{ "ARN": arn }], "errorCode": "DisabledException",
        });
        assert_eq!(
            text(&record),
            format!(
                "2026-11-24T17:20:28Z  Decrypt                          ana           {KEY}  aws:ebs:id=vol-1  \
                 aws:rds:db-id=db-A  DisabledException"
            )
        );
        assert_eq!(text(&json!({})), format!("-  {:<31}  {:<12}  {:<36}  ok", "-", "-", "-"));
    }

    #[test]
    fn the_caller_is_a_user_a_session_or_a_service() {
        let session = "arn:aws:sts::111122223333:assumed-role/volumes/i-0c9d";
        for (identity, expected) in [
            (json!({ "userName": "ana", "arn": "arn:aws:iam::111122223333:user/ana" }), "ana"),
            (json!({ "userName": "ana", "invokedBy": "rds.amazonaws.com" }), "ana via rds.amazonaws.com"),
            (json!({ "arn": session }), "volumes/i-0c9d"),
            (json!({ "arn": session, "invokedBy": "AWS Internal" }), "volumes/i-0c9d via AWS Internal"),
            (json!({ "accountId": "111122223333", "invokedBy": "AWS Internal" }), "AWS Internal"),
            (json!({ "arn": "arn:aws:iam::111122223333:root" }), "arn:aws:iam::111122223333:root"),
        ] {
            assert_eq!(caller(&json!({ "userIdentity": identity })), expected);
        }
    }

    #[test]
    fn keys_are_named_by_id_and_else_as_the_call_named_them() {
        let arn = |resource: &str| format!("arn:aws:kms:us-east-1:111122223333:{resource}");
        let resources = |of: &[&str]| of.iter().map(|name| json!({ "ARN": arn(name) })).collect::<Vec<_>>();
        for (record, expected) in [
            (json!({ "resources": resources(&["alias/a", "key/k"]) }), "k"),
            (json!({ "resources": resources(&["key/k", "key/k"]) }), "k"),
            (json!({ "resources": resources(&["key/k", "key/l"]) }), "k l"),
            (json!({ "resources": resources(&["alias/a"]) }), "alias/a"),
            (json!({ "resources": [], "requestParameters": { "keyId": "alias/lost" } }), "alias/lost"),
            (json!({ "resources": [], "requestParameters": null }), "-"),
        ] {
            assert_eq!(keys(&record), expected, "{record}");
        }
    }

    #[test]
    fn what_a_caller_chose_does_not_reach_the_terminal_as_control_characters() {
        let record = json!({ "requestParameters": { "encryptionContext": { "a\u{1b}[2J": "b\nok é" } } });
        assert!(text(&record).ends_with("  a\\u{1b}[2J=b\\nok é  ok"), "{}", text(&record));
    }
}
