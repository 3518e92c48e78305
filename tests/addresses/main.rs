//! Nobody hears from where anybody else comes: no address of the network is in anything that is sent to clients, other servers
//! and components, over IPv4 and IPv6, in any of the ways in which it can be written.
//!
//! Everybody is at an address of his own, as far as the loopback interface has them, asks everybody else what there is to ask, and
//! does what has errors. What comes is taken down octet by octet behind TLS. At the end somebody writes all the addresses to
//! everybody: those are found, so the others would have been.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails where something is missing")]

mod abroad;
mod line;
#[path = "../site/mod.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod site;
mod spellings;
#[path = "../site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::hexadecimal;

use abroad::{Abroad, Proof, SASL, TLS, header};
use line::{Ear, Line, Voice};
use site::{Site, free};
use spellings::within;
use zone::Zone;

const VERONA: &str = "verona.example";
const ROOMS: &str = "rooms.verona.example";
const ROOM: &str = "square@rooms.verona.example";
const PASSWORD: &str = "a rose by any other name";

/// From where who comes, and where he is found. The loopback interface has one address of IPv6.
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const SERVER: IpAddr = v4(0, 1);
const ROMEO: IpAddr = v4(77, 77);
const GHOST: IpAddr = v4(77, 78);
const FROM_MANTUA: IpAddr = v4(77, 79);
const MANTUA: IpAddr = v4(77, 80);
const VICENZA: IpAddr = v4(77, 81);
const ALL: [IpAddr; 7] = [V6, SERVER, ROMEO, GHOST, FROM_MANTUA, MANTUA, VICENZA];

const fn v4(third: u8, fourth: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, third, fourth))
}

/// Whom somebody of this server asks.
const EVERYBODY: [&str; 10] = [
    VERONA,
    "romeo@verona.example",
    "romeo@verona.example/orchard",
    "juliet@verona.example/balcony",
    "nobody@verona.example",
    ROOMS,
    ROOM,
    "ghost.verona.example",
    "u@mantua.example",
    "u@padua.example",
];

/// Whom somebody from elsewhere asks on a stream to this domain.
const RESIDENTS: [&str; 4] = [VERONA, "romeo@verona.example", "juliet@verona.example/balcony", "nobody@verona.example"];

/// Domains whose servers cannot be reached: nobody listens, there is no such name, the DNS fails.
const UNREACHABLE: [&str; 4] = ["vicenza.example", "pisa.example", "nowhere.example", "siena.example"];

/// What can be asked of somebody.
const QUESTIONS: [&str; 18] = [
    "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
    "<query xmlns='jabber:iq:version'/>",
    "<query xmlns='jabber:iq:last'/>",
    "<query xmlns='jabber:iq:roster'/>",
    "<query xmlns='jabber:iq:register'/>",
    "<query xmlns='urn:xmpp:mam:2'/>",
    "<query xmlns='http://jabber.org/protocol/muc#owner'/>",
    "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='owner'/></query>",
    "<query xmlns='http://jabber.org/protocol/bytestreams'/>",
    "<vCard xmlns='vcard-temp'/>",
    "<time xmlns='urn:xmpp:time'/>",
    "<services xmlns='urn:xmpp:extdisco:2'/>",
    "<address xmlns='urn:xmpp:sic:1'/>",
    "<list xmlns='urn:xmpp:cam:0'/>",
    "<blocklist xmlns='urn:xmpp:blocking'/>",
    "<x xmlns='urn:example'/>",
];

const COMMANDS: [&str; 8] = [
    "user-stats",
    "get-user-lastlogin",
    "get-user-roster",
    "get-online-users-num",
    "get-online-users-list",
    "get-active-users",
    "get-registered-users-list",
    "end-user-session",
];

/// Where everybody finds the server, over IPv4 and over IPv6.
struct Doors {
    c2s: [SocketAddr; 2],
    s2s: [SocketAddr; 2],
    component: [SocketAddr; 2],
}

/// The same free port for both.
fn both() -> [SocketAddr; 2] {
    loop {
        let old = free();
        let new = SocketAddr::new(V6, old.port());
        if TcpListener::bind(new).is_ok() {
            return [old, new];
        }
    }
}

