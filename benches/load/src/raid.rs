//! Thirteen attacks at once, all in one process, each as fast as the server lets it: strangers who do not get on, who begin TLS
//! for nothing and who send hostile XML; people with an account who send, ask and join without end or do not read; servers that
//! cannot prove who they are, and one that can and reads no answers.

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::abroad::{Abroad, name};
use crate::attacker::Attacker;
use crate::client::{Begin, Kit, Session, Site, ask, connect, encrypt};
use crate::servers::Server;
use crate::tls::{self, Certificate, Tickets};

/// The first argument of the process that attacks.
pub const ROLE: &str = "raid";

/// What goes on, and with how many connections.
const ATTACKS: [(Attack, &str, usize); 13] = [
    (Attack::Loris, "slow strangers: a header, a byte in half a second", 300),
    (Attack::Handshakes, "TLS for nothing", 4),
    (Attack::Deep, "XML without end, from strangers", 4),
    (Attack::Attributes, "elements with as many attributes as there may be", 2),
    (Attack::Deaf, "questions whose answers nobody reads", 4),
    (Attack::Stanzas, "messages", 4),
    (Attack::Roster, "contacts", 2),
    (Attack::Presence, "presence to everybody", 2),
    (Attack::Rooms, "rooms of their own that are entered and left", 2),
    (Attack::Crowd, "a room with people in it, entered, left, and each time by another name", 16),
    (Attack::Archive, "pages of the archive", 2),
    (Attack::Dialback, "keys of dialback from servers that prove nothing", 4),
    (Attack::Foreign, "questions of another domain that reads no answers", 4),
];

/// Accounts that attack are `d0` and so on; this many there are.
pub const ACCOUNTS: usize = 34;

/// The room that a crowd enters, below the domain of rooms.
pub const ROOM: &str = "square";

/// Octets of XML, more than a stranger may say before he ends an element.
const MUCH: usize = 32 * 1024;

/// The number of the domain that is hostile.
const FOE: usize = 800;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Loris,
    Handshakes,
    Deep,
    Attributes,
    Deaf,
    Stanzas,
    Roster,
    Presence,
    Rooms,
    Crowd,
    Archive,
    Dialback,
    Foreign,
}

/// The domain that is hostile.
pub fn foe() -> String {
    name(FOE)
}

/// The attacking process, as the one that measures sees it.
pub struct Raid(Attacker);

impl Raid {
    /// The hostile domain listens at `hostile`.
    pub fn start(
        server: &Server,
        (certificate, hostile): (&Certificate, SocketAddr),
        time: Duration,
    ) -> io::Result<Self> {
        let (site, text) = (&server.site, OsString::from);
        let addresses = [site.start_tls, site.direct_tls, server.s2s].map(|address| text(address.to_string()));
        let files = [&certificate.chain, &certificate.key].map(|file| file.clone().into_os_string());
        let who = [text(ROLE.to_owned()), text(site.domain.clone())];
        let all = who
            .into_iter()
            .chain(addresses)
            .chain(files)
            .chain([hostile.to_string(), time.as_secs().to_string()].map(text));
        Attacker::start(all).map(Self)
    }

    /// Waits for its end; gives what was attacked with, and how often.
    pub async fn end(self) -> io::Result<Vec<(&'static str, u64)>> {
        let line = self.0.end().await?;
        let counts: Vec<u64> = line.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        if counts.len() != ATTACKS.len() {
            return Err(io::Error::other(format!("the attacking process said {line:?}")));
        }
        Ok(ATTACKS.iter().map(|(_, what, _)| *what).zip(counts).collect())
    }
}

