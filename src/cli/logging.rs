//! Where logs go: to the journal where stderr leads there, with a field each for what an event says; else to stderr.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use kms_client::LOGIN_LOG_TARGET;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Of our fields in the journal: `ENVOL_VOLUME_ID`, `ENVOL_EVENT`, …
const FIELD_PREFIX: &str = "ENVOL";

/// Warnings and what becomes of volumes; more with `-v`, or as `RUST_LOG` says. Only our own crates log more: what the
/// AWS SDK says at its finest includes the bodies of requests. Where it looked for credentials in vain is in the error, in one sentence.
pub(super) fn start(verbose: u8) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter(verbose)));
    if leads_to_the_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_syslog_identifier("envol".to_owned()).with_field_prefix(Some(FIELD_PREFIX.into()));
        tracing_subscriber::registry().with(filter).with(journal).init();
        return;
    }
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(io::stderr).init();
}

fn default_filter(verbose: u8) -> String {
    let (ours, login) = match verbose {
        0 => ("warn", "error"),
        1 => ("info", "warn"),
        _ => ("debug", "warn"),
    };
    format!("warn,{LOGIN_LOG_TARGET}={login},envol={ours},envol::event=info,kms_client={ours},local_kms={ours}")
}

/// Source: <https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM>
fn leads_to_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    stderr.is_ok_and(|stderr| names(&stream, stderr.dev(), stderr.ino()))
}

/// Inherited by a process whose stderr was redirected, it names what that was before.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream == format!("{device}:{inode}")
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_a_stream_of_this_device_and_inode_is_the_journal() {
        assert!(names("8:4711", 8, 4711));
        for other in ["", "8", "8:", "8:471", "8:47110", "9:4711", "4711:8"] {
            assert!(!names(other, 8, 4711), "{other:?}");
        }
    }
}
