//! The Authorization header:
//! `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX`.

use http::HeaderMap;

use super::{Scope, SignatureError, canonical};

pub(super) struct Authorization<'a> {
    pub(super) access_key_id: &'a str,
    /// `DATE/REGION/SERVICE/aws4_request`, as signed.
    pub(super) scope: &'a str,
    /// `YYYYMMDD`.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    terminator: &'a str,
    /// Lower case, sorted, each once.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(headers: &'a HeaderMap) -> Result<Self, SignatureError> {
        let header = canonical::single(headers, "authorization")?.ok_or(SignatureError::MissingToken)?;
        let parameters = header
            .strip_prefix("AWS4-HMAC-SHA256")
            .filter(|rest| rest.starts_with([' ', '\t']))
            .ok_or_else(|| incomplete("Unsupported AWS 'algorithm': KMS requires 'AWS4-HMAC-SHA256'."))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter
                .trim()
                .split_once('=')
                .ok_or_else(|| incomplete("Authorization header has a part without '='."))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("Authorization header has an unknown parameter.")),
            };
            if slot.replace(value).is_some() {
                return Err(incomplete("Authorization header has a parameter twice."));
            }
        }
        let credential = credential.ok_or_else(|| requires("Credential"))?;
        let signed_headers: Vec<&str> = signed_headers.ok_or_else(|| requires("SignedHeaders"))?.split(';').collect();
        if !signed_headers.is_sorted_by(|a, b| a < b) || signed_headers.iter().any(|name| !is_lower_case_token(name)) {
            return Err(incomplete("SignedHeaders must be lower case, sorted, and name each header once."));
        }

        let malformed = || incomplete("Credential must be ACCESS_KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request.");
        let (access_key_id, scope) = credential.split_once('/').ok_or_else(malformed)?;
        let parts: Vec<&str> = scope.split('/').collect();
        let &[date, region, service, terminator] = parts.as_slice() else {
            return Err(malformed());
        };
        Ok(Self {
            access_key_id,
            scope,
            date,
            region,
            service,
            terminator,
            signed_headers,
            signature: signature.ok_or_else(|| requires("Signature"))?,
        })
    }

    pub(super) fn check_scope(&self, scope: &Scope, request_date: &str) -> Result<(), SignatureError> {
        let problem = if self.region != scope.region {
            format!("Credential should be scoped to a valid region, not '{}'.", self.region)
        } else if self.service != scope.service {
            format!("Credential should be scoped to correct service: '{}'.", scope.service)
        } else if self.terminator != "aws4_request" {
            "Credential should be scoped with a valid terminator: 'aws4_request'.".to_owned()
        } else if !request_date.starts_with(self.date) || self.date.len() != "YYYYMMDD".len() {
            format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}', from \
                 '{request_date}'.",
                self.date
            )
        } else {
            return Ok(());
        };
        Err(SignatureError::WrongScope(problem))
    }
}

fn is_lower_case_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
}

fn requires(parameter: &str) -> SignatureError {
    SignatureError::Incomplete(format!("Authorization header requires '{parameter}' parameter."))
}

fn incomplete(message: &str) -> SignatureError {
    SignatureError::Incomplete(message.to_owned())
}
