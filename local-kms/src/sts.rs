//! The two operations of STS that SDKs need for sessions of roles: GetCallerIdentity and AssumeRole. The protocol is
//! AWS Query: a form in, XML out (<https://docs.aws.amazon.com/STS/latest/APIReference/>).

use std::io;

use http::StatusCode;
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::audit::{Origin, Record, Trail};
use crate::kms::Kms;
use crate::policy::{Applies, Context, Effect, Policy, PolicyKind, Request};
use crate::principals::{Principal, PrincipalId, SessionToken, new_session};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const DEFAULT_DURATION_S: i64 = 3600;
/// AWS: one session policy.
const MAX_POLICY_LEN: usize = 2048;

/// What AWS would narrow or mark a session by, and this server would not: refused rather than left out.
const UNSUPPORTED: [&str; 6] =
    ["PolicyArns.", "Tags.", "TransitiveTagKeys.", "SerialNumber", "SourceIdentity", "ProvidedContexts."];

/// Why a call is refused.
struct Refusal {
    code: &'static str,
    message: String,
}

type Form = Vec<(String, String)>;

/// Whether a body is a form of this version of STS.
pub(crate) fn is_sts(body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split('&').any(|pair| pair == "Version=2011-06-15")
}

pub(crate) fn answer(kms: &Kms, origin: &Origin, body: &[u8]) -> (StatusCode, Zeroizing<String>) {
    let form = parse_form(std::str::from_utf8(body).unwrap_or_default());
    let action = value(&form, "Action").unwrap_or_default();
    let result = match action {
        "GetCallerIdentity" => Ok(caller_identity(origin)),
        "AssumeRole" => assume_role(kms, origin, &form),
        _ => Err(Refusal {
            code: "InvalidAction",
            message: format!("Could not find operation {action} for version 2011-06-15"),
        }),
    };
    if action == "AssumeRole"
        && let Err(error) = record(kms, origin, &form, result.as_ref().err())
    {
        tracing::error!("cannot record a call of STS: {error}");
        return refusal("InternalFailure", "The request could not be recorded.", &origin.request_id);
    }
    match result {
        Ok(result) => {
            let text = format!(
                "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{}</{action}Result><ResponseMetadata>\
                 <RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
                *result, origin.request_id
            );
            (StatusCode::OK, Zeroizing::new(text))
        }
        Err(Refusal { code, message }) => refusal(code, &message, &origin.request_id),
    }
}

pub(crate) fn refusal(code: &str, message: &str, request_id: &str) -> (StatusCode, Zeroizing<String>) {
    // What the signature check says in the words of KMS, STS says in its own.
    let code = match code {
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "ExpiredTokenException" => "ExpiredToken",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        other => other,
    };
    let status = match code {
        "AccessDenied" | "InvalidClientTokenId" | "SignatureDoesNotMatch" => StatusCode::FORBIDDEN,
        "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let text = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escaped(message)
    );
    (status, Zeroizing::new(text))
}

fn caller_identity(origin: &Origin) -> Zeroizing<String> {
    let caller = origin.caller;
    Zeroizing::new(format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        escaped(&caller.arn()),
        escaped(&caller.unique_id()),
        caller.account_id()
    ))
}

fn assume_role(kms: &Kms, origin: &Origin, form: &Form) -> Result<Zeroizing<String>, Refusal> {
    let invalid = |message: String| Refusal { code: "ValidationError", message };
    if let Some((name, _)) = form.iter().find(|(name, _)| UNSUPPORTED.iter().any(|begin| name.starts_with(begin))) {
        return Err(invalid(format!("{name} is not supported by this server.")));
    }
    let role_arn = value(form, "RoleArn").ok_or_else(|| invalid("RoleArn is required.".to_owned()))?;
    let name = value(form, "RoleSessionName").ok_or_else(|| invalid("RoleSessionName is required.".to_owned()))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    let duration_s = match value(form, "DurationSeconds").map(str::parse) {
        None => DEFAULT_DURATION_S,
        Some(Ok(seconds @ 900..=43200)) => seconds,
        Some(_) => return Err(invalid("DurationSeconds must be between 900 and 43200.".to_owned())),
    };
    let policy = value(form, "Policy").map(str::to_owned);
    if let Some(text) = &policy {
        let malformed = |message: String| Refusal { code: "MalformedPolicyDocument", message };
        if text.len() > MAX_POLICY_LEN {
            return Err(malformed(format!("A session policy has at most {MAX_POLICY_LEN} characters.")));
        }
        Policy::parse(text, PolicyKind::Identity).map_err(|error| malformed(error.to_string()))?;
    }

    // Whether the role exists is not told to whom it does not trust.
    let denied = || Refusal {
        code: "AccessDenied",
        message: format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            origin.caller.arn()
        ),
    };
    let id: Option<PrincipalId> = role_arn.starts_with("arn:").then(|| role_arn.parse().ok()).flatten();
    let id = id.ok_or_else(|| invalid(format!("{role_arn} is invalid")))?;
    let directory = kms.directory();
    let role = directory.principal(&id).ok_or_else(denied)?;
    if !may_assume(origin, role, role_arn, value(form, "ExternalId")) {
        return Err(denied());
    }
    let issued = origin.received;
    let expires = issued + SignedDuration::from_secs(duration_s);
    let session = new_session(&kms.root_key, |access_key_id, secret| SessionToken {
        access_key_id,
        secret,
        role: id.clone(),
        role_unique_id: role.record.unique_id.clone(),
        session_name: name.to_owned(),
        issued,
        expires,
        policy,
    })
    .map_err(|error| Refusal { code: "InternalFailure", message: error.to_string() })?;
    let PrincipalId::Role { account_id: account, name: role_name } = &id else { return Err(denied()) };
    Ok(Zeroizing::new(format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>{}:{name}</AssumedRoleId>\
         <Arn>arn:aws:sts::{account}:assumed-role/{role_name}/{name}</Arn></AssumedRoleUser>",
        session.token.access_key_id,
        session.token.secret.expose(),
        *session.text,
        expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        role.record.unique_id,
    )))
}

