//! The helper's side: one `Decrypt`, the key into the area, and the end of the process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use kms_client::{AwsKms, Kms, KmsError, Login, Patience};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};

use super::super::area;
use super::wire::{self, Outcome, Question};
use super::{HELPER_NAME, UnwrapRequest};

/// Whether this process was started to be the helper, and nothing else. Asked before anything is parsed.
pub fn is_unwrap_helper(argv0: &OsStr) -> bool {
    argv0 == HELPER_NAME
}

/// The whole life of the helper.
pub fn run_unwrap_helper() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{HELPER_NAME}: {error}; `envol attach` starts this process, it is of no use by itself");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Whoever asked may be ended while KMS is slow to answer: nothing of it must stay. One that is gone already is
    // noticed by the socket.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (question, area) = wire::receive(&socket)?;
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(unwrap(&question, &area)),
        Err(error) => Outcome::Failed(format!("no async runtime: {error}")),
    };
    wire::reply(io::stdout().lock(), &outcome)
}

async fn unwrap(question: &Question, area: &File) -> Outcome {
    match connect(&question.request).await {
        Ok(kms) => unwrap_with(&kms, question, area).await,
        Err(error) => Outcome::Kms(error.into()),
    }
}

async fn connect(request: &UnwrapRequest) -> Result<AwsKms, KmsError> {
    let login = Login { profile: request.profile.clone(), region: Some(request.kms_key.region().to_owned()) };
    Ok(AwsKms::connect(&login, Patience::INTERACTIVE).await?.under_grant(request.grant_token.clone()))
}

pub(super) async fn unwrap_with(kms: &impl Kms, question: &Question, area: &File) -> Outcome {
    let UnwrapRequest { kms_key, wrapped, context, .. } = &question.request;
    let decrypted = match kms.decrypt(kms_key, wrapped, context).await {
        Ok(decrypted) => decrypted,
        Err(error) => return Outcome::Kms(error.into()),
    };
    if decrypted.kms_key != *kms_key {
        return Outcome::OtherKmsKey(decrypted.kms_key);
    }
    if decrypted.plaintext.len() != 64 {
        return Outcome::NotAVolumeKey { len_bytes: decrypted.plaintext.len() };
    }
    match area::write_into(area, question.offset_bytes, &decrypted.plaintext) {
        Ok(()) => Outcome::Unwrapped,
        Err(error) => Outcome::Failed(format!("cannot write into the locked area: {error}")),
    }
}
