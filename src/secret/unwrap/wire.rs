//! What the two processes say to each other: a question in JSON with a descriptor beside it, an outcome in JSON. Never
//! the key.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use kms_client::{Answer, KmsError, KmsKeyArn};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::UnwrapRequest;

#[derive(Serialize, Deserialize)]
pub struct Question {
    /// Where in the area the key belongs.
    pub(super) offset_bytes: usize,
    pub(super) request: UnwrapRequest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Unwrapped,
    Kms(KmsRefusal),
    OtherKmsKey(KmsKeyArn),
    NotAVolumeKey { len_bytes: usize },
    Failed(String),
}

/// A [`KmsError`] on its way between the processes.
#[derive(Debug, Serialize, Deserialize)]
pub struct KmsRefusal {
    operation: String,
    #[serde(with = "AnswerName")]
    answer: Answer,
    code: Option<String>,
    message: String,
    request_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Answer")]
enum AnswerName {
    Disabled,
    InvalidState,
    AccessDenied,
    NotFound,
    WrongCiphertext,
    Unauthenticated,
    Other,
    Unreachable,
}

impl From<KmsError> for KmsRefusal {
    fn from(error: KmsError) -> Self {
        Self {
            operation: error.operation.to_owned(),
            answer: error.answer,
            code: error.code,
            message: error.message,
            request_id: error.request_id,
        }
    }
}

impl From<KmsRefusal> for KmsError {
    fn from(refusal: KmsRefusal) -> Self {
        Self {
            // The helper does these two things and no other.
            operation: if refusal.operation == "login" { "login" } else { "Decrypt" },
            answer: refusal.answer,
            code: refusal.code,
            message: refusal.message,
            request_id: refusal.request_id,
        }
    }
}

/// Sends the whole question; the descriptor goes with its first byte.
pub fn send(mut socket: &UnixStream, question: &Question, area: BorrowedFd<'_>) -> io::Result<()> {
    let text = serde_json::to_vec(question)?;
    let descriptors = [area];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for one descriptor");
    let sent = sendmsg(socket, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL)?;
    socket.write_all(&text[sent..])?;
    socket.shutdown(Shutdown::Write)
}

/// The question, and the area as a file.
pub fn receive(mut socket: &UnixStream) -> io::Result<(Question, File)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 4096];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    text.truncate(received.bytes);
    socket.read_to_end(&mut text)?;
    let area = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let area =
        area.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor came with the question"))?;
    Ok((serde_json::from_slice(&text)?, File::from(area)))
}

/// One line, as the parent expects it.
pub fn reply(mut output: impl Write, outcome: &Outcome) -> io::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}
