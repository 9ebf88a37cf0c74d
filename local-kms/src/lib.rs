//! A KMS server for one machine. It speaks the AWS JSON 1.1 protocol, so that the AWS CLI, boto3 and the AWS SDKs
//! use it as they use AWS KMS, and it enforces what a rehearsal of revocation needs: signatures, key states,
//! encryption contexts, and an audit record of every call.
//!
//! A server is a directory, made by [`init`] and used by [`serve`]:
//!
//! | file | content |
//! | --- | --- |
//! | `root.key` | 32 random bytes under which everything secret in the state is sealed |
//! | `state.redb` | keys, aliases and users; each change is durable before it is answered |
//! | `audit.jsonl` | one CloudTrail record a line, written before the answer leaves |
//! | `server.json` | account, region and listen address, readable while a server runs |
//! | `aws/config`, `aws/credentials` | the profiles `envol-admin` and `envol-volume` |
//!
//! Layers, each of which knows only those below it: `protocol` (HTTP, error shapes) and `sigv4` (who calls);
//! `operations` (one file each); `state`, `ciphertext`, `root_key`, `audit`.
//!
//! Key policies and grants are not evaluated: an authenticated user may do everything.

mod account;
mod audit;
mod blob;
mod ciphertext;
mod clock;
mod durable_file;
mod encryption_context;
mod error;
mod init;
mod key_reference;
mod kms;
mod operations;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the operations do not ask it yet"))]
mod policy;
mod profiles;
mod protocol;
mod random;
mod root_key;
mod server;
mod settings;
mod sigv4;
mod state;

pub use init::{Init, InitError, InitOptions, init};
pub use kms::OpenError;
pub use server::{ServeError, ServeOptions, serve};
