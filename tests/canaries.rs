//! Canaries go through every door: passwords, tokens, keys, and what people say to each other and keep here. None of them is in
//! the log, however much is logged, in what the operator is shown, or in what a stranger hears; and nobody hears from which
//! address somebody comes. What is left in memory and on disk is in `stolen.rs`.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails where something is missing")]

mod site;

use std::fs;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comity::jid::Jid;
use comity::testing::{Client, Raw};
use site::{Site, free};
use tokio::net::TcpSocket;

const ROOM: &str = "square@rooms.verona.example";

/// From where everybody comes.
const ADDRESS: &str = "127.0.77.77";

/// What is looked for, with what it is.
#[derive(Default)]
struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// A new one; none is found in another.
    fn make(&mut self, what: &str) -> String {
        let number = self.0.len() as u64 + 1;
        let canary = format!("kanarie{number:03}{:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number));
        self.0.push((what.to_owned(), canary.clone()));
        canary
    }

    /// The same for something that is given.
    fn given(&mut self, what: &str, canary: &str) {
        assert!(canary.len() >= 16, "{what}: {canary} could be there by chance");
        self.0.push((what.to_owned(), canary.to_owned()));
    }

    /// A password, as it is and as it is sent.
    fn password(&mut self, what: &str, user: &str) -> String {
        let password = self.make(what);
        let message = STANDARD.encode(format!("\0{user}\0{password}"));
        // The last characters of Base64 may differ where something else follows.
        self.given(&format!("{what}, as PLAIN sends it"), &message[..message.len() - 4]);
        password
    }

    fn absent_from(&self, place: &str, text: &str) {
        let found = self.0.iter().filter(|(_, canary)| text.contains(canary.as_str()));
        let found: Vec<&str> = found.map(|(what, _)| what.as_str()).collect();
        assert!(found.is_empty(), "in {place}: {found:?}");
    }
}

async fn raw(to: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ADDRESS}:0").parse().unwrap()).unwrap();
    Raw::new(socket.connect(to).await.unwrap())
}

/// Somebody, and everything that he has heard.
struct Person {
    client: Client,
    heard: String,
    asked: u32,
}

impl Person {
    async fn log_in(site: &Site, jid: &str, password: &str) -> Result<Self, String> {
        let jid: Jid = jid.parse().unwrap();
        let client = raw(site.c2s).await.recorded().log_in(site.client_tls(), &jid, password).await?;
        Ok(Self { client, heard: String::new(), asked: 0 })
    }

    /// Hears everything up to the stanza with these words, unless they have come already.
    async fn hear(&mut self, words: &str) {
        if self.heard.contains(words) {
            return;
        }
        while let Some(found) = self.client.next().await {
            let found = found.to_xml("jabber:client");
            let is_it = found.contains(words);
            self.heard.push_str(&found);
            self.heard.push('\n');
            if is_it {
                return;
            }
        }
        panic!("nobody has said {words}: {}", self.heard);
    }

    /// Says something, and waits until the server has come to the end of it.
    async fn say(&mut self, words: &str) {
        self.asked += 1;
        let id = format!("end-of-{}", self.asked);
        let ping = format!("<iq type='get' id='{id}' to='verona.example'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.client.send(&format!("{words}{ping}")).await;
        self.hear(&format!("id='{id}'")).await;
    }
}

fn chat(to: &str, body: &str) -> String {
    format!("<message type='chat' to='{to}'><body>{body}</body></message>")
}

fn iq(to: &str, payload: &str) -> String {
    format!("<iq type='set' id='1' to='{to}'>{payload}</iq>")
}

/// A command of an administrator.
fn command(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: String =
        fields.iter().map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>")).collect();
    let node = format!("http://jabber.org/protocol/admin#{name}");
    let form = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
    iq(
        "verona.example",
        &format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}'>{form}</command>"),
    )
}

/// The site with a component, rooms and an administrator.
fn furnish(site: &Site, secret: &str) -> SocketAddr {
    let component = free();
    let file = site.directory.join("comity.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("[tls]", &format!("component = \"{component}\"\n[tls]"));
    let more = format!(
        "[[components]]\nname = \"ghost.verona.example\"\nsecret = \"{secret}\"\n\
         [services]\nrooms = [\"rooms.verona.example\"]\n[federation]\nmode = \"closed\"\n\
         [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = \"0B\"\n"
    );
    fs::write(file, format!("admins = [\"romeo@verona.example\"]\n{text}{more}")).unwrap();
    component
}

