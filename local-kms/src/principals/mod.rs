//! Who may call: principals with their policies and access keys, and the callers that requests turn out to come from.

mod caller;
mod directory;
mod id;
mod new;
mod session;

pub(crate) use caller::{Caller, Session};
pub(crate) use directory::{Directory, DirectoryError, Principal};
pub use id::{NoPrincipal, PrincipalId};
pub(crate) use new::new_principal;
pub(crate) use session::{SessionToken, new_session, open_session};

/// The AWS managed policy of this name
/// (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AdministratorAccess.html>).
pub(crate) const ADMINISTRATOR_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
