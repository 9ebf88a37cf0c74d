//! The two operations of STS that SDKs need for sessions of roles: GetCallerIdentity and AssumeRole. The protocol is
//! AWS Query: a form in, XML out (<https://docs.aws.amazon.com/STS/latest/APIReference/>).

use std::io;

use http::StatusCode;
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::audit::{Origin, Record, Trail};
use crate::authorization::{Decision, Question, ResourceRules, decide};
use crate::encryption_context::EncryptionContext;
use crate::kms::Kms;
use crate::policy::{Context, Policy, PolicyKind};
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
    let form: Form = form_urlencoded::parse(body).into_owned().collect();
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

/// As with a key: the trust policy names the caller, or it leaves it to their account, whose IAM allows it. No session
/// policy and no Deny is passed over.
fn may_assume(origin: &Origin, role: &Principal, role_arn: &str, external_id: Option<&str>) -> bool {
    let Some(trust) = &role.trust_policy else { return false };
    let mut context = Context::default();
    origin.describe(&mut context);
    origin.caller.describe(&mut context);
    if let Some(external_id) = external_id {
        context.insert("sts:ExternalId", external_id);
    }
    let question = Question {
        account_id: role.record.id.account_id(),
        caller: origin.caller,
        action: "sts:AssumeRole",
        resource: role_arn,
        context: &context,
        encryption_context: &EncryptionContext::default(),
        child: None,
    };
    let rules = ResourceRules { policy: trust.clone(), grants: Vec::new() };
    matches!(decide(&question, Some(&rules)).decision, Decision::Allowed(_))
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::admin::{self, Request};
    use crate::clock::Clock;
    use crate::principals::Session;
    use crate::{InitOptions, init};

    #[test]
    fn a_session_policy_also_decides_which_roles_a_session_may_assume() {
        let dir = TempDir::new().unwrap();
        init(dir.path(), &InitOptions::default()).unwrap();
        let kms = Kms::open(dir.path(), Clock::system()).unwrap();
        for (name, trusts) in [("role/first", "root"), ("role/second", "role/first")] {
            let (name, trusts) = (name.to_owned(), vec![trusts.to_owned()]);
            let create = Request::CreatePrincipal { name, acting_for: None, trusts, trust_policy: None };
            admin::handle(&kms, &create).unwrap();
        }
        let directory = kms.directory();
        let first = directory.principal(&"role/first".parse().unwrap()).unwrap();
        let assume_with = |action: Option<&str>| {
            let policy = action.map(|action| {
                format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
            });
            let policy = policy.map(|text| Policy::parse(&text, PolicyKind::Identity).unwrap());
            let session = Session { name: "s1".to_owned(), issued: kms.clock.unmoved(), policy };
            let caller = kms.caller(&directory, first, String::new(), Some(session)).unwrap();
            let origin = Origin {
                caller: &caller,
                source_ip: "127.0.0.1".to_owned(),
                user_agent: None,
                request_id: "request".to_owned(),
                received: kms.clock.unmoved(),
                region: "us-east-1",
            };
            let body = b"Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/second&RoleSessionName=s2";
            answer(&kms, &origin, body).0
        };
        assert_eq!(assume_with(None), StatusCode::OK);
        assert_eq!(assume_with(Some("sts:AssumeRole")), StatusCode::OK);
        assert_eq!(assume_with(Some("kms:*")), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_form_of_sts_is_told_from_what_only_mentions_it() {
        assert!(is_sts(b"Action=GetCallerIdentity&Version=2011-06-15"));
        assert!(!is_sts(br#"{"KeyId":"Version=2011-06-15"}"#));
    }
}
