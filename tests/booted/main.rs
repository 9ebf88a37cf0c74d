//! Volumes and databases under a real systemd: they come up at boot, also when KMS is late, go down in order without holding
//! up the shutdown, come back after a kill -9, and stay down after a revocation.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod fstab;
#[path = "../harness/mod.rs"]
mod harness;
mod machine;

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::wait_until;
use machine::{DEADLINE, Machine};

/// Where nothing hangs it takes two or three seconds; what hangs is given 90 s by systemd.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// A local KMS with a key under `alias/test`, and the AWS variables for the files below /etc/envol.
pub fn set_up_kms(machine: &Machine) {
    machine.expect("rm -rf /var/lib/envol /etc/envol; mkdir -p /etc/envol /srv");
    machine.expect("envol kms init | sed -n 's/^export //p' > /etc/envol/aws.env");
    machine.expect("systemctl enable --now envol-kms");
    let create_key = ". /etc/envol/aws.env; export $(cut -d= -f1 /etc/envol/aws.env)
        KEY=$(aws kms create-key --query KeyMetadata.KeyId --output text) &&
        aws kms create-alias --alias-name alias/test --target-key-id $KEY && echo $KEY > /etc/envol/key";
    wait_until("the local KMS", DEADLINE, || machine.sh(create_key).code == 0);
}

/// Its id. `/etc/envol/VOL.env` is there, with `settings` and the AWS variables.
pub fn create_volume(machine: &Machine, settings: &str) -> String {
    let create = ". /etc/envol/aws.env; export $(cut -d= -f1 /etc/envol/aws.env)
        envol create --db-id db-TEST --size 512MiB --kms-key alias/test";
    let volume = machine.expect(create);
    machine.expect(&format!("{{ cat /etc/envol/aws.env; printf '%s\\n' {settings}; }} > /etc/envol/{volume}.env"));
    volume
}

/// A cluster on the volume, as docs/systemd.md has it, with one row.
fn set_up_postgres(machine: &Machine, volume: &str) -> String {
    let versions =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed; scripts/test.sh installs it");
    let version = versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max().unwrap();
    let unit = format!("postgresql@{version}-main.service");
    for (drop_in, of) in [("postgresql@15-main.service", unit.as_str()), ("postgresql.service", "postgresql.service")] {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("packaging/systemd/{drop_in}.d/envol.conf"));
        let text = fs::read_to_string(text).unwrap().replace("vol-00000000000000000", volume);
        machine.expect(&format!(
            "mkdir -p /etc/systemd/system/{of}.d && cat > /etc/systemd/system/{of}.d/envol.conf <<'END'\n{text}\nEND"
        ));
    }
    machine.expect(&format!("systemctl start envol@{volume}"));
    machine
        .expect(&format!("rm -rf /etc/postgresql/*; pg_createcluster {version} main --datadir /srv/orders/pgdata >&2"));
    machine.expect(&format!("systemctl daemon-reload; systemctl add-wants envol@{volume}.service {unit}"));
    machine.expect(&format!("systemctl enable envol@{volume} postgresql; systemctl start postgresql {unit}"));
    wait_until("PostgreSQL", DEADLINE, || query(machine, "SELECT 1").is_some());
    query(machine, "CREATE TABLE kept AS SELECT 4711 AS number").expect("a table");
    unit
}

fn query(machine: &Machine, sql: &str) -> Option<String> {
    let ran = machine.sh(&format!("setpriv --reuid=postgres --regid=postgres --init-groups psql -XAtq -c '{sql}'"));
    (ran.code == 0).then(|| ran.stdout.trim_end().to_owned())
}

fn wait_for_the_row(machine: &Machine) {
    wait_until("the row", DEADLINE, || query(machine, "SELECT number FROM kept").as_deref() == Some("4711"));
}

/// In which line of the journal `text` stands for the last time.
#[track_caller]
fn last_line_with(journal: &str, text: &str) -> usize {
    let lines = journal.lines().enumerate().filter(|(_, line)| line.contains(text));
    lines.map(|(number, _)| number).last().unwrap_or_else(|| panic!("no line with {text:?} in the journal"))
}

