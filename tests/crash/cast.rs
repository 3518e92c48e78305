//! Who takes part: those who send, and those who get it in all the ways there are.

use std::collections::BTreeMap;
use std::time::Duration;

use comity::jid::Jid;
use comity::testing::{Client, Raw};
use comity::xml::Element;

use crate::ledger::{Letter, Name};
use crate::site::Site;
use crate::watcher::{self, is_there, presence};

pub(crate) const DOMAIN: &str = "verona.example";
pub(crate) const PASSWORD: &str = "pass-word";
const SM: &str = "urn:xmpp:sm:3";

/// From here on messages are numbered that are sent when the server has been started again.
const LAST: usize = 1_000_000;

/// How long somebody listens at a time.
const MOMENT: Duration = Duration::from_millis(2);

/// A client of a recipient, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    /// Connected, confirms what it gets (XEP-0198).
    Confirms,
    /// Connected, gets everything and confirms nothing.
    Silent,
    /// Its connection is lost, its session waits.
    Away,
    /// Nobody has logged in.
    Offline,
    /// Loses its connection now and then, and comes back.
    Returns,
    /// The first of two devices, connected.
    Here,
    /// The second, whose connection is lost.
    There,
}

impl Reader {
    pub(crate) const ALL: [Self; 7] =
        [Self::Confirms, Self::Silent, Self::Away, Self::Offline, Self::Returns, Self::Here, Self::There];

    /// The name of its account.
    pub(crate) const fn account(self) -> &'static str {
        match self {
            Self::Confirms => "confirms",
            Self::Silent => "silent",
            Self::Away => "away",
            Self::Offline => "offline",
            Self::Returns => "returns",
            Self::Here | Self::There => "two",
        }
    }

    pub(crate) fn jid(self) -> Jid {
        let resource = if self == Self::There { "there" } else { "here" };
        format!("{}@{DOMAIN}/{resource}", self.account()).parse().unwrap()
    }

    const fn confirms(self) -> bool {
        matches!(self, Self::Confirms | Self::Here)
    }
}

/// Accounts of this server that get messages.
pub(crate) const ACCOUNTS: [&str; 6] = ["confirms", "silent", "away", "offline", "returns", "two"];

/// The connection has ended before it was time: what was wanted of it, and what came instead.
#[derive(Debug)]
pub(crate) struct Cut(pub(crate) String);

/// What has come is the end of the stream, or of the connection.
fn cut(wanted: &str, came: Option<&Element>) -> Cut {
    Cut(format!("{wanted}: {}", came.map_or("the connection has ended".to_owned(), |element| element.to_xml(""))))
}

/// What came of a wish to have a session back.
pub(crate) enum Back {
    /// The session, and how many stanzas of the client are in safe hands.
    Resumed(Client, usize),
    /// It is not there.
    Gone,
}

/// A connection on which somebody has authenticated.
async fn connect(site: &Site, jid: &Jid) -> Result<Raw, Cut> {
    let socket = tokio::net::TcpStream::connect(site.c2s).await.map_err(|error| Cut(error.to_string()))?;
    let mut raw = Raw::new(socket);
    raw.authenticate(site.client_tls(), jid, PASSWORD).await.map_err(Cut)?;
    Ok(raw)
}

async fn resume(site: &Site, jid: &Jid, before: &Client) -> Result<Back, Cut> {
    let mut client = before.resume(connect(site, jid).await?, None).await;
    let answer = client.next().await.ok_or_else(|| cut("resume", None))?;
    match answer.name() {
        "resumed" => Ok(Back::Resumed(client, answer.attribute("h").unwrap().parse().unwrap())),
        "failed" => Ok(Back::Gone),
        _ => Err(cut("resume", Some(&answer))),
    }
}

/// The next element that is as `wanted` says, with all that come before it.
pub(crate) async fn upto(client: &mut Client, wanted: impl Fn(&Element) -> bool) -> Result<Vec<Element>, Cut> {
    let mut all = Vec::new();
    loop {
        let element = client.next().await.ok_or_else(|| cut("answer", None))?;
        if is_end(&element) {
            return Err(cut("answer", Some(&element)));
        }
        let found = wanted(&element);
        all.push(element);
        if found {
            return Ok(all);
        }
    }
}

/// The stream has ended, in order.
fn is_end(element: &Element) -> bool {
    matches!(element.name(), "closed" | "error")
}

