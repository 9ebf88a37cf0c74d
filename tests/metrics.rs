//! What a daemon counts of its volume can be scraped, is right, and says nothing secret.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Host, free_address, ran, wait_until};

const MIB: u64 = 1 << 20;

/// Each sample by its name and labels, as it is written.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} is no sample"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?} has no value")))
        })
        .collect()
}

/// The value of the one sample whose name is this and whose labels have this among them.
#[track_caller]
fn value(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let found: Vec<f64> = samples
        .iter()
        .filter(|(sample, _)| sample.split('{').next() == Some(name) && sample.contains(label))
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} with {label} in {samples:#?}");
    found[0]
}

fn prometheus(host: &Host, volume: &str) -> String {
    host.envol(&["status", volume, "--prometheus"]).expect_code(0).stdout
}

/// What Prometheus's own tool says of it: nothing.
#[track_caller]
fn is_accepted(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is not installed; scripts/test.sh installs it");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ran = ran(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "of:\n{text}");
}

#[test]
fn what_promtool_does_not_accept_is_seen() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is not installed; scripts/test.sh installs it");
    child.stdin.take().unwrap().write_all(b"# TYPE envol_x counter\nenvol_x 1\n").unwrap();
    assert_ne!(ran(&child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn requests_bytes_and_regions_are_what_was_asked_and_nothing_without() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    let idle = samples(&prometheus(&host, &volume));
    for kind in ["read", "write", "sync", "discard", "zero"] {
        let label = format!("request=\"{kind}\"");
        assert!(value(&idle, "envol_request_duration_seconds_count", &label) == 0.0, "{kind}: {idle:#?}");
    }
    assert!(value(&idle, "envol_request_bytes_total", "request=\"read\"") == 0.0);

    let image = File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    for index in 0..8 {
        image.write_all_at(&vec![1; 64 << 10], index * MIB).unwrap();
    }
    let mut buffer = vec![0; 4096];
    for index in 0..5 {
        image.read_exact_at(&mut buffer, index * MIB).unwrap();
    }
    image.sync_data().unwrap();
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&image, hole, 0, MIB).unwrap();

    let busy = samples(&prometheus(&host, &volume));
    for (kind, requests, bytes) in [
        ("read", 5.0, Some(5 * 4096)),
        ("write", 8.0, Some(8 * 65_536)),
        ("sync", 1.0, None),
        ("discard", 1.0, Some(MIB)),
    ] {
        let label = format!("request=\"{kind}\"");
        let count = value(&busy, "envol_request_duration_seconds_count", &label);
        assert!(count == requests, "{kind}: {count}");
        assert!(value(&busy, "envol_request_duration_seconds_sum", &label) > 0.0, "{kind}");
        if let Some(bytes) = bytes {
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let expected = bytes as f64;
            assert!(value(&busy, "envol_request_bytes_total", &label) == expected, "{kind}");
        }
    }
    assert!(value(&busy, "envol_region_written_bytes_total", "region=\"0\"") == 8.0 * 65_536.0);
    assert!(value(&busy, "envol_volume_size_bytes", "") == 16.0 * 1_048_576.0);
    assert!(value(&busy, "envol_volume_allocated_bytes", "") > 0.0);
    assert!(value(&busy, "envol_daemon_up", "") == 1.0);
    assert!(value(&busy, "envol_volume_state", "state=\"in-use\"") == 1.0);
    assert!(value(&busy, "envol_volume_state", "state=\"terminal\"") == 0.0);
    let answers = |host: &Host| value(&samples(&prometheus(host, &volume)), "envol_probes_total", "answer=\"ok\"");
    let before = answers(&host);
    wait_until("another probe", Duration::from_secs(20), || answers(&host) > before);
    is_accepted(&prometheus(&host, &volume));

    // The same for programs that read JSON.
    let status = host.status(&volume);
    assert_eq!(status["io"]["write"]["requests"], 8);
    assert_eq!(status["io"]["write"]["bytes"], 8 * 65_536);
    assert_eq!(status["io"]["errors"]["lost-block"], 0);
    assert!(status["probes"]["answers"]["ok"].as_u64().unwrap() > 0, "{status:#}");
}

#[test]
fn a_volume_without_a_daemon_has_a_state_and_sizes() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let available = prometheus(&host, &volume);
    is_accepted(&available);
    let available = samples(&available);
    assert!(value(&available, "envol_volume_state", "state=\"available\"") == 1.0);
    assert!(value(&available, "envol_daemon_up", "") == 0.0);
    assert!(value(&available, "envol_key_unverified_seconds", "") == 0.0);
    assert!(value(&available, "envol_volume_size_bytes", &format!("volume_id=\"{volume}\"")) > 0.0);
    assert!(value(&available, "envol_volume_size_bytes", "db_id=\"db-TEST\"") > 0.0);

    host.envol(&["snapshot", "create", &volume]).expect_code(0);
    host.envol(&["detach", &volume]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    host.disable_key();
    let state = || value(&samples(&prometheus(&host, &volume)), "envol_volume_state", "state=\"terminal\"");
    wait_until("the end of the volume", Duration::from_secs(20), || state() == 1.0);
    wait_until("the end of its daemon", Duration::from_secs(20), || {
        value(&samples(&prometheus(&host, &volume)), "envol_daemon_up", "") == 0.0
    });
    let terminal = prometheus(&host, &volume);
    is_accepted(&terminal);
    assert!(value(&samples(&terminal), "envol_volume_state", "state=\"in-use\"") == 0.0);
    assert!(value(&samples(&terminal), "envol_last_snapshot_timestamp_seconds", "") > 1.6e9);

    host.envol(&["status", "vol-00000000000000000", "--prometheus"]).expect_code(3);
    host.envol(&["--json", "status", &volume, "--prometheus"]).expect_code(2);
}

