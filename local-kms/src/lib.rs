//! A KMS server for one machine. It speaks the AWS JSON 1.1 protocol, so that the AWS CLI, boto3 and the AWS SDKs
//! use it as they use AWS KMS, and it enforces what a rehearsal of revocation needs: signatures, key policies, identity
//! policies, grants, key states, encryption contexts; with an audit record of every call.
//!
//! A server is a directory, made by [`init`] and used by [`serve`]:
//!
//! | file | content |
//! | --- | --- |
//! | `root.key` | 32 random bytes under which everything secret in the state is sealed |
//! | `state.redb` | keys, policies, grants, principals; each change is durable before it is answered |
//! | `audit.jsonl` | one CloudTrail record a line, written before the answer leaves; read it with [`read_audit`] |
//! | `audit-….jsonl` | earlier records: the file is renamed and begun anew when it is full |
//! | `server.json` | account, region and listen address, readable while a server runs |
//! | `aws/config`, `aws/credentials` | a profile for each principal |
//! | `admin.sock` | where [`admin`] reaches a running server |
//!
//! Layers, each of which knows only those below it: `protocol` (HTTP, error shapes), `sts` and `sigv4` (who calls);
//! `operations` (one file each); `authorization` (may they), over `policy` and `principals`; `state`, `ciphertext`,
//! `root_key`, `audit`.

mod account;
pub mod admin;
mod audit;
mod authorization;
mod blob;
mod ciphertext;
mod clock;
mod connections;
mod durable_file;
mod encryption_context;
mod error;
mod faults;
mod import;
mod init;
mod key_policy;
mod key_reference;
mod kms;
mod operations;
mod policy;
mod principals;
mod profiles;
mod protocol;
mod random;
mod root_key;
mod server;
mod settings;
mod sigv4;
mod state;
mod sts;

pub use audit::{AuditFilter, AuditRecord, AuditSummary, read_audit};
pub use ciphertext::{CiphertextBlob, InvalidCiphertext};
pub use clock::Clock;
pub use faults::{FaultKind, OutageAnswer};
pub use init::{Init, InitError, InitOptions, init};
pub use kms::{Kms, OpenError};
pub use policy::{MalformedPolicy, Policy, PolicyKind};
pub use principals::{NoPrincipal, PrincipalId};
pub use protocol::{Answer, Received, answer};
pub use server::{ServeError, ServeOptions, serve};
pub use settings::Settings;
pub use state::{AliasRecord, CredentialRecord, GrantRecord, KeyRecord, LastUsage, PrincipalRecord};