fn confirmation(client: &Client) -> String {
    format!("<a xmlns='{SM}' h='{}'/>", client.handled())
}

/// Has everything handled that was sent, and closes the stream; gives what has come meanwhile.
pub(crate) async fn leave(mut client: Client) -> Result<Vec<Element>, Cut> {
    client.send("<iq type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    let all = upto(&mut client, |it| it.attribute("id") == Some("last")).await?;
    client.close().await;
    while let Some(element) = client.next().await {
        if element.name() == "closed" {
            break;
        }
    }
    // The server need not wait for the other side.
    client.vanish();
    Ok(all)
}

/// A client of a recipient.
pub(crate) struct Desk {
    pub(crate) reader: Reader,
    client: Option<Client>,
    connected: bool,
    pub(crate) got: Vec<Letter>,
    cycle: u32,
    /// It knows again that somebody is there whose presence it sees.
    pub(crate) sees: bool,
    /// Its session was there when the server had been started again.
    pub(crate) found: bool,
    /// It has everything, and has left.
    pub(crate) done: bool,
}

impl Desk {
    pub(crate) async fn open(site: &Site, cycle: u32, reader: Reader) -> Self {
        let (client, connected, got) = (None, false, Vec::new());
        let mut desk = Self { reader, client, connected, got, cycle, sees: false, found: true, done: false };
        if reader == Reader::Offline {
            return desk;
        }
        let mut client = site.log_in(reader.jid().as_str(), PASSWORD).await.unwrap();
        client.send(&format!("<enable xmlns='{SM}' resume='true'/>{}", presence(cycle))).await;
        upto(&mut client, |element| element.name() == "presence").await.unwrap();
        desk.connected = true;
        if matches!(reader, Reader::Away | Reader::There) {
            client.vanish();
            desk.connected = false;
        }
        desk.client = Some(client);
        desk
    }

    /// Takes in what has come.
    pub(crate) async fn read(&mut self) {
        let (Some(client), true) = (&mut self.client, self.connected) else { return };
        while let Some(element) = client.received() {
            self.got.extend(Letter::read(&element));
            if self.reader.confirms() && element.is("r", SM) {
                client.send(&confirmation(client)).await;
            }
        }
    }

    /// Takes in what comes until the connection ends.
    pub(crate) async fn read_out(&mut self) {
        let (Some(client), true) = (&mut self.client, self.connected) else { return };
        while let Some(element) = client.next().await {
            self.got.extend(Letter::read(&element));
        }
        self.connected = false;
    }

    /// Loses its connection.
    pub(crate) async fn vanish(&mut self) {
        self.read().await;
        if let Some(client) = &mut self.client {
            client.vanish();
        }
        // What had come before counts as handled, so it is looked at.
        self.read_out().await;
    }

    /// Comes back while messages are on their way.
    pub(crate) async fn come_back(&mut self, site: &Site) -> Result<(), Cut> {
        let Some(before) = self.client.as_ref().filter(|_| !self.connected) else { return Ok(()) };
        match resume(site, &self.reader.jid(), before).await? {
            Back::Resumed(client, _) => (self.client, self.connected) = (Some(client), true),
            // The server is stopping. If not, it is missed later.
            Back::Gone => {}
        }
        Ok(())
    }

    /// Comes back after the server has ended, takes everything and leaves.
    pub(crate) async fn collect(&mut self, site: &Site) -> Result<(), Cut> {
        let jid = self.reader.jid();
        let mut resumed = false;
        let mut client = match self.client.take() {
            Some(before) => match resume(site, &jid, &before).await {
                Ok(Back::Resumed(client, _)) => {
                    resumed = true;
                    client
                }
                Ok(Back::Gone) => {
                    self.found = false;
                    appear(site, &jid).await?
                }
                Err(cut) => {
                    self.client = Some(before);
                    return Err(cut);
                }
            },
            None => appear(site, &jid).await?,
        };
        // The own presence comes behind everything that waited.
        loop {
            let came = client.next().await;
            let Some(element) = came.as_ref().filter(|element| !is_end(element)) else {
                // The next attempt starts from what this one has got.
                self.client = resumed.then_some(client);
                return Err(cut("what waited", came.as_ref()));
            };
            self.take(element);
            if element.name() == "presence" && element.attribute("from") == Some(jid.as_str()) {
                break;
            }
        }
        if resumed {
            client.send(&confirmation(&client)).await;
        }
        let more = leave(client).await?;
        more.iter().for_each(|element| self.take(element));
        self.done = true;
        Ok(())
    }

    fn take(&mut self, element: &Element) {
        self.got.extend(Letter::read(element));
        self.sees |= is_there(element, self.cycle).is_some_and(|from| from == watcher::jid());
    }
}

/// A new session that takes what waits.
async fn appear(site: &Site, jid: &Jid) -> Result<Client, Cut> {
    let mut client = site.log_in(jid.as_str(), PASSWORD).await.map_err(Cut)?;
    client.send("<presence/>").await;
    Ok(client)
}

/// What a sender has sent, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A message to this account, or this address elsewhere.
    Letter(String, Name),
    /// A request with this id.
    Request(String),
}

