//! `envol kms fault`: a local KMS that is slow, throttles or is out, for drills.

use std::time::Duration;

use local_kms::FaultKind;
use local_kms::admin::{self, Request};
use serde_json::Value;

use super::arguments::{Fault, OutageAnswer, Scope};
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::output::Output;

pub(super) fn run(root: &Root, verb: &Fault, output: &Output) -> Result<(), CliError> {
    let request = match verb {
        Fault::Latency { delay, scope } => set(FaultKind::Latency { ms: ms(*delay) }, scope),
        Fault::Throttle { percent, scope } => set(FaultKind::Throttling { percent: *percent }, scope),
        Fault::Outage { answer, scope } => {
            let answer = match answer {
                OutageAnswer::InternalError => local_kms::OutageAnswer::InternalError,
                OutageAnswer::Unavailable => local_kms::OutageAnswer::Unavailable,
                OutageAnswer::Silence => local_kms::OutageAnswer::Silence,
            };
            set(FaultKind::Outage { answer }, scope)
        }
        Fault::Propagation { delay } => Request::SetPropagation { delay_ms: ms(*delay) },
        Fault::Clock { advance } => Request::AdvanceClock { by_ms: ms(*advance) },
        Fault::List => Request::ListFaults,
        Fault::Clear => Request::ClearFaults,
    };
    let answer = admin::request(&root.kms(), &request)?;
    output.print(&shown(&answer), &answer)
}

fn set(fault: FaultKind, scope: &Scope) -> Request {
    Request::SetFault { operation: scope.operation.clone(), fault, for_ms: scope.duration.map(ms) }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn shown(answer: &Value) -> String {
    let mut lines = Vec::new();
    for fault in answer["faults"].as_array().into_iter().flatten() {
        let what = match fault["kind"].as_str() {
            Some("latency") => format!("answers later, by {} ms", fault["ms"]),
            Some("throttling") => format!("throttles {} % of the calls", fault["percent"]),
            _ => format!("is out ({})", fault["answer"].as_str().unwrap_or_default()),
        };
        let operation = fault["operation"].as_str().unwrap_or("every operation");
        let left =
            fault["left_ms"].as_u64().map(|left| format!(", for {} s more", left.div_ceil(1000))).unwrap_or_default();
        lines.push(format!("{operation}: {what}{left}"));
    }
    if answer["propagation_ms"] != 0 {
        lines.push(format!("changes are seen after {} ms", answer["propagation_ms"]));
    }
    if answer["clock_moved_by_ms"] != 0 {
        lines.push(format!("the clock of the keys says {}", answer["now"].as_str().unwrap_or_default()));
    }
    if lines.is_empty() { "no faults".to_owned() } else { lines.join("\n") }
}
