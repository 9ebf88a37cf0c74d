//! Which statements of a policy are about a request.

use super::condition::FailedCondition;
use super::context::Context;
use super::document::{Effect, Policy, Selection, Statement};
use super::principal::{Caller, Naming};
use super::wildcard::{self, Token};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) caller: &'a Caller,
    /// `kms:Decrypt`
    pub(crate) action: &'a str,
    /// An ARN, or `*` for an action on no resource.
    pub(crate) resource: &'a str,
    pub(crate) context: &'a Context,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatementOutcome {
    /// Counts from 0.
    pub(crate) index: usize,
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) applies: Applies,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    /// The statement is about this caller and request.
    Yes,
    /// An Allow that names only the caller's account: it delegates to the identity policies of that account.
    ToAccount,
    No(Mismatch),
}

/// The first element, in this order, that is not about the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Principal,
    Action,
    Resource,
    Conditions(Vec<FailedCondition>),
}

impl Policy {
    /// One outcome per statement, in order.
    pub(crate) fn evaluate(&self, request: &Request) -> Vec<StatementOutcome> {
        let outcome = |(index, statement): (usize, &Statement)| StatementOutcome {
            index,
            sid: statement.sid.clone(),
            effect: statement.effect,
            applies: statement.check(request).unwrap_or_else(Applies::No),
        };
        self.statements().iter().enumerate().map(outcome).collect()
    }
}

impl Statement {
    fn check(&self, request: &Request) -> Result<Applies, Mismatch> {
        let naming = self.principals.name(request.caller);
        if naming == Naming::NotAtAll {
            return Err(Mismatch::Principal);
        }
        let action = request.action.to_ascii_lowercase();
        if !self.actions.selects(|pattern: &Vec<Token>| wildcard::matches(pattern, &action)) {
            return Err(Mismatch::Action);
        }
        let is_the_resource = |pattern: Vec<Token>| wildcard::matches(&pattern, request.resource);
        if !self.resources.selects(|template| template.pattern(request.context).is_some_and(is_the_resource)) {
            return Err(Mismatch::Resource);
        }
        let failed: Vec<FailedCondition> =
            self.conditions.iter().filter_map(|condition| condition.check(request.context).err()).collect();
        if !failed.is_empty() {
            return Err(Mismatch::Conditions(failed));
        }
        match (naming, self.effect) {
            (Naming::ByAccount, Effect::Allow) => Ok(Applies::ToAccount),
            _ => Ok(Applies::Yes),
        }
    }
}

impl<T> Selection<T> {
    fn selects(&self, matches: impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::AnyOf(items) => items.iter().any(matches),
            Self::NoneOf(items) => !items.iter().any(matches),
        }
    }
}