#[test]
fn lost_blocks_and_other_failures_are_counted() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--cache", "writeback"]).expect_code(0);
    let image = File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(&vec![7; 65_536], 0).unwrap();
    image.sync_all().unwrap();
    let lost = || value(&samples(&prometheus(&host, &volume)), "envol_request_errors_total", "error=\"lost-block\"");
    assert!(lost() == 0.0);
    // Its data begin behind 1 MiB of header and 32 MiB of map (docs/format.md).
    let backing = File::options().write(true).open(host.backing(&volume)).unwrap();
    backing.write_all_at(&[0; 4096], 33 * MIB).unwrap();
    let mut buffer = vec![0; 4096];
    assert_eq!(image.read_exact_at(&mut buffer, 0).unwrap_err().raw_os_error(), Some(libc_eio()));
    assert!(lost() >= 1.0);
    image.read_exact_at(&mut buffer, 4096).unwrap();
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

fn scrape(address: SocketAddrV4, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the listener is there");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_asks_for_a_listener_has_one_and_nobody_else() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let daemon = host.daemon_pid(&volume);
    assert!(!listens(daemon), "without the option nothing listens");
    host.envol(&["detach", &volume]).expect_code(0);

    let address = free_address();
    host.envol(&["attach", &volume, "--raw", "--metrics-listen", &address.to_string()]).expect_code(0);
    assert!(listens(host.daemon_pid(&volume)));
    let answer = scrape(address, "GET /metrics HTTP/1.1\r\nHost: envol\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    is_accepted(body);
    let names = |text: &str| samples(text).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(names(body), names(&prometheus(&host, &volume)), "the listener and the command say the same");
    assert!(scrape(address, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));

    // Somebody who connects and says nothing holds up neither the next one nor the control socket.
    let silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(scrape(address, "GET /metrics HTTP/1.1\r\n\r\n").contains("envol_daemon_up"));
    assert_eq!(host.status(&volume)["state"], "in-use");
    drop(silent);

    // A port that is taken is found out before anything is attached.
    let other = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &other, "--raw", "--metrics-listen", &address.to_string()])
        .expect_code(8)
        .expect_stderr("--metrics-listen");
    assert_eq!(host.status(&other)["state"], "available");
}

/// Whether the process has a TCP socket that listens.
fn listens(pid: i32) -> bool {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| {
            fs::read_link(fd.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // The state 0A is LISTEN, the tenth column the inode.
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|line| line[3] == "0A" && sockets.contains(line[9]))
}

#[test]
fn nothing_in_the_metrics_is_secret() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let text = prometheus(&host, &volume);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let found = host.environment().iter().find(|(known, _)| known == name);
        assert!(found.is_none_or(|(_, value)| !text.contains(value.as_str())), "{name}");
    }
    assert!(!text.contains("arn:") && !text.contains(host.root().to_str().unwrap()), "{text}");
}

/// Names in backquotes that begin a row of the table in `docs/monitoring.md`.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md")).unwrap();
    page.lines()
        .filter_map(|line| line.strip_prefix("| `envol_"))
        .map(|rest| format!("envol_{}", rest.split('`').next().unwrap()))
        .collect()
}

#[test]
fn the_table_of_metrics_is_what_there_is() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["snapshot", "create", &volume]).expect_code(0);
    host.envol(&["detach", &volume]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = File::options().write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(&[1; 4096], 0).unwrap();
    let text = prometheus(&host, &volume);
    let served: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect();
    assert_eq!(served, documented());
    for label in ["state", "request", "error", "region", "answer", "volume_id", "db_id"] {
        assert!(text.contains(&format!("{label}=\"")), "no label {label}");
    }
}

/// Names of ours in a file that must all be ones that there are.
fn uses_only_what_there_is(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let documented = documented();
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices("envol_") {
        let name: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        assert!(documented.contains(family), "{file} uses {name}, which there is not");
        used.insert(family.to_owned());
    }
    used
}

#[test]
fn alerts_are_rules_with_a_place_in_the_runbook_and_the_dashboard_is_one() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = "packaging/prometheus/envol-alerts.yml";
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "rules"]).arg(repository.join(rules));
    let checked = promtool.output().expect("promtool is not installed; scripts/test.sh installs it");
    ran(&checked).expect_code(0);
    uses_only_what_there_is(rules);
    let text = fs::read_to_string(repository.join(rules)).unwrap();
    let runbook = fs::read_to_string(repository.join("docs/operations.md")).unwrap();
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| {
            title
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ')
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect();
    let links: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert_eq!(links.len(), text.matches("- alert: ").count(), "each alert has one");
    assert_eq!(links.len(), text.matches("summary: ").count());
    for link in links {
        let (page, anchor) = link.rsplit_once('#').unwrap();
        assert!(page.ends_with("docs/operations.md") && anchors.contains(anchor), "{link}: {anchors:?}");
    }

    let dashboard = "packaging/grafana/envol.json";
    let parsed: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(repository.join(dashboard)).unwrap()).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() >= 8);
    assert!(uses_only_what_there_is(dashboard).len() >= 8);
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules"]).arg(repository.join("tests/vectors/prometheus/alerts-test.yml"));
    let tested = promtool.output().expect("promtool is not installed; scripts/test.sh installs it");
    ran(&tested).expect_code(0);
}