/// Passwords by every way on which they are made, changed and mistyped.
async fn passwords(site: &Site, canaries: &mut Canaries) -> (Person, Person, Person) {
    let [romeo, juliet, mallory] = ["romeo", "juliet", "mallory"].map(|user| canaries.password(user, user));
    let list = format!("romeo@verona.example {romeo}\njuliet@verona.example {juliet}\n");
    assert!(site.run(&["account", "import", "-"], &list).status.success());
    let add = ["account", "add", "mallory@verona.example", "--password-stdin"];
    let shown = site.run(&add, &format!("{mallory}\n"));
    assert!(shown.status.success());
    canaries.absent_from("what the command says", &String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()));
    let nearly = canaries.password("what romeo has mistyped", "romeo");
    assert!(Person::log_in(site, "romeo@verona.example/orchard", &nearly).await.is_err());
    let mut prince = Person::log_in(site, "romeo@verona.example/palace", &romeo).await.unwrap();
    let (paris, other) = (canaries.password("paris", "paris"), canaries.password("the other of paris", "paris"));
    let jid = ("accountjid", "paris@verona.example");
    let not_the_same = [jid, ("password", paris.as_str()), ("password-verify", other.as_str())];
    prince.say(&command("add-user", &not_the_same)).await;
    prince.say(&command("add-user", &[jid, ("password", paris.as_str()), ("password-verify", paris.as_str())])).await;
    prince.say(&command("change-user-password", &[jid, ("password", other.as_str())])).await;
    prince
        .say(&command("change-user-password", &[("accountjid", "nobody@verona.example"), ("password", paris.as_str())]))
        .await;
    Person::log_in(site, "paris@verona.example/hall", &other).await.unwrap();
    let mut juliet = Person::log_in(site, "juliet@verona.example/balcony", &juliet).await.unwrap();
    let register = |user: &str, password: &str| {
        let inside = format!("<username>{user}</username><password>{password}</password>");
        iq("verona.example", &format!("<query xmlns='jabber:iq:register'>{inside}</query>"))
    };
    let stolen = canaries.password("what juliet wants for romeo", "romeo");
    juliet.say(&register("romeo", &stolen)).await;
    let new = canaries.password("juliet anew", "juliet");
    juliet.say(&register("juliet", &new)).await;
    Person::log_in(site, "juliet@verona.example/chamber", &new).await.unwrap();
    let mallory = Person::log_in(site, "mallory@verona.example/den", &mallory).await.unwrap();
    (prince, juliet, mallory)
}

/// A token (XEP-0484), and the message with which it logs in.
async fn token(site: &Site, password: &str, canaries: &mut Canaries) {
    let wishes = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf80001'/><request-token xmlns='urn:xmpp:fast:0' \
                  mechanism='HT-SHA-256-NONE'/>";
    let jid: Jid = "paris@verona.example/cell".parse().unwrap();
    let mut client = raw(site.c2s).await.enter(site.client_tls(), &jid, (None, password), wishes).await.unwrap();
    let success = client.next().await.unwrap();
    let token = success.elements().find(|it| it.name() == "token").unwrap().attribute("token").unwrap().to_owned();
    canaries.given("a token", &token);
    let fast = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf80001'/><fast xmlns='urn:xmpp:fast:0'/>";
    let mut client = raw(site.c2s).await.enter(site.client_tls(), &jid, (Some(&token), ""), fast).await.unwrap();
    assert_eq!(client.next().await.unwrap().name(), "success");
}

/// What the server itself has to keep secret.
fn keys(site: &Site, canaries: &mut Canaries) {
    let pem = fs::read_to_string(site.directory.join("key.pem")).unwrap();
    let line = pem.lines().filter(|line| !line.starts_with('-')).max_by_key(|line| line.len()).unwrap();
    canaries.given("the key of the certificate", line);
    let key = fs::read(site.directory.join("data/token.key")).unwrap();
    let hexadecimal: String = key.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    canaries.given("the key for tokens", &hexadecimal);
    canaries.given("the key for tokens, in Base64", &STANDARD.encode(key.get(..24).unwrap()));
}

/// A component that does not know the secret and one that does.
async fn component(to: SocketAddr, secret: &str, canaries: &mut Canaries) -> Client {
    let wrong = canaries.make("a secret that a component has mistyped");
    let stranger = Raw::of_component(tokio::net::TcpStream::connect(to).await.unwrap());
    assert!(stranger.shake_hands("ghost.verona.example", &wrong).await.is_err());
    let ghost = Raw::of_component(tokio::net::TcpStream::connect(to).await.unwrap());
    ghost.shake_hands("ghost.verona.example", secret).await.unwrap()
}