fn furnish(site: &Site, dns: SocketAddr) -> Doors {
    let doors = Doors { c2s: both(), s2s: both(), component: both() };
    let list = |[old, new]: [SocketAddr; 2]| format!("[\"{old}\", \"{new}\"]");
    let text = format!(
        "domain = \"{VERONA}\"\ndata_dir = \"data\"\nadmins = [\"romeo@{VERONA}\"]\n\
         [listen]\nc2s = {}\nc2s_tls = []\ns2s = {}\ns2s_tls = []\ncomponent = {}\n\
         [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
         [dns]\nservers = [\"{dns}\"]\n[federation]\naccept_dialback = true\nexpiry = \"0s\"\n\
         [services]\nrooms = [\"{ROOMS}\"]\n\
         [[components]]\nname = \"ghost.{VERONA}\"\nsecret = \"{PASSWORD}\"\n\
         [[components]]\nname = \"spirit.{VERONA}\"\nsecret = \"{PASSWORD}\"\n\
         [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = \"0B\"\n\
         server_stanzas_per_second = 0\nserver_bytes_per_second = \"0B\"\n",
        list(doors.c2s),
        list(doors.s2s),
        list(doors.component)
    );
    fs::write(site.directory.join("comity.toml"), text).unwrap();
    fs::write(site.directory.join("ca.pem"), site.ca.pem()).unwrap();
    for user in ["romeo", "juliet"] {
        let add = ["account", "add", &format!("{user}@{VERONA}"), "--password-stdin"];
        assert!(site.run(&add, &format!("{PASSWORD}\n")).status.success());
    }
    doors
}

/// A client's stream inside TLS.
async fn stranger(site: &Site, from: IpAddr, to: SocketAddr, ear: &Ear) -> Line {
    let header = header("jabber:client", &format!("to='{VERONA}' version='1.0'"));
    let mut line = Line::dial(from, to, ear).await;
    line.say(&header).await;
    line.hear("</stream:features>").await;
    line.say(&format!("<starttls xmlns='{TLS}'/>")).await;
    line.hear("<proceed").await;
    line.hear(">").await;
    let mut line = line.connect_tls(&site.client_tls(), VERONA).await;
    line.say(&header).await;
    line.hear("</stream:features>").await;
    line
}

fn plain(user: &str, password: &str) -> String {
    let message = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{message}</auth>")
}

/// A client that has a session.
async fn client(site: &Site, from: IpAddr, to: SocketAddr, (user, resource): (&str, &str), ear: &Ear) -> Line {
    let mut line = stranger(site, from, to, ear).await;
    line.say(&plain(user, "not the password")).await;
    line.hear("</failure>").await;
    line.say(&plain(user, PASSWORD)).await;
    line.hear("<success").await;
    line.hear(">").await;
    line.say(&header("jabber:client", &format!("to='{VERONA}' version='1.0'"))).await;
    line.hear("</stream:features>").await;
    let resource = format!("<resource>{resource}</resource>");
    line.say(&format!("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>"))
        .await;
    line.hear("</iq>").await;
    line.say("<presence/>").await;
    line
}

/// A component that is let in.
async fn admitted(from: IpAddr, to: SocketAddr, name: &str, ear: &Ear) -> Line {
    let mut line = component(from, to, name, PASSWORD, ear).await;
    line.hear("<handshake").await;
    line.hear(">").await;
    line
}

/// A component, with this secret.
async fn component(from: IpAddr, to: SocketAddr, name: &str, secret: &str, ear: &Ear) -> Line {
    let mut line = Line::dial(from, to, ear).await;
    line.say(&header("jabber:component:accept", &format!("to='{name}'"))).await;
    line.hear(" id='").await;
    let id = line.hear("'").await;
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, [id.trim_end_matches('\''), secret].concat().as_bytes());
    let hash = hexadecimal::text(hash.as_ref());
    line.say(&format!("<handshake>{hash}</handshake>")).await;
    line
}

/// Somebody who has a stream, and what he calls himself on it.
struct Somebody {
    voice: Voice,
    from: String,
}

impl Somebody {
    fn new(line: Line, from: &str) -> Self {
        let from = if from.is_empty() { String::new() } else { format!("from='{from}'") };
        Self { voice: line.listen(), from }
    }

