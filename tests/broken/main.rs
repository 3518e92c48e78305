//! Servers that are broken, each in one way, on real sockets and with a real DNS server: `comity check` says what is wrong
//! with each of them, whoever writes there is told the same, and nothing is said of one that is in order.
//!
//! A case is a line of the table in `cases`.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod cases;
mod certificates;
mod fixtures;
mod peer;
mod signatures;
#[path = "../../src/net/dns/hickory/signed.rs"]
#[expect(dead_code, reason = "its own tests have more zones")]
mod signed;
#[path = "../site/mod.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod site;
#[path = "../site/zone.rs"]
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comity::jid::Jid;
use comity::testing::{Client, Raw};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use cases::{CASES, Case, Street};
use certificates::{Authority, Flaw};
use signatures::Signed;
use site::{Site, free};

/// The domain of the server under test.
const VERONA: &str = "verona.example";

/// How long it may take to reach one of them, as configured; and how long until whoever writes there knows what has become of it,
/// however busy the machine is.
const CONNECT: &str = "4s";
const MOST: Duration = Duration::from_secs(8);

/// How many examinations go on at a time.
const AT_A_TIME: usize = 6;

/// A directory for the server of `domain`, whose certificate has the purpose of servers alone.
fn site(name: &str, domain: &str, authority: &Authority) -> Site {
    let site = Site::new(name);
    let issued = authority.issue(domain, Flaw::None);
    std::fs::write(site.directory.join("chain.pem"), &issued.pem).unwrap();
    std::fs::write(site.directory.join("key.pem"), issued.key_pem()).unwrap();
    std::fs::write(site.directory.join("anchors.pem"), authority.certificate.pem()).unwrap();
    site
}

/// The sections about the DNS and other servers are `more`; those connect to `s2s`.
fn configure(site: &Site, domain: &str, s2s: SocketAddr, more: &str) {
    let config = format!(
        "domain = \"{domain}\"\ndata_dir = \"data\"\n\
         [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{s2s}\"\ns2s_tls = []\n\
         [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"anchors.pem\"]\n\
         {more}connect_timeout = \"{CONNECT}\"\nexpiry = \"0s\"\n",
        site.c2s
    );
    std::fs::write(site.directory.join("comity.toml"), config).unwrap();
}

fn asking(dns: SocketAddr) -> String {
    format!("[dns]\nservers = [\"{dns}\"]\n[federation]\n")
}

async fn log_in(site: &Site, authority: &Authority) -> Client {
    let added = site.run(&["account", "add", "romeo@verona.example", "--password-stdin"], "a rose by any other name\n");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let jid: Jid = "romeo@verona.example/orchard".parse().unwrap();
    let socket = tokio::net::TcpStream::connect(site.c2s).await.unwrap();
    Raw::new(socket).log_in(authority.client(), &jid, "a rose by any other name").await.unwrap()
}

/// What has become of a message.
struct Fate {
    /// Its error, or nothing where it has arrived.
    told: Option<String>,
    after: Duration,
}

/// What becomes of a message to each of the domains.
async fn fates(
    client: &mut Client,
    arrived: &mut UnboundedReceiver<String>,
    domains: &[String],
) -> BTreeMap<String, Fate> {
    let mut sent = BTreeMap::new();
    for domain in domains {
        sent.insert(domain.clone(), Instant::now());
        client.send(&format!("<message type='chat' to='juliet@{domain}' id='{domain}'><body>?</body></message>")).await;
    }
    let mut fates = BTreeMap::new();
    while fates.len() < domains.len() {
        let (domain, told) = tokio::select! {
            domain = arrived.recv() => (domain.unwrap(), None),
            stanza = client.next() => {
                let stanza = stanza.unwrap();
                let error = stanza.elements().find(|child| child.name() == "error").unwrap();
                let text = error.elements().find(|child| child.name() == "text").unwrap().text();
                (stanza.attribute("id").unwrap().to_owned(), Some(text))
            }
        };
        let after = sent[&domain].elapsed();
        fates.insert(domain, Fate { told, after });
    }
    fates
}

/// What `comity check` says of each of the domains.
async fn checks(site: &Arc<Site>, domains: &[String]) -> BTreeMap<String, Output> {
    let mut checks = BTreeMap::new();
    for some in domains.chunks(AT_A_TIME) {
        let mut running = JoinSet::new();
        for domain in some.iter().cloned() {
            let site = Arc::clone(site);
            running.spawn_blocking(move || {
                let output = site.run(&["check", &domain, "--json"], "");
                (domain, output)
            });
        }
        checks.extend(running.join_all().await);
    }
    checks
}

