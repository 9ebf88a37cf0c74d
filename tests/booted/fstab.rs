//! A volume by a line in /etc/fstab.

use super::machine::{DEADLINE, Machine};
use super::{SHUTDOWN_LIMIT, create_volume, set_up_kms, wait_until};

#[test]
fn a_line_in_fstab_mounts_a_volume_at_boot_when_kms_comes() {
    let mut machine = Machine::new();
    machine.boot();
    set_up_kms(&machine);
    let volume = create_volume(&machine, "");
    machine.expect(&format!(
        "echo '{volume} /srv/papers envol kms_profile=envol-admin,wait_for_kms,_netdev,nofail,\
         x-systemd.requires=network-online.target,x-systemd.mount-timeout=infinity 0 0' > /etc/fstab; systemctl daemon-reload"
    ));

    let refused = machine.sh(&format!("mount -t envol {volume} /srv/papers -o kms_profil=envol-admin"));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("no mount option `kms_profil=envol-admin`"), "{}", refused.stderr);

    machine.expect("mkdir -p /srv/papers; systemctl start srv-papers.mount; echo kept > /srv/papers/page");
    assert!(machine.expect("findmnt --noheadings --output SOURCE,FSTYPE /srv/papers").starts_with("/dev/loop"));
    machine.expect("umount /srv/papers");
    wait_until("the end of the daemon", DEADLINE, || {
        machine.expect(&format!("envol --json status {volume}")).contains("\"available\"")
    });
    machine.expect("mount /srv/papers; grep kept /srv/papers/page");

    // As Debian has it.
    machine.expect("systemctl enable remote-fs.target; systemctl disable envol-kms");
    let took = machine.end_by("reboot");
    println!("shutdown with a volume of fstab: {took:.1?}");
    assert!(took < SHUTDOWN_LIMIT, "{took:?}");

    machine.boot();
    machine.wait_for_state("multi-user.target", "active");
    assert_eq!(machine.show("srv-papers.mount", "ActiveState"), "activating");
    machine.expect("systemctl start envol-kms");
    machine.wait_for_state("srv-papers.mount", "active");
    machine.expect("grep kept /srv/papers/page");
    let took = machine.end_by("poweroff");
    assert!(took < SHUTDOWN_LIMIT, "{took:?}");
}
