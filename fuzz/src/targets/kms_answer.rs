//! Answers of a KMS, or of whatever listens there, as a volume hears them: through the whole client, from HTTP to the verdict.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use envol::revocation::{Verdict, decide};
use kms_client::{AwsKms, CallLog, Kms, KmsAdmin, KmsError, Login, Patience, WrappedKey};
use tokio::runtime::{Builder, Runtime};

use crate::patch::choice;

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd";
const STATUSES: [u16; 10] = [200, 400, 400, 400, 403, 404, 413, 429, 500, 503];

/// Nothing is repeated: what is asked is answered at once or never.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(2),
    total: Duration::from_secs(2),
    max_attempts: 1,
};

thread_local! {
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

struct Client {
    runtime: Runtime,
    kms: AwsKms,
    /// What the server answers next.
    reply: Arc<Mutex<Vec<u8>>>,
    runs: u32,
}

impl Client {
    /// Of a server on a thread of its own, found as a user's is: by the file that `AWS_CONFIG_FILE` names.
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a port");
        let reply = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::clone(&reply);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let reply = replies.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that has heard enough may be gone.
                let _ = serve(&stream, &reply);
            }
        });
        let config = std::env::var_os("AWS_CONFIG_FILE").expect("AWS_CONFIG_FILE names a file that may be written");
        let profile = format!(
            "[default]\nregion = us-east-1\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n\
             endpoint_url = http://{address}\n"
        );
        fs::write(config, profile).expect("a file");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (login, log) = (Login { profile: None, region: None }, CallLog::default());
        let kms = runtime.block_on(AwsKms::connect_recorded(&login, PATIENCE, Some(&log))).expect("a client");
        Self { runtime, kms, reply, runs: 0 }
    }
}

fn serve(stream: &TcpStream, reply: &[u8]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut len) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    std::io::copy(&mut reader.take(len), &mut std::io::sink())?;
    { stream }.write_all(reply)
}

/// A byte for the status, or for an answer that is all in the input; one for the question; a line that says the kind of error;
/// the body.
pub(super) fn answer(data: &[u8]) {
    let (mode, rest) = choice(data);
    let (question, rest) = choice(rest);
    let reply = match STATUSES.get(mode % (STATUSES.len() + 1)) {
        None => rest.to_vec(),
        Some(status) => {
            let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            let (kind, body) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
            let kind: String =
                kind.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
            let len = body.len();
            let date = "date: Tue, 24 Nov 2026 21:00:00 GMT";
            let head = format!(
                "HTTP/1.1 {status} x\r\n{date}\r\nx-amzn-errortype: {kind}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n"
            );
            [head.as_bytes(), body].concat()
        }
    };
    CLIENT.with_borrow_mut(|client| {
        // Its log grows with each call.
        if client.as_ref().is_none_or(|client| client.runs >= 1000) {
            *client = Some(Client::new());
        }
        let client = client.get_or_insert_with(Client::new);
        client.runs += 1;
        *client.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply.clone();
        let (kms, arn) = (&client.kms, ARN.parse().expect("an ARN"));
        let (wrapped, context) = (WrappedKey(vec![1; 16]), envol_context());
        let failed = client.runtime.block_on(async {
            match question % 7 {
                0..2 => kms.decrypt(&arn, &wrapped, &context).await.map(|key| assert!(!key.plaintext.is_empty())).err(),
                2 => kms.describe_key(&(&arn).into()).await.err(),
                3 => kms.generate_data_key(&(&arn).into(), 64, &context).await.err(),
                4 => kms.re_encrypt(&arn, &wrapped, &context, &(&arn).into()).await.err(),
                5 => kms.list_grants(&arn).await.err(),
                _ => kms.key_policy(&arn).await.err(),
            }
        });
        if let Some(error) = failed {
            judge(&error, &reply);
        }
    });
}

fn envol_context() -> kms_client::EncryptionContext {
    kms_client::EncryptionContext::default().with("aws:rds:db-id", "orders")
}

/// A volume is taken away for what was said, and for nothing else.
fn judge(error: &KmsError, reply: &[u8]) {
    let wanted: &[&str] = match decide(error, None) {
        Verdict::Revoked(_) => &["DisabledException"],
        Verdict::Denied(_) => &["AccessDeniedException", "NotFoundException"],
        Verdict::Mismatch | Verdict::Unreachable => return,
    };
    let code = error.code.as_deref().expect("KMS said so");
    assert!(wanted.contains(&code), "{error}");
    let status = String::from_utf8_lossy(reply.get(9..12).unwrap_or_default()).into_owned();
    assert!(!status.starts_with('5') && status != "429", "a server in trouble says nothing of the key: {error}");
}