fn kinds(output: &Output) -> BTreeSet<String> {
    let diagnosis: Result<Value, _> = serde_json::from_slice(&output.stdout);
    assert!(diagnosis.is_ok(), "{}", String::from_utf8_lossy(&output.stderr));
    let diagnosis = diagnosis.unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// What of a case is not as it should be.
fn judge(domain: &str, expected: (&[&str], Option<&str>), fate: &Fate, check: &Output) -> Result<(), String> {
    let (expected, words) = expected;
    let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
    let (found, told) = (kinds(check), fate.told.as_deref().unwrap_or("it arrives"));
    if found != expected {
        let all = String::from_utf8_lossy(&check.stdout);
        return Err(format!("{domain}: {found:?} instead of {expected:?}: {all}"));
    }
    let is_told = match words {
        Some(words) => told.contains(words),
        None => fate.told.is_none(),
    };
    if !is_told {
        return Err(format!("{domain}: {told:?} instead of {words:?}"));
    }
    if fate.after > MOST {
        return Err(format!("{domain}: known after {:?} only", fate.after));
    }
    // What arrives, or would, is no failure.
    let code = i32::from(words.is_some());
    if check.status.code() != Some(code) {
        return Err(format!("{domain}: exit code {:?} instead of {code}", check.status.code()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_named_and_whoever_writes_there_is_told() {
    let authority = Authority::root("an authority that is trusted");
    let s2s = free();
    let mut street = Street::build(&authority, s2s).await;
    let mut site = site("broken", VERONA, &authority);
    configure(&site, VERONA, s2s, &asking(street.dns));
    site.start();
    let mut client = log_in(&site, &authority).await;
    let domains: Vec<_> = CASES.iter().map(Case::domain).collect();
    let fates = fates(&mut client, &mut street.arrived, &domains).await;
    let site = Arc::new(site);
    let checks = checks(&site, &domains).await;
    let judged = CASES.iter().map(|case| {
        let domain = case.domain();
        judge(&domain, (case.kinds, case.told), &fates[&domain], &checks[&domain])
    });
    let wrong: Vec<_> = judged.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let known = site.run(&["peers", "--json"], "");
    let known: Value = serde_json::from_slice(&known.stdout).unwrap();
    for case in CASES.iter().filter(|case| case.told.is_some()) {
        let peer = known.as_array().unwrap().iter().find(|peer| peer["remote"] == case.domain().as_str());
        let what = peer.unwrap()["last_error"]["what"].as_str().unwrap();
        assert!(what.contains(case.told.unwrap()), "{}: {what}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_of_ours_nobody_vouches_for_a_key() {
    let authority = Authority::root("an authority that is trusted");
    let s2s = free();
    let street = Street::build(&authority, s2s).await;
    let site = site("broken-alone", VERONA, &authority);
    configure(&site, VERONA, s2s, &asking(street.dns));
    let check = |domain: &str| site.run(&["check", domain, "--json"], "");
    let honest = check("honest.example");
    assert_eq!((honest.status.code(), kinds(&honest)), (Some(0), BTreeSet::new()));
    let other = check("dialback-refused.example");
    assert_eq!((other.status.code(), kinds(&other)), (Some(1), BTreeSet::from(["dialback-not-tried".to_owned()])));
    let told = site.run(&["check", "expired.example"], "");
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("WRONG    127.0.0.1:") && told.contains("renew the certificate of expired.example"),
        "{told}"
    );
    let own = site.run(&["check", "verona.example", "--json"], "");
    assert_eq!(own.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_in_the_dns_and_pinned_keys_count() {
    let authority = Authority::root("an authority that is trusted");
    let mut site = site("broken-signed", VERONA, &authority);
    let mut signed = Signed::build(&authority, &site.directory).await;
    configure(&site, VERONA, free(), &signed.config);
    site.start();
    let mut client = log_in(&site, &authority).await;
    let domains: Vec<_> = signatures::CASES.iter().map(|(domain, ..)| (*domain).to_owned()).collect();
    let fates = fates(&mut client, &mut signed.arrived, &domains).await;
    let site = Arc::new(site);
    let checks = checks(&site, &domains).await;
    let judged =
        signatures::CASES.map(|(domain, kinds, told)| judge(domain, (kinds, told), &fates[domain], &checks[domain]));
    let wrong: Vec<_> = judged.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let diagnosis: Value = serde_json::from_slice(&checks["key-in-dns"].stdout).unwrap();
    let step = |name: &str| diagnosis["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).cloned();
    assert_eq!(step("srv").unwrap()["security"], "insecure", "there is none for direct TLS");
    assert_eq!(step("addresses").unwrap()["security"], "secure");
    assert_eq!(step("tlsa").unwrap()["records"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tester_has_nothing_to_say_against_a_server_like_this_one() {
    let authority = Authority::root("an authority that is trusted");
    let servers = [("tester", VERONA), ("tested", "mantua.example")];
    let servers = servers.map(|(name, domain)| (site(name, domain, &authority), domain, free()));
    let [(_, one, here), (_, other, there)] = &servers;
    let dns = zone::serve(&[(one, *here), (other, *there)]).await;
    let [mut tester, mut tested] = servers.map(|(site, domain, s2s)| {
        configure(&site, domain, s2s, &asking(dns));
        site
    });
    tester.start();
    tested.start();
    let report = tester.run(&["interop", "mantua.example"], "");
    let told = String::from_utf8(report.stdout).unwrap();
    assert_eq!(report.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&report.stderr));
    assert!(told.ends_with(" passed, 0 failed, 1 untried.\n") && !told.contains("advice"), "{told}");
    // Without a server nobody is asked.
    assert!(tester.stop().success());
    assert_eq!(tester.run(&["interop", "mantua.example"], "").status.code(), Some(1));
}
