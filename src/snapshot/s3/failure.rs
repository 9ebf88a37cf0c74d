//! What a person reads when S3 cannot be used: which store, why, and what to do.

use std::error::Error;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};

/// In errors of the client, where credentials failed and not a request.
pub(super) const CREDENTIALS: &str = "S3 credentials";

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) store: String,
    pub(super) bucket: String,
    pub(super) endpoint: String,
}

/// Stands in the error of the client instead of its own words, which are a URL and XML.
#[derive(Debug)]
struct S3Failure {
    store: String,
    problem: String,
    advice: &'static str,
    /// By anybody who could say what became of the request.
    answered: bool,
}

impl fmt::Display for S3Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.store, self.problem)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ". {}", self.advice) }
    }
}

impl Error for S3Failure {}

/// The words for a person, without those that the client puts before.
pub(in crate::snapshot) fn said(error: &object_store::Error) -> String {
    failure(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whoever asks something else meanwhile waits as long once more.
pub(in crate::snapshot) fn was_unanswered(error: &object_store::Error) -> bool {
    failure(error).is_some_and(|failure| !failure.answered)
}

fn failure(error: &object_store::Error) -> Option<&S3Failure> {
    match error {
        object_store::Error::Generic { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

/// The request was sent, and nobody knows what became of it.
pub(super) fn was_cut_off(error: &object_store::Error) -> bool {
    let kind = http_error(error).map(HttpError::kind);
    matches!(kind, Some(HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Unknown))
}

impl Place {
    /// That an object is there or not is for whoever asked; the rest is for a person.
    pub(super) fn explain(&self, error: object_store::Error) -> object_store::Error {
        use object_store::Error as Client;
        let missing_bucket = || error.to_string().contains("NoSuchBucket");
        let answers = match &error {
            Client::NotFound { .. } => !missing_bucket(),
            Client::AlreadyExists { .. } | Client::Precondition { .. } | Client::NotModified { .. } => true,
            _ => false,
        };
        if answers {
            return error;
        }
        let (problem, advice) = self.words(&error);
        let answered = http_error(&error).is_none();
        let failure = S3Failure { store: self.store.clone(), problem, advice, answered };
        Client::Generic { store: "S3", source: Box::new(failure) }
    }

    fn words(&self, error: &object_store::Error) -> (String, &'static str) {
        let Self { bucket, endpoint, .. } = self;
        if let object_store::Error::Generic { store: CREDENTIALS, source } = error {
            return (source.to_string(), "");
        }
        if let Some(http) = http_error(error) {
            let cause = innermost(http);
            return match http.kind() {
                HttpErrorKind::Connect => (format!("nobody answers at {endpoint}: {cause}"), CHECK_NETWORK),
                HttpErrorKind::Timeout => (format!("{endpoint} did not answer in time: {cause}"), CHECK_NETWORK),
                HttpErrorKind::Decode => (format!("the answer of {endpoint} is none of S3: {cause}"), CHECK_NETWORK),
                _ => (format!("the connection to {endpoint} was cut: {cause}"), CHECK_NETWORK),
            };
        }
        let text = chain(error);
        let status = text.split_once("status code: ").map_or(text.as_str(), |(_, rest)| rest);
        let status = status.split([':', '<']).next().unwrap_or_default().trim();
        let code = element(&text, "Code").unwrap_or_default();
        let answer = match (code, element(&text, "Message")) {
            ("", _) if status.starts_with(|first: char| first.is_ascii_digit()) => format!("{endpoint} said {status}"),
            ("", _) => text.clone(),
            (code, None) => format!("{endpoint} said {code}"),
            (code, Some(message)) => format!("{endpoint} said {code}: {}", message.trim_end_matches('.')),
        };
        let advice = match code {
            "NoSuchBucket" => {
                return (format!("there is no bucket `{bucket}` at {endpoint}"), "Create it, or correct --store");
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => ALLOW,
            "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired" => {
                "Check the credentials: the AWS variables, or the profile that --store-profile names"
            }
            "RequestTimeTooSkewed" => "Set the clock of this host",
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => OTHER_REGION,
            "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" => "Try again later",
            "" if status.starts_with("403") => ALLOW,
            "" if text.contains("incorrectly configured region") || status.starts_with("301") => OTHER_REGION,
            "" if status.starts_with('5') => "Try again later",
            _ => "",
        };
        (answer, advice)
    }
}

const CHECK_NETWORK: &str = "Check that the server runs, the network, and AWS_ENDPOINT_URL_S3, and try again";
const ALLOW: &str = "Allow it in S3 (docs/aws.md has the policy), or use credentials that may do it";
const OTHER_REGION: &str = "The bucket is in another region: set AWS_REGION, or `region` in the profile";

fn http_error(error: &object_store::Error) -> Option<&HttpError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http);
        }
        next = error.source();
    }
    None
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Every cause; each often repeats what is below it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}

/// Of the XML that S3 answers with.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(value, _)| value.trim())
}