/// The attacking process itself; prints how often each attack was made.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [domain, start_tls, direct_tls, s2s, chain, key, own, seconds] = arguments else {
        return Err(io::Error::other("raid DOMAIN STARTTLS DIRECT S2S CHAIN KEY ADDRESS SECONDS"));
    };
    let address = |text: &String| text.parse::<SocketAddr>().map_err(io::Error::other);
    let site =
        Site { domain: domain.clone(), start_tls: address(start_tls)?, direct_tls: address(direct_tls)?, from: None };
    let (s2s, own, seconds) = (address(s2s)?, address(own)?, seconds.parse().map_err(io::Error::other)?);
    let certificate = Certificate { chain: PathBuf::from(chain), key: PathBuf::from(key) };
    // Those who attack have machines of their own: here they get what server and honest clients leave.
    let _ = rustix::process::nice(19);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counts: Vec<Rc<Cell<u64>>> = ATTACKS.iter().map(|_| Rc::default()).collect();
    LocalSet::new().block_on(&runtime, async {
        let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
        let abroad = Abroad::new(&certificate)?;
        spawn_local(abroad.clone().listen_deaf(TcpListener::bind(own).await?));
        let mut account = 0;
        for (((attack, _, count), done), last) in ATTACKS.iter().zip(&counts).zip(1..) {
            for _ in 0..*count {
                let from = IpAddr::V4(Ipv4Addr::new(127, 50, 0, last));
                let user = format!("d{account}");
                account += usize::from(attack.has_account());
                let site = Site { from: Some(from), ..site.clone() };
                let raider =
                    Raider { site, s2s, user, kit: kit.clone(), abroad: abroad.clone(), done: Rc::clone(done) };
                spawn_local(raider.act(*attack));
            }
        }
        sleep(Duration::from_secs(seconds)).await;
        Ok::<_, io::Error>(())
    })?;
    let mut line = String::new();
    counts.iter().for_each(|count| _ = write!(line, "{} ", count.get()));
    println!("{line}");
    Ok(())
}

/// One connection's worth of attack.
struct Raider {
    site: Site,
    s2s: SocketAddr,
    user: String,
    kit: Kit,
    abroad: Abroad,
    done: Rc<Cell<u64>>,
}

impl Attack {
    fn has_account(self) -> bool {
        !matches!(self, Self::Loris | Self::Handshakes | Self::Deep | Self::Dialback | Self::Foreign)
    }
}

