//! What comes through the sockets and pipes of a daemon.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use envol::daemon::metrics::listener::{Asked, request};
use envol::daemon::{Reply, Request, S3Order};
use envol::secret::unwrap::wire::{Outcome, Question, receive};
use kms_client::KmsError;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::json;
use crate::patch::choice;

/// Both sides of the helper that unwraps: its question, with a descriptor beside it or without, and its answer.
pub(super) fn unwrap_helper(data: &[u8]) {
    let (mode, text) = choice(data);
    if mode & 1 == 0 {
        if let Some(Outcome::Kms(refusal)) = json::read(text) {
            let error = KmsError::from(refusal);
            assert!(["login", "Decrypt"].contains(&error.operation));
            let _ = envol::revocation::decide(&error, None).to_owned();
        }
        return;
    }
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let area = File::open("/dev/null").expect("a descriptor");
    let descriptors = [area.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let with_area = mode & 2 == 0;
    if with_area {
        assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for one");
    }
    // More than a socket holds would wait for a reader.
    let text = &text[..text.len().min(16 << 10)];
    let (first, rest) = text.split_at(text.len().min(mode));
    sendmsg(&ours, &[IoSlice::new(first)], &mut beside, SendFlags::NOSIGNAL).expect("it is sent");
    (&ours).write_all(rest).and_then(|()| ours.shutdown(Shutdown::Write)).expect("it is sent");
    let received = receive(&theirs);
    if let Ok((question, _area)) = received {
        assert!(with_area, "a question without its area is none");
        assert!(json::read::<Question>(&serde_json::to_vec(&question).expect("it is written")).is_some());
    }
}

/// A line to the control socket, one from it, and new credentials.
pub(super) fn control_socket(data: &[u8]) {
    let (kind, line) = choice(data);
    match kind % 3 {
        0 => drop(json::read::<Request>(line)),
        1 => drop(json::read::<Reply>(line)),
        _ => drop(json::read::<S3Order>(line)),
    }
}

pub(super) fn metrics_request(data: &[u8]) {
    if let Asked::Metrics { head_only } = request(data) {
        assert_eq!(head_only, data.starts_with(b"HEAD "));
        assert!(data.windows(8).any(|part| part == b"/metrics") && data.windows(4).any(|end| end == b"\r\n\r\n"));
    }
}