    /// Says something, and waits until the server has come to the end of it.
    async fn say(&mut self, id: &str, words: &str) {
        let Self { from, .. } = self;
        let ping = format!("<iq type='get' id='{id}' {from} to='{VERONA}'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.voice.say(&format!("{words}{ping}")).await;
        self.voice.ear.hears(&format!("id='{id}'")).await;
    }

    async fn enter(&mut self, nick: &str) {
        let inside = "<x xmlns='http://jabber.org/protocol/muc'/>";
        self.voice.say(&format!("<presence {} to='{ROOM}/{nick}'>{inside}</presence>", self.from)).await;
        self.voice.ear.hears("code='110'").await;
    }

    /// Asks everybody everything.
    async fn ask(&mut self, whom: &[&str]) {
        let from = self.from.clone();
        for to in whom {
            let mut all = String::new();
            for question in QUESTIONS {
                for kind in ["get", "set"] {
                    all.push_str(&format!("<iq type='{kind}' id='q' {from} to='{to}'>{question}</iq>"));
                }
            }
            for stanza in ["message type='chat' id='m'", "presence type='subscribe'", "presence type='probe'"] {
                all.push_str(&format!("<{stanza} {from} to='{to}'/>"));
            }
            self.say(&format!("asked-{to}"), &all).await;
        }
    }

    /// What an administrator is shown.
    async fn administer(&mut self) {
        for name in COMMANDS {
            let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
            let fields = [
                field("FORM_TYPE", "http://jabber.org/protocol/admin"),
                field("accountjid", &format!("juliet@{VERONA}")),
                field("accountjids", &format!("nobody@{VERONA}")),
                field("max_items", "none"),
            ];
            let form = format!("<x xmlns='jabber:x:data' type='submit'>{}</x>", fields.concat());
            let command = "command xmlns='http://jabber.org/protocol/commands'";
            let command = format!("<{command} node='http://jabber.org/protocol/admin#{name}'>{form}</command>");
            self.say(name, &format!("<iq type='set' id='c' to='{VERONA}'>{command}</iq>")).await;
        }
    }
}

/// What has errors of streams.
async fn err(site: &Site, doors: &Doors, [romeo, ghost]: [&Ear; 2], servers: [(&Abroad, IpAddr, SocketAddr); 2]) {
    for (from, to) in [(ROMEO, doors.c2s[0]), (V6, doors.c2s[1])] {
        let mut line = stranger(site, from, to, romeo).await;
        line.say("<x & y>").await;
        line.hear("</stream:error>").await;
        let mut line = Line::dial(from, to, romeo).await;
        line.say(&header("jabber:client", "to='elsewhere.example' version='1.0'")).await;
        line.hear("</stream:error>").await;
    }
    for (from, to) in [(GHOST, doors.component[0]), (V6, doors.component[1])] {
        let mut line = component(from, to, "ghost.verona.example", "not the secret", ghost).await;
        line.hear("</stream:error>").await;
    }
    for (server, from, to) in servers {
        let mut line = server.dial_unproven(from, (to, VERONA)).await;
        let message = BASE64_STANDARD.encode("vicenza.example");
        line.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{message}</auth>")).await;
        line.hear_one(&["</failure>", "</stream:error>"]).await.unwrap();
        for unreachable in UNREACHABLE {
            let mut line = server.dial_unproven(from, (to, VERONA)).await;
            line.say(&format!("<db:result from='{unreachable}' to='{VERONA}'>a key</db:result>")).await;
            let (word, _) = line.hear_one(&["type='error'", "type='invalid'", "</stream:error>"]).await.unwrap();
            if word == "type='error'" {
                line.hear("</db:result>").await;
            }
        }
        let mut line = server.dial(from, (to, VERONA)).await;
        line.say("<x & y>").await;
        line.hear("</stream:error>").await;
    }
}

/// Everybody writes in a room.
async fn meet(here: &mut [Somebody], servers: [(&Abroad, IpAddr, SocketAddr); 2]) {
    for (number, somebody) in here.iter_mut().enumerate() {
        somebody.enter(&format!("nick {number}")).await;
        if number == 0 {
            // Nobody else can enter before.
            let form = "<x xmlns='jabber:x:data' type='submit'/>";
            let form = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>");
            somebody.say("made", &format!("<iq type='set' id='room' to='{ROOM}'>{form}</iq>")).await;
        }
    }
    for (server, from, door) in servers {
        let mut guest = Somebody::new(server.dial(from, (door, ROOMS)).await, &server.user());
        guest.enter(server.domain).await;
    }
    let message = format!("<message type='groupchat' id='hello' to='{ROOM}'><body>hello</body></message>");
    here[0].voice.say(&message).await;
    for ear in here.iter().map(|somebody| &somebody.voice.ear).chain(servers.iter().map(|(server, ..)| &server.ear)) {
        ear.hears("id='hello'").await;
    }
}

/// What cannot be delivered.
async fn miss(somebody: &mut Somebody) {
    for domain in UNREACHABLE {
        let message = format!("<message type='chat' id='to-{domain}' to='u@{domain}'><body>?</body></message>");
        somebody.voice.say(&message).await;
        somebody.voice.ear.hears(&format!("id='to-{domain}'")).await;
    }
}

/// What stands around something that was heard.
fn around<'h>(heard: &'h str, found: &str) -> &'h str {
    let at = heard.find(found).unwrap_or_default();
    heard.get(at.saturating_sub(500)..heard.len().min(at + 200)).unwrap_or_default()
}

