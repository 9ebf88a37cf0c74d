//! What an administrator of the machine does to a KMS, beside the AWS protocol: principals and their policies,
//! simulation, faults. While the KMS is served, the server does it, asked through a socket for its owner only; one
//! process has the state open.

mod error;
mod faults;
mod principals;
mod simulate;
mod socket;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::AdminError;
pub(crate) use socket::{answer, bind};

use crate::clock::Clock;
use crate::faults::FaultKind;
use crate::kms::Kms;

/// One request; the answer is a JSON object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// A user, a role, the account root or a service, with an access key (roles have sessions instead).
    CreatePrincipal {
        /// As a person types it: `alice`, `role/db`, `root`, `rds.us-east-1.amazonaws.com`, an ARN.
        name: String,
        /// Of a service: whom it acts for.
        acting_for: Option<String>,
        /// Of a role: who may assume it.
        trusts: Vec<String>,
        /// The same as a whole trust policy.
        trust_policy: Option<String>,
    },
    ListPrincipals,
    DeletePrincipal {
        name: String,
    },
    /// Sets an identity policy, in place of one of the same name; without a document it is taken away.
    AttachPolicy {
        principal: String,
        policy_name: String,
        document: Option<String>,
    },
    Simulate(Simulation),
    SetFault {
        /// `None`: all operations.
        operation: Option<String>,
        fault: FaultKind,
        /// `None`: until it is cleared or the server ends.
        for_ms: Option<u64>,
    },
    /// Changes are seen this long after they were made.
    SetPropagation {
        delay_ms: u64,
    },
    /// Moves the clock by which keys are rotated and deleted.
    AdvanceClock {
        by_ms: u64,
    },
    ListFaults,
    /// Ends all faults, and sets the clock right.
    ClearFaults,
}

/// A call that is not made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Simulation {
    pub principal: String,
    /// `kms:Decrypt`, or `Decrypt`.
    pub action: String,
    /// Id, ARN, alias or alias ARN, for actions on a key.
    pub key: Option<String>,
    pub encryption_context: BTreeMap<String, String>,
    /// The service that would call for the principal.
    pub via_service: Option<String>,
    /// More condition keys, such as `aws:SourceIp`.
    pub condition_keys: BTreeMap<String, String>,
}

/// Has the server of `dir` answer, or, where none runs, answers from the state itself.
///
/// # Errors
/// [`AdminError`] says what the caller can do about it.
pub fn request(dir: &Path, request: &Request) -> Result<Value, AdminError> {
    if let Some(answer) = socket::ask(dir, request)? {
        return answer;
    }
    if request.is_about_a_running_server() {
        return Err(AdminError::NotServing { dir: dir.to_owned() });
    }
    handle(&Kms::open(dir, Clock::system())?, request)
}

impl Request {
    fn is_about_a_running_server(&self) -> bool {
        match self {
            Self::SetFault { .. }
            | Self::SetPropagation { .. }
            | Self::AdvanceClock { .. }
            | Self::ListFaults
            | Self::ClearFaults => true,
            Self::CreatePrincipal { .. }
            | Self::ListPrincipals
            | Self::DeletePrincipal { .. }
            | Self::AttachPolicy { .. }
            | Self::Simulate(_) => false,
        }
    }
}

/// As the server does it.
///
/// # Errors
/// As [`request`].
pub fn handle(kms: &Kms, request: &Request) -> Result<Value, AdminError> {
    // One at a time: a change looks at what is there, and then writes state and profiles.
    let _turn = kms.administration.lock().unwrap_or_else(PoisonError::into_inner);
    match request {
        Request::CreatePrincipal { name, acting_for, trusts, trust_policy } => {
            principals::create(kms, name, acting_for.as_deref(), trusts, trust_policy.as_deref())
        }
        Request::ListPrincipals => Ok(principals::list(kms)),
        Request::DeletePrincipal { name } => principals::delete(kms, name),
        Request::AttachPolicy { principal, policy_name, document } => {
            principals::attach_policy(kms, principal, policy_name, document.as_deref())
        }
        Request::Simulate(simulation) => simulate::run(kms, simulation),
        Request::SetFault { operation, fault, for_ms } => faults::set(kms, operation.as_deref(), *fault, *for_ms),
        Request::SetPropagation { delay_ms } => Ok(faults::set_propagation(kms, *delay_ms)),
        Request::AdvanceClock { by_ms } => faults::advance_clock(kms, *by_ms),
        Request::ListFaults => Ok(faults::list(kms)),
        Request::ClearFaults => Ok(faults::clear(kms)),
    }
}
