//! Several domains on one server: each has its certificate, and nothing else in common with the others.

use std::net::SocketAddr;

use comity::testing::Client;

use crate::probe::{Way, shown};
use crate::site::{Site, free};
use crate::text;

const VERONA: &str = "verona.example";
const MANTUA: &str = "mantua.example";
const PADUA: &str = "padua.example";

/// Where the four listeners are, in the order of the configuration; clients with STARTTLS are at `c2s`.
struct Listeners {
    c2s_tls: SocketAddr,
    s2s: SocketAddr,
    s2s_tls: SocketAddr,
}

/// Verona and Mantua have certificates of their own, Padua has that of `[tls]`. Federation is closed, so that
/// what goes from one to the other does not leave the server.
fn several(name: &str) -> (Site, Listeners) {
    let site = Site::new(name);
    for domain in [VERONA, MANTUA, PADUA] {
        let issued = site.ca.issue(&[domain]).unwrap();
        std::fs::write(site.directory.join(format!("{domain}.pem")), issued.chain_pem + &issued.key_pem).unwrap();
    }
    let listeners = Listeners { c2s_tls: free(), s2s: free(), s2s_tls: free() };
    let Listeners { c2s_tls, s2s, s2s_tls } = &listeners;
    let own =
        |domain| format!("[[domains]]\nname = \"{domain}\"\ncertificate = \"{domain}.pem\"\nkey = \"{domain}.pem\"\n");
    let config = format!(
        "data_dir = \"data\"\nadmins = [\"prince@verona.example\"]\n{}{}[[domains]]\nname = \"{PADUA}\"\n\
         [listen]\nc2s = \"{}\"\nc2s_tls = \"{c2s_tls}\"\ns2s = \"{s2s}\"\ns2s_tls = \"{s2s_tls}\"\n\
         [tls]\ncertificate = \"{PADUA}.pem\"\nkey = \"{PADUA}.pem\"\n[federation]\nmode = \"closed\"\n",
        own(VERONA),
        own(MANTUA),
        site.c2s
    );
    std::fs::write(site.directory.join("comity.toml"), config).unwrap();
    (site, listeners)
}

/// What a domain's certificate file holds first, as it is shown.
fn certificate(site: &Site, domain: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(site.directory.join(format!("{domain}.pem"))).unwrap().to_vec()
}

// Proves: RFC 7590 §3.5
#[tokio::test]
async fn certificates_follow_sni_then_the_stream_then_the_default() {
    let (mut site, listeners) = several("sni");
    site.start();
    for (address, namespace) in [(site.c2s, "jabber:client"), (listeners.s2s, "jabber:server")] {
        for domain in [VERONA, MANTUA, PADUA] {
            let own = certificate(&site, domain);
            let start = Way::StartTls(namespace, domain);
            assert_eq!(shown(address, start, Some(domain)).await, own, "{namespace} {domain}");
            // RFC 7590 §3.5: who does not say it by SNI has said it in the stream header.
            assert_eq!(shown(address, start, None).await, own, "{namespace} {domain}");
            assert_eq!(shown(address, start, Some("elsewhere.example")).await, own, "{namespace} {domain}");
        }
        let verona = shown(address, Way::StartTls(namespace, MANTUA), Some(VERONA)).await;
        assert_eq!(verona, certificate(&site, VERONA), "SNI goes first");
    }
    for address in [listeners.c2s_tls, listeners.s2s_tls] {
        for domain in [VERONA, MANTUA, PADUA] {
            assert_eq!(shown(address, Way::Direct, Some(domain)).await, certificate(&site, domain), "{domain}");
        }
        assert_eq!(shown(address, Way::Direct, None).await, certificate(&site, PADUA));
        assert_eq!(shown(address, Way::Direct, Some("elsewhere.example")).await, certificate(&site, PADUA));
    }
    assert!(site.stop().success());
}

async fn ask(client: &mut Client, iq: &str) -> comity::xml::Element {
    client.send(iq).await;
    loop {
        let stanza = client.next().await.unwrap();
        if stanza.name() == "iq" && matches!(stanza.attribute("type"), Some("result" | "error")) {
            return stanza;
        }
    }
}

