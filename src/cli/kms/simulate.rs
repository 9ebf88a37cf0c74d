//! `envol kms simulate`: would this call be allowed, and what decides it.

use local_kms::admin::{self, Request, Simulation};
use serde_json::Value;

use super::arguments::Simulate;
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::output::Output;

pub(super) fn run(root: &Root, verb: &Simulate, output: &Output) -> Result<(), CliError> {
    let request = Request::Simulate(Simulation {
        principal: verb.principal.clone(),
        action: verb.action.clone(),
        key: verb.key.clone(),
        encryption_context: verb.context.iter().cloned().collect(),
        via_service: verb.via_service.clone(),
        condition_keys: verb.condition_key.iter().cloned().collect(),
    });
    let answer = admin::request(&root.kms(), &request)?;
    output.print(&explained(&answer), &answer)
}

fn explained(answer: &Value) -> String {
    let decision = if answer["allowed"] == true { "allowed" } else { "denied" };
    let via = answer["via_service"].as_str().map(|service| format!(" through {service}")).unwrap_or_default();
    let mut text = format!(
        "{decision}: {}\n\n{}{via}\n{} on {}\n",
        word(&answer["reason"]).trim_start_matches("because "),
        word(&answer["principal"]),
        word(&answer["action"]),
        word(&answer["resource"])
    );
    if answer["key_usable"] == false {
        text += &format!("the key is {}, so encrypting and decrypting fails whoever may\n", word(&answer["key_state"]));
    }
    for statement in items(&answer["statements"]) {
        let name = match statement["sid"].as_str() {
            Some(sid) => format!("\"{sid}\""),
            None => format!("statement {}", statement["index"].as_u64().unwrap_or_default() + 1),
        };
        text += &format!(
            "\n{}, {name}\n    {} {}\n",
            word(&statement["policy"]),
            word(&statement["effect"]),
            word(&statement["outcome"])
        );
        for condition in items(&statement["failed_conditions"]) {
            let actual = match condition["actual"].as_array() {
                Some(actual) => actual.iter().map(word).collect::<Vec<_>>().join(", "),
                None => "not in this call".to_owned(),
            };
            let wanted = items(&condition["wanted"]).map(word).collect::<Vec<_>>().join(" or ");
            text += &format!(
                "        {} {}: wants {wanted}; is {actual}\n",
                word(&condition["operator"]),
                word(&condition["key"])
            );
        }
    }
    for grant in items(&answer["grants"]) {
        let operations = items(&grant["operations"]).map(word).collect::<Vec<_>>().join(", ");
        text += &format!("\ngrant {}\n    {operations}\n    {}\n", word(&grant["grant_id"]), word(&grant["outcome"]));
        if grant["constraints"] != serde_json::json!({}) {
            text += &format!("    constraints {}\n", grant["constraints"]);
        }
    }
    text
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
