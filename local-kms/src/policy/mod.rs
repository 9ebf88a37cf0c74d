//! The IAM policy language: parses policies and says which of their statements are about a request.
//!
//! What the statements of several policies and grants decide together is the caller's to say.
//! Source: AWS IAM User Guide, "IAM JSON policy reference".

mod condition;
mod context;
mod document;
mod evaluate;
mod json;
mod principal;
#[cfg(test)]
mod tests;
mod value;
mod variables;
mod wildcard;

pub(crate) use context::Context;
pub(crate) use document::Effect;
pub use document::{Policy, PolicyKind};
pub(crate) use evaluate::{Applies, Mismatch, Request, StatementOutcome};
pub(crate) use principal::Caller;

/// What is wrong with a policy, and in which statement.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedPolicy(String);