#[tokio::test]
async fn domains_have_nothing_in_common_but_the_server() {
    let (mut site, _) = several("domains");
    let accounts = [
        ("juliet@verona.example", "balcony"),
        ("prince@verona.example", "palace"),
        ("juliet@mantua.example", "exile"),
        ("romeo@mantua.example", "apothecary"),
    ];
    site.start();
    for (account, password) in accounts {
        let added = site.run(&["account", "add", account, "--password-stdin"], &format!("{password}\n"));
        assert!(added.status.success(), "{}", text(&added.stderr));
    }

    // The same name in two domains is two people.
    assert!(site.log_in("juliet@mantua.example/x", "balcony").await.is_err());
    assert!(site.log_in("romeo@verona.example/x", "apothecary").await.is_err());
    let mut juliet = site.log_in("juliet@verona.example/balcony", "balcony").await.unwrap();
    let mut other = site.log_in("juliet@mantua.example/exile", "exile").await.unwrap();
    let mut romeo = site.log_in("romeo@mantua.example/orchard", "apothecary").await.unwrap();

    // So they have two rosters, and nobody sees whom the other sees.
    let add = "<iq type='set' id='add'><query xmlns='jabber:iq:roster'><item jid='nurse@verona.example'/></query></iq>";
    assert_eq!(ask(&mut juliet, add).await.attribute("type"), Some("result"));
    let get = "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>";
    let count = |roster: &comity::xml::Element| roster.elements().flat_map(comity::xml::Element::elements).count();
    assert_eq!(count(&ask(&mut juliet, get).await), 1);
    assert_eq!(count(&ask(&mut other, get).await), 0);
    for client in [&mut juliet, &mut other, &mut romeo] {
        client.send("<presence/>").await;
        let own = client.next().await.unwrap();
        assert_eq!(own.attribute("from"), client.jid.as_ref().map(comity::jid::Jid::as_str), "only one's own");
    }

    // What one domain says to the other stays here: there is no way to other servers.
    romeo
        .send("<message to='juliet@verona.example' type='chat' id='1'><body>did my heart love?</body></message>")
        .await;
    let message = juliet.next().await.unwrap();
    assert_eq!((message.attribute("id"), message.attribute("from")), (Some("1"), Some("romeo@mantua.example/orchard")));
    juliet.send("<message to='romeo@mantua.example/orchard' type='chat' id='2'><body>wherefore</body></message>").await;
    assert_eq!(romeo.next().await.unwrap().attribute("id"), Some("2"));
    juliet.send("<message to='tybalt@padua.example' type='chat' id='3'><body>nobody</body></message>").await;
    let bounced = juliet.next().await.unwrap();
    assert_eq!((bounced.attribute("id"), bounced.attribute("type")), (Some("3"), Some("error")));
    assert!(other.received().is_none(), "the other Juliet has heard of nothing");

    // Whoever asks a domain for its users gets those of that domain.
    let mut prince = site.log_in("prince@verona.example/palace", "palace").await.unwrap();
    for (domain, users) in [
        (VERONA, vec!["juliet@verona.example", "prince@verona.example"]),
        (MANTUA, vec!["juliet@mantua.example", "romeo@mantua.example"]),
        (PADUA, vec![]),
    ] {
        let command = format!(
            "<iq type='set' id='{domain}' to='{domain}'><command xmlns='http://jabber.org/protocol/commands' \
             node='http://jabber.org/protocol/admin#get-registered-users-list'><x xmlns='jabber:x:data' type='submit'>\
             <field var='max_items'><value>none</value></field></x></command></iq>"
        );
        let listed = ask(&mut prince, &command).await.to_xml("jabber:client");
        let all =
            [VERONA, MANTUA, PADUA].iter().map(|it| listed.matches(&format!("@{it}</value>")).count()).sum::<usize>();
        assert!(all == users.len() && users.iter().all(|user| listed.contains(user)), "{listed}");
    }
    let forbidden = ask(
        &mut romeo,
        "<iq type='set' id='no' to='mantua.example'><command \
        xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/admin#add-user'/></iq>",
    );
    assert_eq!(forbidden.await.attribute("type"), Some("error"));
    assert!(site.stop().success());
}
