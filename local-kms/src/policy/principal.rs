//! Who calls, and whom a statement names.

use super::json::Json;

#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account_id: String,
    /// Every ARN by which a policy may name the caller: a user's own; for a role session that of the session, then
    /// that of its role. Empty for a service that calls for itself.
    pub(crate) arns: Vec<String>,
    /// `rds.us-east-1.amazonaws.com` when a service calls for itself.
    pub(crate) service: Option<String>,
    pub(crate) is_account_root: bool,
}

/// The principals of a statement.
#[derive(Clone, Debug)]
pub(super) enum Principals {
    /// The principal of an identity policy is whoever the policy is attached to.
    Implied,
    Named(Vec<Principal>),
    /// `NotPrincipal`
    AllBut(Vec<Principal>),
}

#[derive(Clone, Debug)]
pub(super) enum Principal {
    Everyone,
    /// An account, written as its id or as the ARN of its root.
    Account(String),
    Arn(String),
    Service(String),
    /// A kind of principal that never calls this server.
    Absent,
}

/// How a statement names a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    NotAtAll,
    /// By the account only.
    ByAccount,
    Directly,
}

impl Principals {
    pub(super) fn name(&self, caller: &Caller) -> Naming {
        match self {
            Self::Implied => Naming::Directly,
            Self::Named(principals) if principals.iter().any(|principal| principal.is(caller)) => Naming::Directly,
            Self::Named(principals) if principals.iter().any(|principal| principal.is_account_of(caller)) => {
                Naming::ByAccount
            }
            Self::Named(_) => Naming::NotAtAll,
            // AWS tells people to except a user and their account together, which excepts nobody else of the account.
            Self::AllBut(principals) if principals.iter().any(|principal| principal.is(caller)) => Naming::NotAtAll,
            Self::AllBut(_) => Naming::Directly,
        }
    }
}

impl Principal {
    fn is(&self, caller: &Caller) -> bool {
        match self {
            Self::Everyone => true,
            Self::Account(_) => caller.is_account_root && self.is_account_of(caller),
            Self::Arn(arn) => caller.arns.contains(arn),
            Self::Service(service) => caller.service.as_deref().is_some_and(|caller| is_service(service, caller)),
            Self::Absent => false,
        }
    }

    fn is_account_of(&self, caller: &Caller) -> bool {
        // A service that calls for itself belongs to no account that a policy could name.
        matches!(self, Self::Account(id) if *id == caller.account_id) && caller.service.is_none()
    }
}

/// Whether `written` names `caller`: as it is, or without its region.
fn is_service(written: &str, caller: &str) -> bool {
    let in_a_region = |(name, domain): (&str, &str)| {
        let after_name = caller.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let region = after_name.and_then(|rest| rest.strip_suffix(domain)).and_then(|rest| rest.strip_suffix('.'));
        region.is_some_and(|region| !region.is_empty() && !region.contains('.'))
    };
    written == caller
        || written.split_once('.').filter(|(_, domain)| *domain == "amazonaws.com").is_some_and(in_a_region)
}

/// The value of a `Principal` or `NotPrincipal`.
pub(super) fn parse(element: &Json) -> Result<Vec<Principal>, String> {
    let members = match element {
        Json::String(text) if text == "*" => return Ok(vec![Principal::Everyone]),
        Json::String(text) => return Err(format!("the principal \"{text}\" is neither \"*\" nor an object")),
        Json::Object(members) => members,
        _ => return Err("a principal is \"*\" or an object".into()),
    };
    let mut principals = Vec::new();
    for (kind, names) in members {
        let parse_one: fn(&str) -> Result<Principal, String> = match kind.as_str() {
            "AWS" => parse_aws,
            "Service" => parse_service,
            "Federated" | "CanonicalUser" => |_| Ok(Principal::Absent),
            _ => return Err(format!("unknown kind of principal \"{kind}\"")),
        };
        for name in names.strings().ok_or_else(|| format!("the principals of \"{kind}\" are not strings"))? {
            principals.push(parse_one(name)?);
        }
    }
    if principals.is_empty() {
        return Err("it names no principal".into());
    }
    Ok(principals)
}

fn parse_aws(name: &str) -> Result<Principal, String> {
    if name == "*" {
        return Ok(Principal::Everyone);
    }
    if is_account_id(name) {
        return Ok(Principal::Account(name.to_owned()));
    }
    let invalid = |reason: &str| Err(format!("invalid principal \"{name}\": {reason}"));
    if name.contains(['*', '?']) {
        return invalid("a wildcard can only be everyone, \"*\"");
    }
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, "root"] if !partition.is_empty() && is_account_id(account) => {
            Ok(Principal::Account((*account).to_owned()))
        }
        ["arn", _, "iam", "", _, group] if group.starts_with("group/") => invalid("a group is no principal"),
        ["arn", partition, "iam" | "sts", "", account, resource]
            if !partition.is_empty() && is_account_id(account) && !resource.is_empty() =>
        {
            Ok(Principal::Arn(name.to_owned()))
        }
        _ => invalid("it is neither an account nor the ARN of a user, a role or a session"),
    }
}

fn parse_service(name: &str) -> Result<Principal, String> {
    if name.contains(['*', '?']) || !name.contains('.') {
        return Err(format!("invalid service principal \"{name}\""));
    }
    Ok(Principal::Service(name.to_owned()))
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
