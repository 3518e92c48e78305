//! What clients make of what they hear.

use comity::stanza::CLIENT_NS;
use comity::xml::Element;

use crate::device::State;
use crate::ledger::Reception;
use crate::story::Story;
use crate::trace::words;

const MAM: &str = "urn:xmpp:mam:2";
const FORWARD: &str = "urn:xmpp:forward:0";
const ROSTER: &str = "jabber:iq:roster";

impl Story {
    /// A client looks at what has come to it.
    pub(crate) async fn look(&mut self, number: usize) {
        if let Some(came) = self.devices[number].came().await {
            match came.outcome {
                Ok((client, line)) => {
                    self.trace.note(format_args!("device {number} is connected, line {line}"));
                    let device = &mut self.devices[number];
                    (device.state, device.line) = (State::Here(client), line);
                    if came.previous.is_some() {
                        (device.talk.asking, device.talk.since) = (true, self.trace.now());
                    } else {
                        self.begin(number).await;
                    }
                }
                Err(problem) => {
                    self.trace.note(format_args!("device {number} is not connected: {problem}"));
                    self.devices[number].previous = came.previous;
                }
            }
        }
        loop {
            // What is answered may bring more.
            let elements = self.devices[number].heard();
            if elements.is_empty() {
                break;
            }
            for element in elements {
                self.trace.note(format_args!("device {number} hears {}", words(&element)));
                self.hear(number, &element).await;
            }
        }
        self.notice(number);
    }

    /// Notices that a connection is lost.
    fn notice(&mut self, number: usize) {
        let device = &mut self.devices[number];
        if !matches!(&device.state, State::Here(client) if client.is_over()) {
            return;
        }
        self.trace.note(format_args!("device {number} is disconnected"));
        let State::Here(mut client) = std::mem::replace(&mut device.state, State::Away) else { return };
        client.vanish();
        if device.talk.resumable && device.habits.resumes && !device.talk.closing {
            device.talk.asking = false;
            device.talk.closed = false;
            device.previous = Some(client);
        } else {
            let clean = device.talk.closing && device.talk.closed;
            self.end(number, clean);
        }
    }

    /// The session is over, as far as its client knows.
    pub(crate) fn end(&mut self, number: usize, clean: bool) {
        let device = &mut self.devices[number];
        if let Some(session) = self.ledger.sessions.get_mut(&device.talk.number) {
            session.ended = Some(self.trace.now());
            session.clean = clean;
        }
        device.forget();
    }

    async fn hear(&mut self, number: usize, element: &Element) {
        match element.name() {
            "message" => self.take(number, element),
            "presence" => self.see(number, element).await,
            "iq" => self.answer(number, element).await,
            "r" => {
                let confirms = self.chance.percent(self.devices[number].habits.confirms);
                if confirms {
                    self.devices[number].confirm().await;
                }
            }
            "a" => self.credit(number, element),
            "enabled" => {
                let device = &mut self.devices[number];
                device.talk.resumable = element.attribute("id").is_some();
                if let Some(session) = self.ledger.sessions.get_mut(&device.talk.number) {
                    session.counted = true;
                }
            }
            "resumed" => {
                self.credit(number, element);
                let device = &mut self.devices[number];
                device.talk.asking = false;
                let open = device.talk.sent.split_off(device.talk.acknowledged);
                for sent in open {
                    self.repeat(number, sent.text, sent.message).await;
                }
            }
            "failed" => {
                if element.attribute("h").is_some() {
                    self.credit(number, element);
                }
                let device = &mut self.devices[number];
                let asking = std::mem::take(&mut device.talk.asking);
                device.talk.resumable = false;
                if let State::Here(client) = &mut device.state
                    && asking
                {
                    client.vanish();
                }
            }
            "closed" => {
                let device = &mut self.devices[number];
                (device.talk.closed, device.talk.since) = (true, self.trace.now());
            }
            "odd" => {
                let text = element.text();
                self.ledger.problem(format!("device {number} cannot read what the server wrote: {text}"));
            }
            _ => {}
        }
    }

