//! The KMS as envol needs it: [`Kms`] for the volume, [`KmsAdmin`] for drills, and answers told apart by their code.
//!
//! No AWS type leaves this crate. What an answer *means* for a volume is decided elsewhere; here it is only named.

mod answer;
mod aws;
mod call_log;
mod grant;
mod principal;
mod traits;
mod types;

pub use answer::{Answer, KmsError};
pub use aws::{AwsKms, LOGIN_LOG_TARGET, Login, Patience, S3Login};
pub use call_log::{CallLog, CallRecord};
pub use grant::{Grant, GrantRequest, GrantToken, ListedGrant};
pub use principal::{InvalidPrincipalArn, PrincipalArn};
pub use traits::{Kms, KmsAdmin};
pub use types::{
    DataKey, Decrypted, EncryptionContext, InvalidKmsKeyArn, KeyDescription, KeyOrigin, KeyState, KmsKeyArn, KmsKeyId,
    ReEncrypted, WrappedKey,
};