/// What two people say to each other, and to nobody.
async fn talk(romeo: &mut Person, juliet: &mut Person, canaries: &mut Canaries) {
    let carbons = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>";
    let status = canaries.make("a status");
    juliet.say(&format!("{carbons}<presence><status>{status}</status></presence>")).await;
    let body = canaries.make("a message");
    romeo.say(&chat("juliet@verona.example", &body)).await;
    juliet.hear(&body).await;
    for (what, stanza) in [
        ("a message to nobody", "<message type='chat' to='nobody@verona.example'><body>IT</body></message>"),
        (
            "a message to a server that is not there",
            "<message type='chat' to='x@mantua.invalid'><body>IT</body></message>",
        ),
        ("a message to an address that is none", "<message type='chat' to='@'><body>IT</body></message>"),
        ("a message for later", "<message type='chat' to='paris@verona.example'><body>IT</body></message>"),
        ("a message to a component", "<message type='chat' to='x@ghost.verona.example'><body>IT</body></message>"),
        ("a headline", "<message type='headline' to='juliet@verona.example'><subject>IT</subject></message>"),
        ("a request that breaks a rule", "<iq type='what' id='1'><x xmlns='y'>IT</x></iq>"),
        ("a request that nobody knows", "<iq type='get' id='1'><x xmlns='y'>IT</x></iq>"),
        (
            "what is kept for oneself",
            "<iq type='set' id='1'><query xmlns='jabber:iq:private'><x xmlns='y'>IT</x></query></iq>",
        ),
        (
            "the name of a contact",
            "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b.example' name='IT'><group>IT</group></item>\
             </query></iq>",
        ),
        (
            "a request for a subscription",
            "<presence type='subscribe' to='paris@verona.example'><status>IT</status></presence>",
        ),
        ("last words", "<presence to='x@ghost.verona.example' type='unavailable'><status>IT</status></presence>"),
        (
            "what somebody types to a service",
            "<iq type='set' id='1' to='verona.example'><command \
             xmlns='http://jabber.org/protocol/commands' node='IT'><x xmlns='jabber:x:data' type='submit'><field var='a'><value>IT\
             </value></field></x></command></iq>",
        ),
        (
            "a report",
            "<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'><item jid='x@mantua.invalid'><report \
             xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'><text>IT</text></report></item></block></iq>",
        ),
        (
            "the secret of a push service",
            "<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='ghost.verona.example' node='n'><x xmlns='jabber:x:data' \
             type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field \
             var='secret'><value>IT</value></field></x></enable></iq>",
        ),
        (
            "a question about the archive",
            "<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' \
             type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='IT'><value>IT</value></field></x>\
             </query></iq>",
        ),
    ] {
        romeo.say(&stanza.replace("IT", &canaries.make(what))).await;
    }
}

/// What is said and kept in a room.
async fn meet(romeo: &mut Person, juliet: &mut Person, canaries: &mut Canaries) {
    let muc = "http://jabber.org/protocol/muc";
    let password = canaries.make("the password of a room");
    let enter = |nick: &str, password: &str| {
        format!("<presence to='{ROOM}/{nick}'><x xmlns='{muc}'><password>{password}</password></x></presence>")
    };
    let configure = format!(
        "<query xmlns='{muc}#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{muc}#roomconfig</value>\
         </field><field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field><field \
         var='muc#roomconfig_roomsecret'><value>{password}</value></field><field var='muc#roomconfig_persistentroom'><value>1\
         </value></field></x></query>"
    );
    romeo.say(&format!("{}{}", enter("Romeo", ""), iq(ROOM, &configure))).await;
    juliet.say(&enter("Juliet", &canaries.make("what juliet takes for the password"))).await;
    juliet.say(&enter("Juliet", &password)).await;
    juliet.hear("code='110'").await;
    for (what, words) in [("a message in a room", "body"), ("the subject of a room", "subject")] {
        let it = canaries.make(what);
        romeo.say(&format!("<message type='groupchat' to='{ROOM}'><{words}>{it}</{words}></message>")).await;
        juliet.hear(&it).await;
    }
    let whispered = canaries.make("a message to one in a room");
    romeo.say(&chat(&format!("{ROOM}/Juliet"), &whispered)).await;
    juliet.hear(&whispered).await;
    let reason = canaries.make("the reason for an invitation");
    let invite = format!("<invite to='paris@verona.example'><reason>{reason}</reason></invite>");
    romeo.say(&format!("<message to='{ROOM}'><x xmlns='{muc}#user'>{invite}</x></message>")).await;
    let reason = canaries.make("why somebody is put out");
    let kick =
        format!("<query xmlns='{muc}#admin'><item nick='Juliet' role='none'><reason>{reason}</reason></item></query>");
    romeo.say(&iq(ROOM, &kick)).await;
    juliet.hear(&reason).await;
}