/// Somebody who sends.
pub(crate) struct Sender {
    pub(crate) number: usize,
    cycle: u32,
    client: Option<Client>,
    /// A device of his own that answers nothing.
    mute: Option<Client>,
    rounds: usize,
    pub(crate) sent: Vec<Sent>,
    /// How many of these are acknowledged, from the first.
    pub(crate) safe: usize,
    pub(crate) answers: BTreeMap<String, usize>,
    /// Messages that came back as an error.
    pub(crate) bounced: Vec<Name>,
    pub(crate) ended: bool,
    /// It has its session back; what it sends since is not in `sent`.
    is_back: bool,
    /// Its session was there when the server had been started again.
    pub(crate) found: bool,
    pub(crate) done: bool,
}

impl Sender {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    /// Stanzas that may be unacknowledged when the next ones are sent.
    const WINDOW: usize = 20;

    fn jid(&self) -> Jid {
        format!("sender{}@{DOMAIN}/s", self.number).parse().unwrap()
    }

    pub(crate) async fn open(site: &Site, cycle: u32, number: usize) -> Self {
        let mut sender = Self {
            number,
            cycle,
            client: None,
            mute: None,
            rounds: 0,
            sent: Vec::new(),
            safe: 0,
            answers: BTreeMap::new(),
            bounced: Vec::new(),
            ended: false,
            is_back: false,
            found: true,
            done: false,
        };
        let jid = sender.jid();
        sender.mute = Some(site.log_in(&format!("{}/mute", jid.bare_str()), PASSWORD).await.unwrap());
        let mut client = site.log_in(jid.as_str(), PASSWORD).await.unwrap();
        client.send(&format!("<enable xmlns='{SM}' resume='true'/>")).await;
        upto(&mut client, |element| element.name() == "enabled").await.unwrap();
        sender.client = Some(client);
        sender
    }

    /// Sends a message to each, now and then a request, asks how many have been handled, and waits until most are.
    pub(crate) async fn round(&mut self, abroad: &[&str]) {
        let Some(mut client) = self.client.take() else { return };
        let here = ACCOUNTS.iter().map(|account| format!("{account}@{DOMAIN}"));
        let mut text = String::new();
        for to in here.chain(abroad.iter().map(|address| (*address).to_owned())) {
            let name = Name { cycle: self.cycle, sender: self.number, number: self.sent.len() };
            text.push_str(&format!("<message to='{to}' type='chat' id='{name}'><body>{name}</body></message>"));
            self.sent.push(Sent::Letter(to, name));
        }
        let id = format!("q{}", self.sent.len());
        let request = match self.rounds % 3 {
            // It is answered at once.
            0 => Some(format!("<iq type='get' id='{id}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")),
            // It is not.
            1 => Some(format!(
                "<iq type='get' id='{id}' to='{}/mute'><query xmlns='jabber:iq:version'/></iq>",
                self.jid().bare_str()
            )),
            _ => None,
        };
        if let Some(request) = request {
            text.push_str(&request);
            self.sent.push(Sent::Request(id));
        }
        text.push_str(&format!("<r xmlns='{SM}'/>"));
        client.send(&text).await;
        self.rounds += 1;
        while !self.ended && self.sent.len() > self.safe + Self::WINDOW {
            match client.next().await {
                Some(element) => self.hear(&element, &mut client).await,
                None => self.ended = true,
            }
        }
        self.client = Some(client);
    }

    /// Takes in what comes until the connection ends.
    pub(crate) async fn read_out(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        while let Some(element) = client.next().await {
            self.hear(&element, &mut client).await;
        }
        self.client = Some(client);
        self.mute = None;
    }

