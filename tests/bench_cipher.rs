//! `envol bench cipher` measures every path that the processor has, and nothing else has to be there for it.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeSet;
use std::process::{Command, Output};

use envol::cipher::Path;
use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_envol"));
    command.env_clear().args(["--root", "/nonexistent"]).args(arguments).output().unwrap()
}

fn results(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["fastest"], Path::fastest().to_string());
    object["results"].as_array().unwrap().clone()
}

#[test]
fn every_path_size_direction_and_number_of_threads_is_there() {
    let results = results(&bench(&["--json", "bench", "cipher"]));
    let available = Path::ALL.into_iter().filter(|path| path.is_available()).map(|path| path.to_string());
    let paths: BTreeSet<String> = available.chain(["xts-mode".to_owned(), "memcpy".to_owned()]).collect();
    let threads = std::thread::available_parallelism().unwrap().get();
    let threads = BTreeSet::from([1, threads as u64]);

    let mut seen = BTreeSet::new();
    for result in &results {
        assert!(result["gb_per_s"].as_f64().unwrap() > 0.0, "{result}");
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        let number = |name: &str| result[name].as_u64().unwrap();
        assert!(seen.insert((text("path"), text("direction"), number("size_bytes"), number("threads"))), "{result}");
    }
    let expected: BTreeSet<_> = paths
        .iter()
        .flat_map(|path| ["encrypt", "decrypt"].map(|direction| (path, direction)))
        .flat_map(|(path, direction)| [4096, 65536, 1 << 20].map(|size| (path, direction, size)))
        .flat_map(|(path, direction, size)| {
            threads.iter().map(move |threads| (path.clone(), direction.to_owned(), size, *threads))
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn one_path_can_be_asked_for() {
    let results = results(&bench(&["--json", "bench", "cipher", "--path", "portable"]));
    assert!(!results.is_empty() && results.iter().all(|result| result["path"] == "portable"), "{results:?}");

    let table = bench(&["bench", "cipher", "--path", "portable"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("portable") && table.contains("1MiB") && !table.contains("memcpy"), "{table}");
}

#[test]
fn a_path_that_is_not_there_is_refused() {
    let unknown = bench(&["bench", "cipher", "--path", "avx1024"]);
    assert_eq!(unknown.status.code(), Some(2));
    let message = String::from_utf8(unknown.stderr).unwrap();
    assert!(message.contains("vaes-avx512, vaes-avx2, aes-ni and portable"), "{message}");

    for path in Path::ALL {
        let output = bench(&["bench", "cipher", "--path", &path.to_string()]);
        if path.is_available() {
            assert!(output.status.success(), "{output:?}");
        } else {
            assert_eq!(output.status.code(), Some(9));
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(message.contains("does not have the path") && message.contains("portable"), "{message}");
        }
    }
}
