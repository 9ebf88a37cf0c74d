//! A KMS that writes down who asked what in which order, and refuses what a test tells it to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::hostile::Hostile;

pub const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub const GRANT_ID: &str = "0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60";
pub const GRANT_TOKEN: &str = "AQpAM2RhZTk1MGMyNTk2ZmZmMzEyYWVhOWViN2I1MWM4";

/// One request: the operation, whose access key signed it, and what it held.
#[derive(Clone, Debug)]
pub struct Asked {
    pub operation: String,
    pub access_key: String,
    pub body: Value,
}

impl Asked {
    /// As tests name it: a dry run and a call without a grant token are calls of their own.
    pub fn name(&self) -> String {
        let dry = if self.body["DryRun"] == true { " dry" } else { "" };
        let token = if self.body["GrantTokens"] == json!([GRANT_TOKEN]) { " with token" } else { "" };
        format!("{}{dry}{token}", self.operation)
    }
}

#[derive(Default)]
struct Script {
    asked: Vec<Asked>,
    /// By [`Asked::name`]: the code of the error.
    refusals: HashMap<String, &'static str>,
    /// The same for so many calls, before `refusals` are looked at.
    next_refusals: HashMap<String, (&'static str, usize)>,
    ignores_dry_run: bool,
    key_state: Option<&'static str>,
    hostile: Option<Hostile>,
    most_taken: u64,
    /// Base64 of what `Decrypt` gives, if not the one plaintext there is.
    plaintext: Option<String>,
}

/// Listens until the test process ends.
pub struct ScriptedKms {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl ScriptedKms {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let script = Arc::clone(&shared);
                std::thread::spawn(move || while answer(&stream, &script).is_some() {});
            }
        });
        Self { address, script }
    }

    pub fn refuse(&self, name: &str, code: &'static str) {
        self.script.lock().expect("not poisoned").refusals.insert(name.to_owned(), code);
    }

    /// So many of the next calls; then it is as before.
    pub fn refuse_next(&self, name: &str, code: &'static str, calls: usize) {
        self.script.lock().expect("not poisoned").next_refusals.insert(name.to_owned(), (code, calls));
    }

    pub fn is_out_of_refusals(&self, name: &str) -> bool {
        self.script.lock().expect("not poisoned").next_refusals.get(name).is_none_or(|(_, left)| *left == 0)
    }

    pub fn allow(&self, name: &str) {
        self.script.lock().expect("not poisoned").refusals.remove(name);
    }

    pub fn allow_all(&self) {
        self.script.lock().expect("not poisoned").refusals.clear();
    }

    /// The state that `DescribeKey` tells from now on.
    pub fn describe_as(&self, key_state: &'static str) {
        self.script.lock().expect("not poisoned").key_state = Some(key_state);
    }

    /// To every call; `None`: answers are whole again.
    pub fn answer_with(&self, hostile: Option<Hostile>) {
        self.script.lock().expect("not poisoned").hostile = hostile;
    }

    /// The most that anybody took of one such answer.
    pub fn most_taken(&self) -> u64 {
        self.script.lock().expect("not poisoned").most_taken
    }

    /// `Decrypt` says yes, and gives this for the plaintext; `None`: the right one.
    pub fn decrypt_to(&self, plaintext: Option<String>) {
        self.script.lock().expect("not poisoned").plaintext = plaintext;
    }

    pub fn ignore_dry_run(&self) {
        self.script.lock().expect("not poisoned").ignores_dry_run = true;
    }

    /// What was asked since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.lock().expect("not poisoned").asked)
    }
}

/// Serves one request; `None` when the client hangs up.
fn answer(mut stream: &TcpStream, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let hostile = script.lock().expect("not poisoned").hostile;
    if let Some(hostile) = hostile {
        let taken = hostile.say(stream);
        let mut script = script.lock().expect("not poisoned");
        script.most_taken = script.most_taken.max(taken);
        return None;
    }
    let (_, operation) = headers.get("x-amz-target")?.split_once('.')?;
    let (_, credential) = headers.get("authorization")?.split_once("Credential=")?;
    let asked = Asked {
        operation: operation.to_owned(),
        access_key: credential.split('/').next()?.to_owned(),
        body: serde_json::from_slice(&body).ok()?,
    };
    let (status, json) = script.lock().expect("not poisoned").reply(&asked);
    let text = json.to_string();
    let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-type: application/x-amz-json-1.1\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len()).ok()
}

impl Script {
    fn reply(&mut self, asked: &Asked) -> (u16, Value) {
        let (name, body) = (asked.name(), asked.body.clone());
        self.asked.push(asked.clone());
        let next = self.next_refusals.get_mut(&name).filter(|(_, left)| *left > 0).map(|(code, left)| {
            *left -= 1;
            *code
        });
        if let Some(code) = next.or_else(|| self.refusals.get(&name).copied()) {
            return (400, json!({ "__type": code, "message": format!("in AWS's words: {name}") }));
        }
        if body["DryRun"] == true && !self.ignores_dry_run {
            return (400, json!({ "__type": "DryRunOperationException", "message": "would have succeeded" }));
        }
        // Base64 of 64 bytes, and of a name.
        let plaintext = self.plaintext.clone().unwrap_or_else(|| "BwcH".repeat(21) + "Bw==");
        let wrapped = if body["EncryptionContext"]["envol:use"] == "canary" { "Y2FuYXJ5" } else { "dm9sdW1l" };
        let answer = match asked.operation.as_str() {
            "DescribeKey" => {
                json!({ "KeyMetadata": { "KeyId": KEY, "Arn": KEY, "KeyState": self.key_state.unwrap_or("Enabled"),
                "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT" } })
            }
            "GenerateDataKeyWithoutPlaintext" => json!({ "KeyId": KEY, "CiphertextBlob": wrapped }),
            "Decrypt" => json!({ "KeyId": KEY, "Plaintext": plaintext }),
            "CreateGrant" => json!({ "GrantId": GRANT_ID, "GrantToken": GRANT_TOKEN }),
            "RetireGrant" => json!({}),
            _ => return (400, json!({ "__type": "UnknownOperationException" })),
        };
        (200, answer)
    }
}