    async fn hear(&mut self, element: &Element, client: &mut Client) {
        match element.name() {
            "a" => {
                let count = element.attribute("h").unwrap().parse().unwrap();
                assert!(count >= self.safe, "acknowledged {} stanzas, then {count}", self.safe);
                self.safe = count;
            }
            // One of them confirms what it gets.
            "r" if self.number == 0 => client.send(&confirmation(client)).await,
            _ if is_end(element) => self.ended = true,
            _ => self.note(element),
        }
    }

    fn note(&mut self, element: &Element) {
        let Some(id) = element.attribute("id") else { return };
        match (element.name(), element.attribute("type")) {
            ("iq", Some("result" | "error")) => *self.answers.entry(id.to_owned()).or_default() += 1,
            ("message", Some("error")) => self.bounced.extend(Name::read(id)),
            _ => {}
        }
    }

    /// Comes back after the server has ended.
    pub(crate) async fn come_back(&mut self, site: &Site) -> Result<(), Cut> {
        let Some(mut before) = self.client.take() else { return Ok(()) };
        if self.is_back {
            // The server has ended once more. What had come before counts as handled, so it is looked at.
            while let Some(element) = before.next().await {
                self.note(&element);
            }
        }
        let back = resume(site, &self.jid(), &before).await;
        self.client = Some(before);
        let mut client = match back? {
            Back::Resumed(client, count) => {
                if !std::mem::replace(&mut self.is_back, true) {
                    assert!(count >= self.safe, "acknowledged {} stanzas, then {count} are handled", self.safe);
                    self.safe = count;
                }
                client
            }
            Back::Gone => {
                self.found = false;
                site.log_in(self.jid().as_str(), PASSWORD).await.map_err(Cut)?
            }
        };
        self.ended = false;
        // What waited comes first.
        client.send("<iq type='get' id='back'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        loop {
            let came = client.next().await;
            let Some(element) = came.as_ref().filter(|element| !is_end(element)) else {
                self.client = Some(client);
                return Err(cut("what waited", came.as_ref()));
            };
            self.note(element);
            if element.attribute("id") == Some("back") {
                break;
            }
        }
        if self.found {
            client.send(&confirmation(&client)).await;
        }
        self.client = Some(client);
        Ok(())
    }

    /// Sends something to an address elsewhere, behind all that it has sent there before.
    pub(crate) async fn say(&mut self, to: &str) -> Name {
        let name = Name { cycle: self.cycle, sender: self.number, number: LAST + self.rounds };
        self.rounds += 1;
        if let Some(client) = &mut self.client {
            client.send(&format!("<message to='{to}' type='chat' id='{name}'><body>{name}</body></message>")).await;
        }
        name
    }

    /// Takes in everything that came before all that it has sent was on its way.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Cut> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        client.send("<iq type='get' id='so-far'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        let caught_up = loop {
            match client.next().await {
                Some(element) if element.attribute("id") == Some("so-far") => break Ok(()),
                Some(element) if !is_end(&element) => self.note(&element),
                came => break Err(cut("catching up", came.as_ref())),
            }
        };
        self.client = Some(client);
        caught_up
    }

    /// Takes in what has come, and waits a moment for more.
    pub(crate) async fn listen(&mut self) -> Result<(), Cut> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        let heard = loop {
            match tokio::time::timeout(MOMENT, client.next()).await {
                Err(_) => break Ok(()),
                Ok(Some(element)) if !is_end(&element) => self.note(&element),
                Ok(came) => break Err(cut("listening", came.as_ref())),
            }
        };
        self.client = Some(client);
        heard
    }

    pub(crate) async fn leave(&mut self) -> Result<(), Cut> {
        if let Some(client) = self.client.take() {
            for element in leave(client).await? {
                self.note(&element);
            }
        }
        self.done = true;
        Ok(())
    }

    /// The messages to `address` that were acknowledged.
    pub(crate) fn safe_letters(&self, address: &str) -> Vec<Name> {
        let safe = self.sent.iter().take(self.safe);
        let to_him = safe.filter_map(|sent| match sent {
            Sent::Letter(to, name) if to == address => Some(*name),
            _ => None,
        });
        to_him.collect()
    }

    /// The requests that were acknowledged.
    pub(crate) fn safe_requests(&self) -> impl Iterator<Item = &String> {
        self.sent.iter().take(self.safe).filter_map(|sent| match sent {
            Sent::Request(id) => Some(id),
            Sent::Letter(..) => None,
        })
    }
}