/// Somebody writes all addresses to everybody; nobody has heard one of them otherwise.
async fn judge(somebody: &mut Somebody, everybody: [(&str, &Ear); 6]) {
    let written: Vec<String> = ALL.into_iter().flat_map(spellings::of).collect();
    let body = written.join(" ") + " is all";
    for (to, _) in everybody {
        somebody.voice.say(&format!("<message type='chat' to='{to}'><body>{body}</body></message>")).await;
    }
    for (who, ear) in everybody {
        ear.hears(" is all").await;
        let heard = ear.heard();
        assert_eq!(within(&heard, &ALL), written, "{who} hears what is said");
        let found = within(&heard.replace(&body, ""), &ALL);
        assert!(found.is_empty(), "{who} hears {found:?}: {}", around(&heard, &found[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_is_in_anything_that_anybody_hears() {
    let mut site = Site::new("addresses");
    let mantua = Abroad::serve("mantua.example", MANTUA, Proof::Certificate, &site.ca).await;
    let padua = Abroad::serve("padua.example", V6, Proof::Dialback, &site.ca).await;
    // Nobody listens at these two.
    let (vicenza, pisa) = (SocketAddr::new(VICENZA, free().port()), both()[1]);
    let mut zone = Zone::default();
    for (domain, s2s) in
        [(mantua.domain, mantua.s2s), (padua.domain, padua.s2s), ("vicenza.example", vicenza), ("pisa.example", pisa)]
    {
        let host = format!("host.{domain}");
        zone.srv(domain, 0, &host, s2s.port());
        zone.host(&host, s2s.ip());
    }
    zone.fails("siena.example");
    let doors = furnish(&site, zone.serve().await);
    site.start();

    let ears = [(); 4].map(|()| Ear::new());
    let [romeo, juliet, ghost, spirit] = &ears;
    let names = ["x@ghost.verona.example/r", "x@spirit.verona.example/r"];
    let mut here = [
        Somebody::new(client(&site, ROMEO, doors.c2s[0], ("romeo", "orchard"), romeo).await, ""),
        Somebody::new(client(&site, V6, doors.c2s[1], ("juliet", "balcony"), juliet).await, ""),
        Somebody::new(admitted(GHOST, doors.component[0], "ghost.verona.example", ghost).await, names[0]),
        Somebody::new(admitted(V6, doors.component[1], "spirit.verona.example", spirit).await, names[1]),
    ];
    let servers = [(&mantua, FROM_MANTUA, doors.s2s[0]), (&padua, V6, doors.s2s[1])];
    meet(&mut here, servers).await;
    here[0].administer().await;
    for somebody in &mut here {
        somebody.ask(&EVERYBODY).await;
    }
    for (server, from, door) in servers {
        let mut somebody = Somebody::new(server.dial(from, (door, VERONA)).await, &server.user());
        somebody.ask(&RESIDENTS).await;
    }
    miss(&mut here[0]).await;
    err(&site, &doors, [romeo, ghost], servers).await;
    let everybody = [
        ("romeo@verona.example/orchard", romeo),
        ("juliet@verona.example/balcony", juliet),
        (names[0], ghost),
        (names[1], spirit),
        ("u@mantua.example/r", &mantua.ear),
        ("u@padua.example/r", &padua.ear),
    ];
    judge(&mut here[1], everybody).await;
    drop(here);
    assert!(site.stop().success());
}