impl Raider {
    /// Does it for ever; whoever is cut off comes back.
    async fn act(self, attack: Attack) {
        let mut turn = 0_u64;
        loop {
            let cut = match attack {
                Attack::Foreign => self.as_domain(&mut turn).await,
                Attack::Dialback => self.vouch(&mut turn).await,
                _ if attack.has_account() => self.with_account(attack, &mut turn).await,
                _ => self.as_stranger(attack, &mut turn).await,
            };
            if cut.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn count(&self, more: u64) {
        self.done.set(self.done.get() + more);
    }

    fn header(&self) -> String {
        format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.site.domain
        )
    }

    async fn as_stranger(&self, attack: Attack, turn: &mut u64) -> io::Result<()> {
        let mut socket = connect(self.site.from, self.site.start_tls).await?;
        if attack == Attack::Loris {
            self.count(1);
            for byte in self.header().as_bytes() {
                socket.write_all(&[*byte]).await?;
                sleep(Duration::from_millis(500)).await;
            }
            return Ok(());
        }
        let mut rest = Vec::new();
        ask(&mut socket, &mut rest, &self.header(), "</stream:features>").await?;
        if attack == Attack::Handshakes {
            ask(&mut socket, &mut rest, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed").await?;
            encrypt(socket, &self.site.domain, &self.kit).await?;
            self.count(1);
            return Ok(());
        }
        // One is too deep, the other too long. What comes of it is an error, and who attacks does not stay for the two seconds
        // that the server gives him to read it.
        *turn += 1;
        let hostile = if turn.is_multiple_of(2) {
            format!("<a xmlns='x'>{}", "<a>".repeat(600))
        } else {
            format!("<a b='{}", "x".repeat(MUCH))
        };
        let _ = ask(&mut socket, &mut rest, &hostile, "</stream:stream>").await;
        self.count(1);
        Ok(())
    }

    /// Another domain, which has proven itself, asks and asks, and reads nothing.
    async fn as_domain(&self, turn: &mut u64) -> io::Result<()> {
        let (ours, theirs) = (foe(), &self.site.domain);
        let from = self.site.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut stream = self.abroad.open(self.s2s, from, &ours, theirs).await?;
        loop {
            let mut questions = String::new();
            for _ in 0..10 {
                *turn += 1;
                let _ = write!(
                    questions,
                    "<iq type='get' id='{turn}' from='x@{ours}/r' to='{theirs}'>\
                     <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                );
            }
            stream.send(&questions).await?;
            self.count(10);
        }
    }

    /// Another server says that it is this and that domain, and nobody can vouch for it.
    async fn vouch(&self, turn: &mut u64) -> io::Result<()> {
        let (ours, theirs) = (name(self.s2s.port().into()), &self.site.domain);
        let from = self.site.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut stream = self.abroad.open_unproven(self.s2s, from, &ours, theirs).await?;
        loop {
            for _ in 0..10 {
                *turn += 1;
                let key =
                    format!("<db:result from='x{turn}.mantua.bench' to='{theirs}'>{}</db:result>", "0f".repeat(32));
                stream.send(&key).await?;
                self.count(1);
            }
            // As fast as there are answers.
            stream.hear().await?;
        }
    }

    async fn with_account(&self, attack: Attack, turn: &mut u64) -> io::Result<()> {
        let mut session = Session::login(&self.site, Begin::Direct, &self.user, &self.kit).await?;
        session.appear().await?;
        loop {
            if attack == Attack::Archive {
                let page = "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set>";
                session.query(&format!("<query xmlns='urn:xmpp:mam:2'>{page}</query>")).await?;
                self.count(1);
                continue;
            }
            let mut stanzas = String::new();
            for _ in 0..10 {
                *turn += 1;
                self.write(attack, *turn, &mut stanzas);
            }
            session.send(stanzas.as_bytes()).await?;
            self.count(10);
            if attack != Attack::Deaf {
                session.synchronise().await?;
            }
        }
    }

    fn write(&self, attack: Attack, turn: u64, out: &mut String) {
        let (domain, user) = (&self.site.domain, &self.user);
        let text = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun.";
        let _ = match attack {
            Attack::Deaf => write!(out, "<iq type='get' id='{turn}'><query xmlns='jabber:iq:roster'/></iq>"),
            Attack::Attributes => {
                let attributes = (0..60).fold(String::new(), |all, number| format!("{all} a{number}='{turn}'"));
                let deep = "<a>".repeat(60) + &"</a>".repeat(60);
                write!(out, "<message to='{user}@{domain}'><x xmlns='urn:x'{attributes}>{deep}</x></message>")
            }
            Attack::Roster => write!(
                out,
                "<iq type='set' id='{turn}'><query xmlns='jabber:iq:roster'><item jid='x{turn}@mantua.bench' name='{text}'>\
                 <group>{turn}</group></item></query></iq>"
            ),
            Attack::Presence => {
                let whom = turn % 100;
                write!(out, "<presence to='c{whom}@{domain}'><status>{turn}: {text}</status></presence>")
            }
            Attack::Crowd => {
                // Comes, calls himself something else, and goes.
                let (nick, leave) = match turn % 3 {
                    2 => (turn - 1, " type='unavailable'"),
                    _ => (turn, ""),
                };
                write!(
                    out,
                    "<presence to='{ROOM}@rooms.{domain}/{user}-{nick}'{leave}>\
                     <x xmlns='http://jabber.org/protocol/muc'/></presence>"
                )
            }
            Attack::Rooms => {
                let (room, leave) = (turn / 2, if turn % 2 == 1 { " type='unavailable'" } else { "" });
                write!(
                    out,
                    "<presence to='{user}x{room}@rooms.{domain}/n'{leave}><x xmlns='http://jabber.org/protocol/muc'/></presence>"
                )
            }
            _ => write!(out, "<message type='chat' to='{user}@{domain}'><body>{turn}: {text}</body></message>"),
        };
    }
}
