//! Who a request turned out to come from: what policies and the audit log call them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Principal, PrincipalId};
use crate::policy::{self, Context, Policy};

/// An authenticated caller.
pub(crate) struct Caller {
    /// Whose permissions count.
    pub(crate) principal: Arc<Principal>,
    pub(crate) access_key_id: String,
    /// Of a role.
    pub(crate) session: Option<Session>,
    /// The service that calls for the principal. It comes from the credentials, never from the request.
    pub(crate) via_service: Option<String>,
}

pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) issued: Timestamp,
    pub(crate) policy: Option<Policy>,
}

impl Caller {
    pub(crate) fn id(&self) -> &PrincipalId {
        &self.principal.record.id
    }

    pub(crate) fn account_id(&self) -> &str {
        self.id().account_id()
    }

    /// As error messages name it.
    pub(crate) fn arn(&self) -> String {
        match (self.id(), &self.session) {
            (PrincipalId::Role { account_id, name }, Some(session)) => {
                format!("arn:aws:sts::{account_id}:assumed-role/{name}/{}", session.name)
            }
            (id, _) => id.arn(),
        }
    }

    fn service(&self) -> Option<&str> {
        match self.id() {
            PrincipalId::Service { name, .. } => Some(name),
            _ => None,
        }
    }

    /// What CloudTrail and STS call it: the principal's id, and the session's name.
    pub(crate) fn unique_id(&self) -> String {
        let id = &self.principal.record.unique_id;
        self.session.as_ref().map_or_else(|| id.clone(), |session| format!("{id}:{}", session.name))
    }

    /// The names by which grants and policies may mean this caller.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![self.arn()];
        if self.session.is_some() {
            names.push(self.id().arn());
        }
        names
    }

    pub(crate) fn for_policies(&self) -> policy::Caller {
        let service = self.service().map(str::to_owned);
        policy::Caller {
            account_id: self.account_id().to_owned(),
            arns: if service.is_some() { Vec::new() } else { self.names() },
            service,
            is_account_root: matches!(self.id(), PrincipalId::Root { .. }),
        }
    }

    /// The condition keys that say who calls.
    pub(crate) fn describe(&self, context: &mut Context) {
        let account = self.account_id();
        context.insert("kms:CallerAccount", account);
        let is_service = self.service().is_some();
        context.insert("aws:PrincipalIsAWSService", is_service.to_string());
        context.insert("aws:ViaAWSService", self.via_service.is_some().to_string());
        if let Some(service) = &self.via_service {
            context.insert("kms:ViaService", service.as_str());
            let general = general_service_name(service);
            for key in ["aws:CalledViaFirst", "aws:CalledViaLast"] {
                context.insert(key, general.as_str());
            }
            context.insert_list("aws:CalledVia", vec![general]);
        }
        if let Some(service) = self.service() {
            context.insert("aws:PrincipalServiceName", service);
            return;
        }
        context.insert("aws:PrincipalAccount", account);
        // Of a session, the role's: policies that name a role go on to mean its sessions.
        context.insert("aws:PrincipalArn", self.id().arn());
        context.insert("aws:userid", self.unique_id());
        let kind = match self.id() {
            PrincipalId::Root { .. } => "Account",
            PrincipalId::Role { .. } => "AssumedRole",
            PrincipalId::User { name, .. } => {
                context.insert("aws:username", name.as_str());
                "User"
            }
            PrincipalId::Service { .. } => "AWSService",
        };
        context.insert("aws:PrincipalType", kind);
    }

    /// `userIdentity` of a CloudTrail record
    /// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html>).
    pub(crate) fn user_identity(&self) -> Value {
        let record = &self.principal.record;
        let mut identity = match &record.id {
            PrincipalId::Service { name, .. } => return json!({ "type": "AWSService", "invokedBy": name }),
            PrincipalId::Root { .. } => json!({ "type": "Root" }),
            PrincipalId::User { name, .. } => json!({ "type": "IAMUser", "userName": name }),
            PrincipalId::Role { account_id, name } => {
                let issued =
                    self.session.as_ref().map(|session| session.issued.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
                json!({
                    "type": "AssumedRole",
                    "sessionContext": {
                        "sessionIssuer": {
                            "type": "Role", "principalId": record.unique_id, "arn": record.id.arn(),
                            "accountId": account_id, "userName": name,
                        },
                        "attributes": { "creationDate": issued, "mfaAuthenticated": "false" },
                    },
                })
            }
        };
        identity["principalId"] = json!(self.unique_id());
        identity["arn"] = json!(self.arn());
        identity["accountId"] = json!(self.account_id());
        identity["accessKeyId"] = json!(self.access_key_id);
        if let Some(service) = &self.via_service {
            identity["invokedBy"] = json!(service);
        }
        identity
    }
}

/// `rds.amazonaws.com` of `rds.us-east-1.amazonaws.com`.
fn general_service_name(service: &str) -> String {
    format!("{}.amazonaws.com", service.split('.').next().unwrap_or_default())
}
