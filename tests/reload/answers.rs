//! What `comity reload` says.

use std::path::Path;
use std::process::Output;

use crate::site::{Site, free};
use crate::text;

fn configure(site: &Site, more: &str) {
    let config = format!(
        "domain = \"verona.example\"\ndata_dir = \"data\"\n{more}\n\
         [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = []\ns2s_tls = []\n",
        site.c2s
    );
    std::fs::write(site.directory.join("comity.toml"), config).unwrap();
}

fn refused(reload: &Output, code: i32, reason: &str) {
    let told = text(&reload.stderr);
    assert_eq!(reload.status.code(), Some(code), "{told}");
    assert!(told.contains(reason), "{told}");
}

#[test]
fn what_has_changed_is_named_and_what_needs_a_restart() {
    let mut site = Site::new("answers");
    refused(&site.run(&["reload"], ""), 1, "no server runs");
    configure(&site, "tls.certificate = \"chain.pem\"\ntls.key = \"key.pem\"");
    site.start();
    let reload = site.run(&["reload"], "");
    assert!(reload.status.success());
    assert_eq!(text(&reload.stdout), "The configuration was read again.\n");

    site.certify();
    let other = free();
    let more = "admins = [\"prince@verona.example\"]\ntls.certificate = \"chain.pem\"\ntls.key = \"key.pem\"\n\
         limits.roster_items = 7\nlog.level = \"debug\"\nlog.format = \"json\"\narchive.enabled = false";
    configure(&site, more);
    let path = site.directory.join("comity.toml");
    let moved = std::fs::read_to_string(&path).unwrap().replace("s2s = []", &format!("s2s = \"{other}\""));
    std::fs::write(&path, moved).unwrap();
    let reload = site.run(&["reload"], "");
    assert_eq!(
        text(&reload.stdout),
        "The configuration was read again.\n\
         Changed: admins, archive.enabled, limits.roster_items, log.level\n\
         New certificates: verona.example\nThese need a restart: listen.s2s, log.format\n"
    );
    let again: serde_json::Value = serde_json::from_slice(&site.run(&["reload", "--json"], "").stdout).unwrap();
    let expected =
        serde_json::json!({"changed": [], "certificates": [], "restart": ["listen.s2s", "log.format"], "warnings": []});
    assert_eq!(again, expected);
    assert!(site.stop().success());
}

#[test]
fn what_is_wrong_changes_nothing() {
    let mut site = Site::new("refusals");
    let good = "tls.certificate = \"chain.pem\"\ntls.key = \"key.pem\"";
    configure(&site, good);
    site.start();
    let reload = || site.run(&["reload"], "");
    configure(&site, &format!("{good}\nlimits.roster_itemz = 7"));
    refused(&reload(), 2, "roster_itemz");
    configure(&site, "tls.certificate = \"missing.pem\"\ntls.key = \"key.pem\"\nlimits.roster_items = 7");
    refused(&reload(), 2, "missing.pem");
    configure(&site, &format!("{good}\ntls.trust_anchors = [\"nobody.pem\"]\nlimits.roster_items = 7"));
    refused(&reload(), 2, "nobody.pem");
    // A domain that is to come is checked before it counts.
    let two = "[[domains]]\nname = \"verona.example\"\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n\
               [[domains]]\nname = \"mantua.example\"\ncertificate = \"mantua.pem\"\nkey = \"mantua.pem\"\n";
    let path = site.directory.join("comity.toml");
    let listen = format!("[listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = []\ns2s_tls = []\n", site.c2s);
    std::fs::write(&path, format!("data_dir = \"data\"\n{two}{listen}")).unwrap();
    refused(&reload(), 2, "mantua.pem");
    // Nothing of all that was taken over.
    configure(&site, &format!("{good}\nlimits.roster_items = 5000"));
    assert_eq!(text(&reload().stdout), "The configuration was read again.\n");
    let log = std::fs::read_to_string(site.directory.join("log")).unwrap();
    assert_eq!(log.matches("nothing has changed").count(), 3, "{log}");
    assert!(Path::new(&path).exists() && site.stop().success());
}

#[test]
fn odd_certificates_are_warned_about_at_the_start_and_afterwards() {
    let mut site = Site::new("odd");
    let issued = site.ca.issue(&["mantua.example"]).unwrap();
    std::fs::write(site.directory.join("other.pem"), issued.chain_pem + &issued.key_pem).unwrap();
    configure(&site, "tls.certificate = \"other.pem\"\ntls.key = \"other.pem\"");
    site.start();
    let reload = site.run(&["reload"], "");
    let warning = "the certificate that is shown for verona.example names it not at all; it has DNS mantua.example";
    assert!(text(&reload.stdout).contains(&format!("Warning: {warning}")), "{}", text(&reload.stdout));
    assert!(site.stop().success());
    let log = std::fs::read_to_string(site.directory.join("log")).unwrap();
    assert_eq!(log.matches(warning).count(), 2, "{log}");
}

#[test]
fn a_certificate_of_development_stays() {
    let mut site = Site::new("development");
    configure(&site, "");
    site.start();
    let reload = site.run(&["reload", "--json"], "");
    let reload: serde_json::Value = serde_json::from_slice(&reload.stdout).unwrap();
    assert_eq!(reload["certificates"], serde_json::json!([]));
    configure(&site, "tls.certificate = \"chain.pem\"\ntls.key = \"key.pem\"");
    let reload = site.run(&["reload"], "");
    assert!(text(&reload.stdout).contains("New certificates: verona.example"), "{}", text(&reload.stdout));
    assert!(site.stop().success());
}