/// What a stranger asks about all of that.
async fn pry(mallory: &mut Person) {
    for payload in [
        "<query xmlns='jabber:iq:private'><x xmlns='y'/></query>",
        "<query xmlns='jabber:iq:roster'/>",
        "<query xmlns='jabber:iq:last'/>",
        "<query xmlns='jabber:iq:version'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "<blocklist xmlns='urn:xmpp:blocking'/>",
        "<query xmlns='http://jabber.org/protocol/muc#owner'/>",
        "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='owner'/></query>",
        "<query xmlns='urn:xmpp:mam:2'/>",
    ] {
        for to in
            ["romeo@verona.example", "juliet@verona.example/balcony", ROOM, "rooms.verona.example", "verona.example"]
        {
            for kind in ["get", "set"] {
                mallory.say(&format!("<iq type='{kind}' id='p' to='{to}'>{payload}</iq>")).await;
            }
        }
    }
    let enter = "<x xmlns='http://jabber.org/protocol/muc'><password>x</password></x>";
    mallory.say(&format!("<presence to='{ROOM}/Mallory'>{enter}</presence>")).await;
    mallory.say("<presence type='probe' to='romeo@verona.example'/><presence/>").await;
    mallory.say(&chat("romeo@verona.example/palace", "who are you?")).await;
}

#[tokio::test]
async fn nothing_that_people_say_or_know_is_told_to_the_operator() {
    let (mut site, mut canaries) = (Site::new("canaries"), Canaries::default());
    let secret = canaries.make("the secret of a component");
    let door = furnish(&site, &secret);
    assert!(site.start_with(&[("COMITY_LOG", "trace")]), "{}", fs::read_to_string(site.directory.join("log")).unwrap());
    keys(&site, &mut canaries);
    let (mut romeo, mut juliet, mut mallory) = passwords(&site, &mut canaries).await;
    let paris = canaries.0.iter().find(|(what, _)| what == "the other of paris").unwrap().1.clone();
    token(&site, &paris, &mut canaries).await;
    let ghost = component(door, &secret, &mut canaries).await;
    talk(&mut romeo, &mut juliet, &mut canaries).await;
    meet(&mut romeo, &mut juliet, &mut canaries).await;
    pry(&mut mallory).await;
    // What ends a stream, and what tries to write a line of its own.
    let mut tybalt = Person::log_in(&site, "paris@verona.example/yard", &paris).await.unwrap();
    let last = canaries.make("what is no XML");
    tybalt.client.send(&format!("<message to='romeo@verona.example'><body>{last} & {last}</body></message>")).await;
    let mut liar = raw(site.c2s).await;
    liar.open("verona.example").await.unwrap();
    let line =
        "X&#10;2030-01-01T00:00:00.000000Z  WARN comity::authentication: authentication failure address=192.0.2.1";
    liar.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{line}'>=</auth>")).await;
    liar.element().await.unwrap();
    romeo.say("").await;

    let mut shown = String::new();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--memory"],
        &["status", "--memory", "--json"],
        &["config", "explain"],
        &["peers"],
        &["peers", "--json"],
        &["account", "list"],
    ] {
        let output = site.run(arguments, "");
        shown.push_str(&String::from_utf8_lossy(&output.stdout));
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(shown.contains("ghost.verona.example") && shown.contains("romeo@verona.example"), "{shown}");
    canaries.absent_from("what the operator is shown", &shown);
    canaries.absent_from("what a stranger hears", &mallory.heard);
    for (who, person) in [("romeo", &romeo), ("juliet", &juliet), ("mallory", &mallory)] {
        assert!(!person.heard.contains("127.0."), "{who} hears an address: {}", person.heard);
    }
    assert!(canaries.0.len() >= 40, "{} canaries", canaries.0.len());

    drop((romeo, juliet, mallory, ghost));
    assert!(site.stop().success());
    // Once more with all of it on disk.
    site.start();
    assert!(site.log_in("paris@verona.example/hall", &paris).await.is_ok());
    assert!(site.stop().success());
    let log = fs::read_to_string(site.directory.join("log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("authentication failure"), "everything was logged");
    canaries.absent_from("the log", &log);
    let begins = |line: &str| line.starts_with("20") && line.get(10..11) == Some("T");
    let odd: Vec<&str> = log.lines().filter(|line| !begins(line) || line.contains("address=192.0.2.1")).collect();
    assert!(odd.is_empty(), "lines that the server has not begun: {odd:?}");
}