    /// The server says how much it has in safe hands.
    fn credit(&mut self, number: usize, element: &Element) {
        let count = element.attribute("h").and_then(|h| h.parse().ok()).unwrap_or(usize::MAX);
        let before = self.devices[number].talk.acknowledged;
        let (messages, sensible) = self.devices[number].acknowledged(count);
        if !sensible {
            let sent = self.devices[number].talk.sent.len();
            self.ledger.problem(format!("device {number} has sent {sent}, {before} were safe, now {count}"));
        }
        for message in messages {
            self.ledger.messages[message].acknowledged = true;
        }
    }

    fn take(&mut self, number: usize, element: &Element) {
        if let Some(result) = element.child("result", MAM) {
            let inner = result.child("forwarded", FORWARD).and_then(|it| it.child("message", CLIENT_NS));
            let message = inner.and_then(number_of);
            let id = result.attribute("id").unwrap_or_default().to_owned();
            self.devices[number].found.push((id, message));
            return;
        }
        let Some(message) = number_of(element) else { return };
        if element.attribute("type") == Some("error") {
            self.ledger.messages[message].bounced = true;
            return;
        }
        let known = &self.ledger.messages[message];
        let body = element.child("body", CLIENT_NS).map(Element::text).unwrap_or_default();
        let from = self.address(known.from);
        let misled = known.to != self.devices[number].account;
        if body != known.body || element.attribute("from") != Some(from.as_str()) {
            self.ledger.problem(format!("device {number} got m{message} damaged"));
        }
        if misled {
            self.ledger.problem(format!("device {number} got m{message}, which was for somebody else"));
        }
        self.receptions += 1;
        let id = element.elements().find(|child| child.name() == "stanza-id");
        let reception = Reception {
            device: number,
            session: self.devices[number].talk.number,
            at: self.trace.now(),
            turn: self.receptions,
            stanza_id: id.and_then(|id| id.attribute("id")).map(str::to_owned),
            delayed: element.elements().any(|child| child.name() == "delay"),
        };
        self.ledger.messages[message].got.push(reception);
    }

    async fn see(&mut self, number: usize, element: &Element) {
        let Some(from) = element.attribute("from").map(str::to_owned) else { return };
        let device = &mut self.devices[number];
        match element.attribute("type") {
            None => {
                device.view.insert(from);
            }
            Some("unavailable") if from.contains('/') => {
                device.view.remove(&from);
            }
            Some("unavailable") => device.view.retain(|seen| !seen.starts_with(&format!("{from}/"))),
            Some("subscribe") => {
                let kind = match self.chance.below(10) {
                    0..=6 => "subscribed",
                    7 => "unsubscribed",
                    _ => return,
                };
                if device.is_ready() {
                    self.trace.note(format_args!("device {number}: {kind} {from}"));
                    device.say(format!("<presence type='{kind}' to='{from}'/>"), None).await;
                }
            }
            Some(_) => {}
        }
    }

    async fn answer(&mut self, number: usize, element: &Element) {
        let device = &mut self.devices[number];
        let id = element.attribute("id").unwrap_or_default();
        match element.attribute("type") {
            Some("get" | "set") => {
                let to = element.attribute("from").map(|from| format!(" to='{from}'")).unwrap_or_default();
                if device.is_ready() {
                    device.say(format!("<iq type='result' id='{id}'{to}/>"), None).await;
                }
            }
            Some("result") if id == "s1" => {
                let query = element.child("query", ROSTER);
                let items = query.into_iter().flat_map(Element::elements);
                let rows = items.filter_map(|item| {
                    let kind = item.attribute("subscription").unwrap_or("none");
                    let (to, from) = (matches!(kind, "to" | "both"), matches!(kind, "from" | "both"));
                    Some((item.attribute("jid")?.to_owned(), (to, from)))
                });
                device.roster = Some(rows.collect());
            }
            Some("result") if id.starts_with('q') => {
                let fin = element.child("fin", MAM);
                device.page = Some(fin.is_some_and(|fin| fin.attribute("complete") == Some("true")));
            }
            _ => {}
        }
    }
}

/// The number in the id of a message of the story.
fn number_of(element: &Element) -> Option<usize> {
    element.attribute("id")?.strip_prefix('m')?.parse().ok()
}