#[test]
fn a_database_comes_and_goes_with_its_volume() {
    let mut machine = Machine::new();
    machine.boot();
    set_up_kms(&machine);
    let volume =
        create_volume(&machine, "ENVOL_DIR=/srv/orders 'ENVOL_OPTIONS=--probe-interval 1s --confirm-denial 1s'");
    let unit = format!("envol@{volume}.service");
    let postgres = set_up_postgres(&machine, &volume);

    // Killed, it is cleared up by its companion, and both come back.
    let daemon = machine.show(&unit, "MainPID");
    machine.expect(&format!("systemctl kill --kill-who=main --signal=KILL {unit}"));
    wait_until("another daemon", DEADLINE, || {
        machine.show(&unit, "ActiveState") == "active" && machine.show(&unit, "MainPID") != daemon
    });
    wait_for_the_row(&machine);
    let events = machine.expect(&format!("envol --json events {volume}"));
    let died = events.lines().find(|line| line.contains("daemon-died")).expect("an event");
    assert!(died.contains("\"by\":\"companion\""), "{died}");

    // Unmounted by hand, it is detached.
    machine.expect(&format!("systemctl stop {postgres}; umount /srv/orders"));
    machine.wait_for_state(&unit, "inactive");
    machine.expect(&format!("test ! -e /run/envol/{volume}; systemctl start {unit}"));
    wait_for_the_row(&machine);

    // Stopped while somebody is there, it ends them.
    machine.expect("systemd-run --unit=holder --property=WorkingDirectory=/srv/orders sleep 1000");
    machine.expect(&format!("systemctl stop {unit}"));
    assert_eq!(machine.show(&unit, "Result"), "success");
    machine.wait_for_state("holder", "inactive");
    machine.expect(&format!("test ! -e /run/envol/{volume}; systemctl start {unit}"));
    wait_for_the_row(&machine);

    machine.expect("systemctl disable envol-kms");
    let took = machine.end_by("reboot");
    println!("shutdown with database and volume: {took:.1?}");
    assert!(took < SHUTDOWN_LIMIT, "{took:?}");
    let journal = machine.journal();
    let stopped = |what: &str| last_line_with(&journal, &format!("Stopped {what}"));
    assert!(stopped("postgresql@") < last_line_with(&journal, "Stopping envol@"), "{journal}");

    // KMS is late.
    machine.boot();
    let events = machine.expect(&format!("envol --json events {volume}"));
    assert_eq!(events.matches("daemon-died").count(), 1, "detached at the shutdown, not killed: {events}");
    assert!(events.lines().last().is_some_and(|event| event.contains("\"detached\"")), "{events}");
    machine.wait_for_state("multi-user.target", "active");
    let seconds =
        |status: &str| status.split_once("waiting for KMS for ")?.1.split_once(" s now")?.0.parse::<u32>().ok();
    wait_until("20 s of waiting", DEADLINE, || {
        seconds(&machine.sh(&format!("systemctl status {unit}")).stdout).is_some_and(|waited| waited >= 20)
    });
    assert_eq!(machine.show(&unit, "ActiveState"), "activating");
    assert_eq!(machine.show(&postgres, "ActiveState"), "inactive");
    machine.expect("systemctl start envol-kms");
    wait_for_the_row(&machine);
    machine.wait_for_state(&unit, "active");
    let journal = machine.journal();
    assert_eq!(journal.matches("waiting for KMS").count(), 1, "{journal}");
    assert_eq!(journal.matches("KMS answers again").count(), 1, "{journal}");

    // Waiting ends when it is told to.
    machine.expect(&format!("systemctl stop envol-kms {unit}; systemctl start --no-block {unit}"));
    wait_until("waiting", DEADLINE, || machine.show(&unit, "StatusText").starts_with("waiting for KMS"));
    machine.expect(&format!("systemctl stop {unit}"));
    assert_eq!(machine.show(&unit, "ActiveState"), "inactive");
    machine.expect(&format!("systemctl start envol-kms; test ! -e /run/envol/{volume}; systemctl start {unit}"));
    wait_for_the_row(&machine);

    // A revocation is final, for systemd too.
    let restarts = machine.show(&unit, "NRestarts");
    machine.expect(
        ". /etc/envol/aws.env; export $(cut -d= -f1 /etc/envol/aws.env); aws kms disable-key --key-id $(cat /etc/envol/key)",
    );
    machine.wait_for_state(&unit, "failed");
    assert_eq!(machine.show(&unit, "ExecMainStatus"), "6");
    assert_eq!((machine.show(&unit, "SubState"), machine.show(&unit, "NRestarts")), ("failed".to_owned(), restarts));
    wait_until("the end of PostgreSQL", DEADLINE, || {
        ["inactive", "failed"].contains(&machine.show(&postgres, "ActiveState").as_str())
    });
    machine.expect("! pgrep -x postgres && ! findmnt /srv/orders");
    let took = machine.end_by("poweroff");
    println!("shutdown after the revocation: {took:.1?}");
    assert!(took < SHUTDOWN_LIMIT, "{took:?}");
    let journal = machine.journal();
    assert!(journal.contains("allow the key again"), "the journal says what to do");
    for complaint in ["ordering cycle", "Failed unmounting", "left-over process", "remains running after unit stopped"]
    {
        assert!(!journal.contains(complaint), "{complaint}");
    }
}