/// The role's trust policy names the caller; or it leaves it to the caller's account, whose IAM allows it.
fn may_assume(origin: &Origin, role: &Principal, role_arn: &str, external_id: Option<&str>) -> bool {
    let Some(trust) = &role.trust_policy else { return false };
    let mut context = Context::default();
    origin.describe(&mut context);
    origin.caller.describe(&mut context);
    if let Some(external_id) = external_id {
        context.insert("sts:ExternalId", external_id);
    }
    let caller = origin.caller.for_policies();
    let request = Request { caller: &caller, action: "sts:AssumeRole", resource: role_arn, context: &context };
    let of_role = trust.evaluate(&request);
    let of_caller: Vec<_> =
        origin.caller.principal.policies.iter().flat_map(|(_, policy)| policy.evaluate(&request)).collect();
    let applies = |outcomes: &[crate::policy::StatementOutcome], effect: Effect, wanted: fn(&Applies) -> bool| {
        outcomes.iter().any(|outcome| outcome.effect == effect && wanted(&outcome.applies))
    };
    let yes: fn(&Applies) -> bool = |applies| matches!(applies, Applies::Yes);
    let to_account: fn(&Applies) -> bool = |applies| matches!(applies, Applies::ToAccount);
    if applies(&of_role, Effect::Deny, yes) || applies(&of_caller, Effect::Deny, yes) {
        return false;
    }
    let own_account = role.record.id.account_id() == origin.caller.account_id();
    let by_caller = applies(&of_caller, Effect::Allow, yes) || caller.is_account_root;
    let by_role = applies(&of_role, Effect::Allow, yes);
    (by_role && (own_account || by_caller)) || (applies(&of_role, Effect::Allow, to_account) && by_caller)
}

fn record(kms: &Kms, origin: &Origin, form: &Form, refusal: Option<&Refusal>) -> io::Result<()> {
    let parameters = serde_json::json!({
        "roleArn": value(form, "RoleArn"),
        "roleSessionName": value(form, "RoleSessionName"),
    });
    let error = refusal.map(|refusal| (refusal.code, refusal.message.clone()));
    let (now, operation) = (kms.clock.now(), ("AssumeRole", true));
    let record = Record::call(&kms.account, now, origin, operation, parameters, Trail::default(), error);
    kms.audit.append(&record.of_sts())
}

fn value<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// `application/x-www-form-urlencoded` (WHATWG URL, 5.1).
fn parse_form(body: &str) -> Form {
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = || std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok();
        match bytes[at] {
            b'+' => decoded.push(b' '),
            b'%' if let Some(Ok(byte)) = escape().map(|digits| u8::from_str_radix(digits, 16)) => {
                decoded.push(byte);
                at += 2;
            }
            byte => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_are_written() {
        let form = parse_form("Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam&Note=a+b%2Bc&Odd=%zz%4");
        assert_eq!(value(&form, "RoleArn"), Some("arn:aws:iam"));
        assert_eq!(value(&form, "Note"), Some("a b+c"));
        assert_eq!(value(&form, "Odd"), Some("%zz%4"));
        assert!(is_sts(b"Action=GetCallerIdentity&Version=2011-06-15"));
        assert!(!is_sts(br#"{"KeyId":"Version=2011-06-15"}"#));
    }
}
