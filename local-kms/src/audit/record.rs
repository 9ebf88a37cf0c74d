//! A record in the shape of CloudTrail's event version 1.11.
//!
//! A record names the context, the key and the caller; it never holds a plaintext, a ciphertext or a grant token.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::account::Account;
use crate::policy::Context;
use crate::principals::Caller;
use crate::state::KeyId;

/// Who called, from where, and by which request: the part of a record that no operation decides.
pub(crate) struct Origin<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) source_ip: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) request_id: String,
    /// By the clock that clients have.
    pub(crate) received: Timestamp,
    pub(crate) region: &'a str,
}

impl Origin<'_> {
    /// The condition keys that say where a request comes from.
    pub(crate) fn describe(&self, context: &mut Context) {
        if self.caller.via_service.is_none() {
            context.insert("aws:SourceIp", self.source_ip.as_str());
            context.insert("aws:UserAgent", self.user_agent.as_deref().unwrap_or_default());
        }
        // As on AWS, which has no other: loopback stands in for TLS, and a policy that denies plain HTTP is kept as it is.
        context.insert("aws:SecureTransport", "true");
        context.insert("aws:RequestedRegion", self.region);
        context.insert("aws:CurrentTime", self.received.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        context.insert("aws:EpochTime", self.received.as_second().to_string());
    }
}

/// What an operation adds to the record of its call.
#[derive(Default)]
pub(crate) struct Trail {
    /// ARNs, in the order in which the call touched them.
    pub(crate) resources: Vec<String>,
    /// Material that opened or sealed something.
    pub(crate) key_material_id: Option<String>,
    pub(crate) response_elements: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    event_version: &'static str,
    user_identity: Value,
    event_time: String,
    event_source: &'static str,
    event_name: &'static str,
    aws_region: String,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: String,
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    request_parameters: Value,
    response_elements: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_event_data: Option<Value>,
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(rename = "eventID")]
    event_id: String,
    pub(super) read_only: bool,
    resources: Vec<Value>,
    event_type: &'static str,
    management_event: bool,
    recipient_account_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_event_details: Option<Value>,
    event_category: &'static str,
}

impl Record {
    /// A call of `operation` by a user.
    pub(crate) fn call(
        account: &Account,
        now: Timestamp,
        origin: &Origin,
        (operation, read_only): (&'static str, bool),
        request_parameters: Value,
        trail: Trail,
        error: Option<(&'static str, String)>,
    ) -> Self {
        // A call that a service makes for somebody comes from the service.
        let via = &origin.caller.via_service;
        let (error_code, error_message) = error.unzip();
        Self {
            user_identity: origin.caller.user_identity(),
            source_ip_address: via.clone().unwrap_or_else(|| origin.source_ip.clone()),
            user_agent: via.clone().or_else(|| origin.user_agent.clone()),
            error_code,
            error_message: error_message.filter(|message| !message.is_empty()),
            request_parameters: without_nulls(request_parameters),
            response_elements: trail.response_elements,
            additional_event_data: trail.key_material_id.map(|id| json!({ "keyMaterialId": id })),
            request_id: Some(origin.request_id.clone()),
            read_only,
            ..Self::new(account, now, operation, &trail.resources)
        }
    }

    /// What happened to a key by itself: `DeleteKey`, `RotateKey`, `DeleteExpiredKeyMaterial`.
    pub(crate) fn service_event(account: &Account, now: Timestamp, name: &'static str, key: KeyId) -> Self {
        Self {
            service_event_details: Some(json!({ "keyId": key })),
            event_type: "AwsServiceEvent",
            user_identity: json!({ "accountId": account.account_id, "invokedBy": "AWS Internal" }),
            ..Self::new(account, now, name, &[account.key_arn(key)])
        }
    }

    pub(crate) fn of_sts(self) -> Self {
        Self { event_source: "sts.amazonaws.com", ..self }
    }

    pub(crate) fn event_id(&self) -> &str {
        &self.event_id
    }

    fn new(account: &Account, now: Timestamp, event_name: &'static str, resources: &[String]) -> Self {
        Self {
            event_version: "1.11",
            user_identity: json!({ "accountId": account.account_id, "invokedBy": "AWS Internal" }),
            event_time: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            event_source: "kms.amazonaws.com",
            event_name,
            aws_region: account.region.clone(),
            source_ip_address: "AWS Internal".to_owned(),
            user_agent: Some("AWS Internal".to_owned()),
            error_code: None,
            error_message: None,
            request_parameters: Value::Null,
            response_elements: None,
            additional_event_data: None,
            request_id: None,
            event_id: Uuid::new_v4().to_string(),
            read_only: false,
            resources: resources.iter().map(|arn| resource(account, arn)).collect(),
            event_type: "AwsApiCall",
            management_event: true,
            recipient_account_id: account.account_id.clone(),
            service_event_details: None,
            event_category: "Management",
        }
    }
}

fn resource(account: &Account, arn: &str) -> Value {
    let kind = if arn.contains(":alias/") { "AWS::KMS::Alias" } else { "AWS::KMS::Key" };
    json!({ "accountId": account.account_id, "type": kind, "ARN": arn })
}

/// CloudTrail leaves out what a request left out; a request without members has no parameters.
pub(crate) fn without_nulls(parameters: Value) -> Value {
    match parameters {
        Value::Object(mut members) => {
            members.retain(|_, value| !value.is_null());
            if members.is_empty() { Value::Null } else { Value::Object(members) }
        }
        other => other,
    }
}

/// A date as CloudTrail writes those of response elements: `Nov 2, 2021, 11:25:25 PM`.
pub(crate) fn long_date(date: Timestamp) -> String {
    date.strftime("%b %-d, %Y, %-I:%M:%S %p").to_string()
}
