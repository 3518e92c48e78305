//! The demonstration is the main job on real sockets: two servers, DNS, TLS, a conversation.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::process::Command;

#[test]
fn every_step_of_the_demonstration_is_seen_on_the_receiving_side() {
    let output = Command::new(env!("CARGO_BIN_EXE_comity")).args(["demo", "--once"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("All 11 steps were seen on the receiving side."), "{told}");
}

#[test]
fn the_demonstration_forgets_everything() {
    let place = tempdir("demo");
    let output =
        Command::new(env!("CARGO_BIN_EXE_comity")).args(["demo", "--once"]).env("TMPDIR", &place).output().unwrap();
    assert!(output.status.success());
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    std::fs::remove_dir(&place).unwrap();
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("comity-test-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}
