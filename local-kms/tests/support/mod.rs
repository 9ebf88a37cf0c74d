//! A server in this process, on a free port and a directory of its own.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod http;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use local_kms::{InitOptions, ServeError, ServeOptions, init, serve};
use tokio::sync::oneshot;

/// Stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

pub(crate) fn options() -> ServeOptions {
    ServeOptions { listen: Some("127.0.0.1:0".parse().unwrap()), allow_remote: false }
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::try_start(dir, options()).unwrap()
    }

    pub(crate) fn try_start(dir: &Path, options: ServeOptions) -> Result<Self, ServeError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (listening, address) = mpsc::channel();
        let dir = dir.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let shutdown = async move { drop(stopped.await) };
            runtime.block_on(serve(&dir, options, shutdown, |address| {
                listening.send(address).unwrap();
            }))
        });
        match address.recv() {
            Ok(address) => Ok(Self { address, stop: Some(stop), thread: Some(thread) }),
            // The sender is gone: serve returned before it listened.
            Err(mpsc::RecvError) => Err(thread.join().unwrap().unwrap_err()),
        }
    }

    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn stop(mut self) -> Result<(), ServeError> {
        self.ask_to_stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes `program` an AWS client of the server in `dir`, by the lines that `init` prints, and of nothing else.
pub(crate) fn aws_client(program: &str, dir: &Path, server: &Server) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    for line in init(dir, &InitOptions::default()).unwrap().export_lines() {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        command.env(name, value.trim_matches('\''));
    }
    for service in ["KMS", "STS"] {
        command.env(format!("AWS_ENDPOINT_URL_{service}"), format!("http://{}", server.address));
    }
    command.envs([("AWS_MAX_ATTEMPTS", "1"), ("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PAGER", "")]);
    command
}
