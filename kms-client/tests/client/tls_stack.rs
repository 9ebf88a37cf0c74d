//! One TLS stack: the SDK's default features bring a second, old one along.

use std::process::Command;

#[test]
fn there_is_no_legacy_tls_in_the_tree() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "kms-client", "--edges", "normal", "--prefix", "none", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let has = |package: &str| tree.lines().any(|line| line.starts_with(package));
    assert!(has("rustls v0.23.") && has("hyper v1."), "not the tree that this test is about:\n{tree}");
    for legacy in ["rustls v0.21.", "hyper v0.14.", "ring v", "openssl v"] {
        assert!(!has(legacy), "{legacy} is back");
    }
}
