//! May this caller do this with this key? Key policy, identity policies and grants together, as AWS combines them.
//!
//! Sources: AWS KMS Developer Guide, "Troubleshooting key access" (the order of evaluation); IAM User Guide, "Policy
//! evaluation logic".

mod grant;

use crate::encryption_context::EncryptionContext;
use crate::policy::{Applies, Context, Effect, Policy, Request, StatementOutcome};
use crate::principals::Caller;
use crate::state::{GrantRecord, GrantsFor};
pub(crate) use grant::{Child, GrantOutcome};

/// Operations that a caller of another account never may (KMS Developer Guide, "Permissions reference": "Cross-account
/// use: No").
const OWN_ACCOUNT_ONLY: [&str; 26] = [
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateKey",
    "DeleteAlias",
    "DeleteImportedKeyMaterial",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "EnableKeyRotation",
    "GenerateRandom",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetParametersForImport",
    "ImportKeyMaterial",
    "ListAliases",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "PutKeyPolicy",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateKeyDescription",
];

/// Which of the caller's grants a decision has to look at.
pub(crate) fn grants_for<'a>(action: &str, context: &'a EncryptionContext) -> GrantsFor<'a> {
    if grant::WITH_ENCRYPTION_CONTEXT.contains(&action) { GrantsFor::Context(context) } else { GrantsFor::Any }
}

/// What is to be decided.
pub(crate) struct Question<'a> {
    /// Whose the resource is.
    pub(crate) account_id: &'a str,
    pub(crate) caller: &'a Caller,
    /// The permission, as `kms:Decrypt`.
    pub(crate) action: &'a str,
    /// An ARN, or `*` where an operation has no resource.
    pub(crate) resource: &'a str,
    pub(crate) context: &'a Context,
    pub(crate) encryption_context: &'a EncryptionContext,
    /// The grant that CreateGrant is to make.
    pub(crate) child: Option<&'a Child>,
}

impl Question<'_> {
    /// The permission as grants name it.
    fn operation(&self) -> &str {
        self.action.split_once(':').map_or(self.action, |(_, operation)| operation)
    }
}

/// What a key says, or a role of who may assume it; other resources say nothing.
pub(crate) struct ResourceRules {
    pub(crate) policy: Policy,
    /// Those of the caller.
    pub(crate) grants: Vec<GrantRecord>,
}

/// The decision, and every statement and grant that had a part in it or had none.
pub(crate) struct Verdict<'a> {
    pub(crate) decision: Decision,
    pub(crate) policies: Vec<PolicyOutcome>,
    pub(crate) grants: Vec<(&'a GrantRecord, GrantOutcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed(Basis),
    Denied(Denial),
}

/// What allowed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    KeyPolicy,
    Grant,
    /// The key policy leaves it to IAM, and IAM allows it.
    IdentityPolicy,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Explicit(PolicySource),
    NotAllowedBy(PolicySource),
    OtherAccount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicySource {
    Resource,
    Identity,
    Session,
}

pub(crate) struct PolicyOutcome {
    pub(crate) source: PolicySource,
    /// Of an identity policy.
    pub(crate) name: Option<String>,
    pub(crate) statements: Vec<StatementOutcome>,
}

impl PolicyOutcome {
    fn has(&self, effect: Effect, applies: fn(&Applies) -> bool) -> bool {
        self.statements.iter().any(|statement| statement.effect == effect && applies(&statement.applies))
    }
}

fn directly(applies: &Applies) -> bool {
    matches!(applies, Applies::Yes)
}

pub(crate) fn decide<'a>(question: &Question, rules: Option<&'a ResourceRules>) -> Verdict<'a> {
    let policies = outcomes(question, rules);
    let grants = rules.map(|rules| rules.grants.as_slice()).unwrap_or_default();
    let grants: Vec<_> = grants.iter().map(|grant| (grant, grant::outcome(grant, question))).collect();
    let decision = conclude(question, rules.is_some(), &policies, &grants);
    Verdict { decision, policies, grants }
}

