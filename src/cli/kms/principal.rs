//! `envol kms principal`: who may call the local KMS.

use std::io::Read;
use std::path::Path;

use local_kms::admin::{self, Request};
use serde_json::Value;

use super::arguments::Principal;
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::output::Output;

pub(super) fn run(root: &Root, verb: &Principal, output: &Output) -> Result<(), CliError> {
    let request = match verb {
        Principal::Create { name, acting_for, trusts, trust_policy } => Request::CreatePrincipal {
            name: name.clone(),
            acting_for: acting_for.clone(),
            trusts: trusts.clone(),
            trust_policy: trust_policy.as_deref().map(read).transpose()?,
        },
        Principal::List => Request::ListPrincipals,
        Principal::Delete { name } => Request::DeletePrincipal { name: name.clone() },
        Principal::AttachPolicy(verb) => {
            let (file, policy_name) = verb.what().map_err(CliError::usage)?;
            let document = file.map(|file| read(file)).transpose()?;
            Request::AttachPolicy { principal: verb.principal().to_owned(), policy_name, document }
        }
    };
    let answer = admin::request(&root.kms(), &request)?;
    let text = match verb {
        Principal::Create { .. } => created(&answer),
        Principal::List => table(answer["principals"].as_array().map(Vec::as_slice).unwrap_or_default()),
        Principal::Delete { .. } => format!("deleted {}", words(&answer["deleted"])),
        Principal::AttachPolicy(_) => {
            let policies = words(&answer["policies"]);
            format!(
                "{} has now: {}",
                word(&answer["principal"]),
                if policies.is_empty() { "no policy" } else { &policies }
            )
        }
    };
    output.print(&text, &answer)
}

fn read(path: &Path) -> Result<String, CliError> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
}

fn created(principal: &Value) -> String {
    let (name, profile) = (word(&principal["principal"]), word(&principal["profile"]));
    let arn = word(&principal["arn"]);
    let who = if arn.starts_with("arn:") { arn } else { name };
    format!("{who}\nprofile {profile}: aws --profile {profile} …, envol … --kms-profile {profile}")
}

fn table(principals: &[Value]) -> String {
    let width =
        |member: &str| principals.iter().map(|principal| word(&principal[member]).len()).max().unwrap_or(0).max(9);
    let (names, profiles) = (width("principal"), width("profile"));
    let mut text = format!("{:<names$}  {:<profiles$}  {}\n", "PRINCIPAL", "PROFILE", "POLICIES");
    for principal in principals {
        let policies = words(&principal["policies"]);
        let policies = if policies.is_empty() { "-" } else { &policies };
        let (name, profile) = (word(&principal["principal"]), word(&principal["profile"]));
        text += &format!("{name:<names$}  {profile:<profiles$}  {policies}\n");
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn words(list: &Value) -> String {
    list.as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(", ")
}
