//! A client of somebody, with its habits, and what it knows of its session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use comity::jid::Jid;
use comity::testing::{Chance, Client, PASSWORD, Raw};
use comity::xml::Element;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::network::{Net, Party, Port};

pub(crate) const SM: &str = "urn:xmpp:sm:3";

/// How long a client waits for its login.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a client does and others do not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Counts stanzas (XEP-0198).
    pub(crate) counts: bool,
    /// Comes back to its session.
    pub(crate) resumes: bool,
    /// Sends again in a new session what was not acknowledged in the one before.
    pub(crate) insists: bool,
    /// How often, of a hundred requests, it confirms at once.
    pub(crate) confirms: u64,
}

impl Habits {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let counts = chance.percent(75);
        Self {
            counts,
            resumes: counts && chance.percent(80),
            insists: chance.percent(50),
            confirms: [100, 100, 60, 10][chance.place(4)],
        }
    }
}

/// What was sent in a session that counts.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) text: String,
    /// The number of the message, if it is one.
    pub(crate) message: Option<usize>,
}

/// The session that the client has, or comes back to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Talk {
    pub(crate) number: u64,
    /// The client has asked for counting.
    pub(crate) counting: bool,
    /// It may come back.
    pub(crate) resumable: bool,
    pub(crate) sent: Vec<Sent>,
    /// How many of them the server has in safe hands.
    pub(crate) acknowledged: usize,
    /// The client has asked for its session and has no answer yet.
    pub(crate) asking: bool,
    /// The client has closed the stream.
    pub(crate) closing: bool,
    /// The server has closed the stream.
    pub(crate) closed: bool,
    /// What the client has said last of itself.
    pub(crate) available: bool,
    /// Since when it waits for the server, if it does.
    pub(crate) since: u64,
}

/// How a login has ended.
pub(crate) struct Came {
    /// The client of the session that was asked for.
    pub(crate) previous: Option<Client>,
    /// The new one, and its connection.
    pub(crate) outcome: Result<(Client, u64), String>,
}

pub(crate) enum State {
    Away,
    Coming(JoinHandle<Came>),
    Here(Client),
}

pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) account: usize,
    pub(crate) server: usize,
    pub(crate) jid: Jid,
    pub(crate) habits: Habits,
    pub(crate) state: State,
    /// What is needed to come back.
    pub(crate) previous: Option<Client>,
    pub(crate) talk: Talk,
    pub(crate) line: u64,
    /// Since when.
    pub(crate) connected: u64,
    /// Whom the client has seen become available.
    pub(crate) view: BTreeSet<String>,
    /// Numbers of messages, with their texts, that are to be sent again in the next session.
    pub(crate) again: Vec<Sent>,
    /// Contacts by their address: who receives whose presence.
    pub(crate) roster: Option<BTreeMap<String, (bool, bool)>>,
    /// What a question to the archive has found: ids, and numbers of messages.
    pub(crate) found: Vec<(String, Option<usize>)>,
    /// The last page is there: whether it is the end.
    pub(crate) page: Option<bool>,
}

impl Device {
    pub(crate) fn new(number: usize, account: usize, server: usize, jid: Jid, habits: Habits) -> Self {
        Self {
            number,
            account,
            server,
            jid,
            habits,
            state: State::Away,
            previous: None,
            talk: Talk::default(),
            line: 0,
            connected: 0,
            view: BTreeSet::new(),
            again: Vec::new(),
            roster: None,
            found: Vec::new(),
            page: None,
        }
    }

    /// Whether it can send now.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Here(_)) && !self.talk.asking && !self.talk.closing && !self.talk.closed
    }

    pub(crate) const fn is_away(&self) -> bool {
        matches!(self.state, State::Away)
    }

    /// Whether it has waited for too long for an answer, or for the end of a connection.
    pub(crate) const fn is_tired(&self, now: u64) -> bool {
        let waits = self.talk.asking || self.talk.closing || self.talk.closed;
        matches!(self.state, State::Here(_)) && waits && now.saturating_sub(self.talk.since) > 30_000
    }

    /// Begins to log in, or to ask for the session that was lost.
    pub(crate) fn come(&mut self, net: &Arc<Net>, tls: &Arc<rustls::ClientConfig>) {
        let (net, tls, jid) = (Arc::clone(net), Arc::clone(tls), self.jid.clone());
        let (party, server, previous) = (Party::Client(self.number), self.server, self.previous.take());
        self.state = State::Coming(tokio::spawn(async move {
            let connecting = async {
                let pipe = net.dial(party, server, Port::Clients).await.map_err(|error| error.to_string())?;
                let (line, mut raw) = (pipe.line(), Raw::new(pipe));
                let client = match &previous {
                    Some(previous) => {
                        raw.authenticate(tls, &jid, PASSWORD).await?;
                        previous.resume(raw, None).await
                    }
                    None => raw.log_in(tls, &jid, PASSWORD).await?,
                };
                Ok((client, line))
            };
            let outcome = timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            Came { previous, outcome }
        }));
    }

    /// The login, if it has ended since.
    pub(crate) async fn came(&mut self) -> Option<Came> {
        let State::Coming(task) = &mut self.state else { return None };
        if !task.is_finished() {
            return None;
        }
        let came = task.await;
        self.state = State::Away;
        came.ok()
    }

    /// Gives up whatever it was about to do.
    pub(crate) fn give_up(&mut self) {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Coming(task) => task.abort(),
            State::Here(mut client) => client.vanish(),
            State::Away => {}
        }
        self.previous = None;
    }

    /// Sends a stanza.
    pub(crate) async fn say(&mut self, text: String, message: Option<usize>) {
        let State::Here(client) = &mut self.state else { return };
        client.send(&text).await;
        if self.talk.counting {
            self.talk.sent.push(Sent { text, message });
        }
    }

    /// Sends what is no stanza.
    pub(crate) async fn mention(&mut self, text: &str) {
        if let State::Here(client) = &mut self.state {
            client.send(text).await;
        }
    }

    /// Says how many stanzas have come.
    pub(crate) async fn confirm(&mut self) {
        if let State::Here(client) = &mut self.state {
            let handled = client.handled();
            client.send(&format!("<a xmlns='{SM}' h='{handled}'/>")).await;
        }
    }

    /// Everything that has come.
    pub(crate) fn heard(&mut self) -> Vec<Element> {
        let State::Here(client) = &mut self.state else { return Vec::new() };
        std::iter::from_fn(|| client.received()).collect()
    }

    /// Takes in that `count` of what was sent is in safe hands; gives the numbers of those messages, and whether the
    /// count makes sense.
    pub(crate) fn acknowledged(&mut self, count: usize) -> (Vec<usize>, bool) {
        let sensible = count >= self.talk.acknowledged && count <= self.talk.sent.len();
        let more = self.talk.sent.get(self.talk.acknowledged..count).unwrap_or_default();
        let numbers = more.iter().filter_map(|sent| sent.message).collect();
        self.talk.acknowledged = count.max(self.talk.acknowledged);
        (numbers, sensible)
    }

    /// The session is over: what was not acknowledged may be sent again.
    pub(crate) fn forget(&mut self) {
        let talk = std::mem::take(&mut self.talk);
        let open = talk.sent.into_iter().skip(talk.acknowledged).filter(|sent| sent.message.is_some());
        if self.habits.insists {
            self.again.extend(open);
        }
        self.view.clear();
        self.previous = None;
    }
}