fn outcomes(question: &Question, rules: Option<&ResourceRules>) -> Vec<PolicyOutcome> {
    let caller = question.caller;
    let for_policies = caller.for_policies();
    let Question { action, resource, context, .. } = *question;
    let request = Request { caller: &for_policies, action, resource, context };
    let outcome = |source, name, policy: &Policy| PolicyOutcome { source, name, statements: policy.evaluate(&request) };
    let mut policies = Vec::new();
    policies.extend(rules.map(|rules| outcome(PolicySource::Resource, None, &rules.policy)));
    let identity = caller.principal.policies.iter();
    policies.extend(identity.map(|(name, policy)| outcome(PolicySource::Identity, Some(name.clone()), policy)));
    let session = caller.session.as_ref().and_then(|session| session.policy.as_ref());
    policies.extend(session.map(|policy| outcome(PolicySource::Session, None, policy)));
    policies
}

fn conclude(
    question: &Question,
    has_rules: bool,
    policies: &[PolicyOutcome],
    grants: &[(&GrantRecord, GrantOutcome)],
) -> Decision {
    // 1. An explicit deny, wherever it stands, beats everything, also a grant.
    if let Some(deny) = policies.iter().find(|policy| policy.has(Effect::Deny, directly)) {
        return Decision::Denied(Denial::Explicit(deny.source));
    }
    let of = |source| policies.iter().filter(move |policy| policy.source == source);
    let allows = |source| of(source).any(|policy| policy.has(Effect::Allow, directly));
    // 2. A session can do no more than its session policy.
    if of(PolicySource::Session).next().is_some() && !allows(PolicySource::Session) {
        return Decision::Denied(Denial::NotAllowedBy(PolicySource::Session));
    }
    let caller = question.caller.for_policies();
    let identity = caller.is_account_root || allows(PolicySource::Identity);
    let own_account = caller.account_id == question.account_id;
    if !own_account && (!has_rules || OWN_ACCOUNT_ONLY.contains(&question.operation())) {
        return Decision::Denied(Denial::OtherAccount);
    }
    // 3. What has no policy of its own.
    if !has_rules {
        return if identity {
            Decision::Allowed(Basis::IdentityPolicy)
        } else {
            Decision::Denied(Denial::NotAllowedBy(PolicySource::Identity))
        };
    }
    // 4. The key (or role) must have a part in it: its policy names the caller, a grant does, or its policy leaves it to IAM.
    let delegates = of(PolicySource::Resource)
        .any(|policy| policy.has(Effect::Allow, |applies| matches!(applies, Applies::ToAccount)));
    let basis = if allows(PolicySource::Resource) {
        Basis::KeyPolicy
    } else if grants.iter().any(|(_, outcome)| *outcome == GrantOutcome::Allows) {
        Basis::Grant
    } else if delegates && identity {
        Basis::IdentityPolicy
    } else if delegates {
        return Decision::Denied(Denial::NotAllowedBy(PolicySource::Identity));
    } else {
        return Decision::Denied(Denial::NotAllowedBy(PolicySource::Resource));
    };
    // 5. Another account must allow its own principal, too.
    if own_account || identity {
        Decision::Allowed(basis)
    } else {
        Decision::Denied(Denial::NotAllowedBy(PolicySource::Identity))
    }
}

impl Denial {
    /// The end of AWS's sentence: why. `action` as `kms:Decrypt`.
    pub(crate) fn reason(self, action: &str) -> String {
        let name = |source| match source {
            PolicySource::Resource => "resource-based policy",
            PolicySource::Identity => "identity-based policy",
            PolicySource::Session => "session policy",
        };
        match self {
            Self::Explicit(PolicySource::Identity) => "with an explicit deny in an identity-based policy".to_owned(),
            Self::Explicit(source) => format!("with an explicit deny in a {}", name(source)),
            Self::NotAllowedBy(source) => format!("because no {} allows the {action} action", name(source)),
            Self::OtherAccount => format!("because no resource-based policy allows the {action} action"),
        }
    }
}
