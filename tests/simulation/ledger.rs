//! Who sent what, what was said of it, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

/// In milliseconds, how long sessions may stay that nobody has: those that wait for their client (five minutes), and
/// those whose client does not answer (five minutes until it is asked, a minute or two until that shows).
pub(crate) const FORGOTTEN: u64 = 900_000;

/// How servers say that they have waited for too long.
const EXPIRED: &str = "not delivered within";

/// A numbered message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The device that sent it.
    pub(crate) from: usize,
    /// The account that it is for.
    pub(crate) to: usize,
    /// Both have the same server.
    pub(crate) local: bool,
    /// As it stands in `to`: a message to one resource may overtake those that wait for any.
    pub(crate) address: String,
    pub(crate) body: String,
    pub(crate) at: u64,
    /// How often its sender has sent it.
    pub(crate) copies: usize,
    pub(crate) acknowledged: bool,
    /// When an error came to a device of its sender.
    pub(crate) bounced: Option<u64>,
    /// When its server gave it up and made such an error. Nobody may have been there to hear it (RFC 6121 §8.5.3.2.1).
    pub(crate) returned: Option<u64>,
    /// That was because it had waited for long.
    pub(crate) expired: bool,
    pub(crate) got: Vec<Reception>,
}

impl Message {
    /// What is sent again to another domain is behind what was lost of the first time.
    const fn is_again(&self) -> bool {
        !self.local && self.copies > 1
    }
}

/// A message has come to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reception {
    pub(crate) device: usize,
    /// In which session.
    pub(crate) session: u64,
    pub(crate) at: u64,
    /// Since when the device had had the connection on which it came.
    pub(crate) connected: u64,
    /// How many had come to anybody before.
    pub(crate) turn: u64,
    pub(crate) stanza_id: Option<String>,
    /// It has waited somewhere.
    pub(crate) delayed: bool,
}

/// A server has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) at: u64,
    /// What it did from then on may be forgotten: its disk did not have all of it any more. `None` if it ended in order.
    pub(crate) since: Option<u64>,
    /// When nothing was left of it.
    pub(crate) over: u64,
}

impl End {
    /// Whether the server may have forgotten what it did at this time.
    fn forgets(&self, time: u64) -> bool {
        self.since.is_some_and(|since| (since..=self.at).contains(&time))
    }

    /// The same for what a client has got, which was under way for a while.
    fn forgets_giving(&self, it: &Reception) -> bool {
        self.since.is_some_and(|since| since <= it.at && it.connected <= self.at)
    }

    /// Whether a server was ending in order at this time.
    const fn is_stopping(&self, time: u64) -> bool {
        self.since.is_none() && self.at <= time && time <= self.over
    }

    /// Whether a server that has crashed seemed to do something at this time.
    const fn is_haunted(&self, time: u64) -> bool {
        self.since.is_some() && self.at <= time && time <= self.over
    }
}

/// A session of a client, over all its connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) account: usize,
    /// Stanzas were counted (XEP-0198).
    pub(crate) counted: bool,
    /// When its client has ended it in order and said what it had.
    pub(crate) closed: Option<u64>,
    /// The server has agreed.
    pub(crate) clean: bool,
    pub(crate) ended: Option<u64>,
}

/// When a message came, as a number of messages before it, and its own number.
type Turn = (u64, usize);

/// What an archive says of one message: its number and who has sent it.
pub(crate) type Archived = Vec<usize>;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Message>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    /// By server: when and how it has ended.
    pub(crate) ends: BTreeMap<usize, Vec<End>>,
    /// Of each account, whose server keeps one, at the end.
    pub(crate) archives: BTreeMap<usize, Archived>,
    /// Which server an account has.
    pub(crate) homes: Vec<usize>,
    /// How many devices it has.
    pub(crate) devices: Vec<usize>,
    pub(crate) problems: Vec<String>,
}

/// Figures for whoever wants to know what was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) sent: usize,
    pub(crate) acknowledged: usize,
    pub(crate) twice: usize,
    pub(crate) bounced: usize,
    /// Acknowledged, given up, and nobody was there to hear the error.
    pub(crate) unheard: usize,
    /// Written to a client that counts nothing and whose connection was lost, without an archive.
    pub(crate) uncounted: usize,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.twice += other.twice;
        self.bounced += other.bounced;
        self.unheard += other.unheard;
        self.uncounted += other.uncounted;
    }
}

impl Ledger {
    pub(crate) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Judges everything, when everybody has got what there was to get.
    pub(crate) fn judge(&mut self) -> Figures {
        let mut figures = Figures::default();
        let mut problems = Vec::new();
        for (number, message) in self.messages.iter().enumerate() {
            figures.sent += 1;
            figures.acknowledged += usize::from(message.acknowledged);
            figures.bounced += usize::from(message.bounced.is_some());
            self.judge_arrival(number, message, &mut figures, &mut problems);
            self.judge_copies(number, message, &mut figures, &mut problems);
        }
        self.judge_order(&mut problems);
        self.judge_archives(&mut problems);
        self.problems.append(&mut problems);
        figures
    }

    fn judge_arrival(&self, number: usize, message: &Message, figures: &mut Figures, problems: &mut Vec<String>) {
        let archive = self.archives.get(&message.to);
        let is_here = !message.got.is_empty() || archive.is_some_and(|archive| archive.contains(&number));
        let refused = message.returned.or(message.bounced);
        if let Some(refused) = refused.filter(|_| is_here && message.copies == 1) {
            let (from, to) = (self.ends_of(self.homes[self.owner(message.from)]), self.ends_of(self.homes[message.to]));
            // Whoever has forgotten that he refused it takes it once more, and who stops cannot wait for the other server's
            // word on what nobody was promised.
            let forgets = from.iter().chain(to).any(|end| end.forgets(refused));
            let stops = !message.acknowledged && from.iter().any(|end| end.is_stopping(refused));
            // After an hour, or what a wrong clock takes for one, nobody waits any longer for that word.
            if !forgets && !stops && !message.expired {
                problems.push(format!("m{number} was refused and has arrived: {message:?}"));
            }
        }
        if message.acknowledged && message.returned.is_some() && !message.expired && message.copies == 1 {
            problems.push(format!("m{number} was acknowledged and given up at once: {message:?}"));
        }
        if !message.acknowledged || is_here || message.bounced.is_some() {
            return;
        }
        if message.returned.is_some() {
            figures.unheard += 1;
        } else if archive.is_none() && self.is_unseen(message) {
            figures.uncounted += 1;
        } else {
            problems.push(format!("m{number} was acknowledged and is lost: {message:?}"));
        }
    }

    /// The server of a message's sender has given it up.
    pub(crate) fn returned(&mut self, number: usize, at: u64, why: &str) {
        let Some(message) = self.messages.get(number) else { return };
        let home = self.homes[self.owner(message.from)];
        if !self.ends_of(home).iter().any(|end| end.is_haunted(at)) {
            self.messages[number].returned.get_or_insert(at);
            self.messages[number].expired |= why.starts_with(EXPIRED);
        }
    }

    fn ends_of(&self, server: usize) -> &[End] {
        self.ends.get(&server).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether it may have been written to a client that counts nothing and was not there any more. Its server may hold on
    /// to such a session until it misses an answer.
    fn is_unseen(&self, message: &Message) -> bool {
        self.sessions.values().any(|session| {
            session.account == message.to
                && !session.counted
                && !session.clean
                && session.ended.is_none_or(|ended| ended + FORGOTTEN >= message.at)
        })
    }

    /// Decision 0010: what comes twice comes with the same id, and only where nobody could know better.
    fn judge_copies(&self, number: usize, message: &Message, figures: &mut Figures, problems: &mut Vec<String>) {
        let ids: BTreeSet<Option<&String>> = message.got.iter().map(|it| it.stanza_id.as_ref()).collect();
        let ends = self.ends_of(self.homes[message.to]);
        // What another server has sent, and a crash made forget before anybody was told, is sent again.
        let forgotten = |it: &Reception| !message.local && ends.iter().any(|end| end.forgets_giving(it));
        let forgotten = message.got.iter().filter(|it| forgotten(it)).count();
        if ids.len() > message.copies + forgotten {
            problems.push(format!("m{number} has come with different ids: {message:?}"));
        }
        let mut by_device: BTreeMap<usize, Vec<&Reception>> = BTreeMap::new();
        for reception in &message.got {
            by_device.entry(reception.device).or_default().push(reception);
        }
        for receptions in by_device.into_values() {
            figures.twice += receptions.len() - 1;
            // It went to all devices alike, and what one of them has not confirmed goes to the others again.
            let forked = self.sessions.iter().any(|(other, session)| {
                session.account == message.to
                    && receptions.iter().all(|it| it.session != *other)
                    && !(session.clean && session.closed.is_some_and(|at| at < message.at))
            });
            // In one session, and from one to the next.
            let mut unexplained: BTreeMap<Option<u64>, usize> = BTreeMap::new();
            for (first, second) in receptions.iter().zip(receptions.iter().skip(1)) {
                let ended = ends.iter().any(|end| (message.at..=second.at).contains(&end.at));
                let before = self.sessions.get(&first.session);
                let confirmed = before.is_some_and(|it| it.clean && it.closed.is_some_and(|at| first.at < at));
                let unsure = first.session != second.session && !confirmed;
                // What was sent again comes again in each session.
                let again = message.copies > 1 && first.stanza_id != second.stanza_id;
                if !ended && !unsure && !forked && !again {
                    *unexplained.entry(Some(first.session).filter(|it| *it == second.session)).or_default() += 1;
                }
            }
            // Whoever says something so often is heard so often.
            if unexplained.into_values().any(|times| times >= message.copies) {
                problems.push(format!("m{number} has come twice: {message:?}"));
            }
        }
    }

    /// From one device to one account: in the order in which it was sent.
    fn judge_order(&self, problems: &mut Vec<String>) {
        // What came to nobody before, by who sent it and who got it: its turn, and the number.
        let mut rows: BTreeMap<(usize, usize, &str), Vec<Turn>> = BTreeMap::new();
        for (number, message) in self.messages.iter().enumerate() {
            let Some(first) = message.got.first().filter(|_| !message.is_again()) else { continue };
            // With several devices, what one did not take comes late to the other. What was written to a client that counts
            // nothing comes late if the server has ended before it was sure of that.
            let alone = self.devices[message.to] == 1;
            // What was for a resource that was not there has waited for any, and what is for it goes straight to it when it
            // is back.
            let misses = message.address.contains('/') || self.is_unseen(message);
            if alone && !(first.delayed && misses) {
                rows.entry((message.from, first.device, &*message.address)).or_default().push((first.turn, number));
            }
        }
        for ((from, to, ..), mut row) in rows {
            row.sort_unstable();
            if let Some(pair) = row.windows(2).find(|pair| pair[0].1 > pair[1].1) {
                problems.push(format!("from device {from} to device {to}, out of order: {pair:?}"));
            }
        }
    }

    /// Both sides have the same, in the same order.
    fn judge_archives(&self, problems: &mut Vec<String>) {
        for (number, message) in self.messages.iter().enumerate() {
            let home = self.homes[message.to];
            let sender = self.archives.iter().find(|(account, _)| self.sender_is(message, **account)).map(|it| it.1);
            let (Some(sender), Some(recipient)) = (sender, self.archives.get(&message.to)) else { continue };
            let times = |archive: &Archived| archive.iter().filter(|it| **it == number).count();
            let (sent, received) = (times(sender), times(recipient));
            // One job of the writer has both sides; what is for another server leaves before it is written.
            let right = if message.local {
                message.bounced.is_some() || sent == received
            } else {
                !message.acknowledged || message.bounced.or(message.returned).is_some() || received > 0
            };
            let right = right && (!message.acknowledged || sent > 0) && sent.max(received) <= message.copies;
            if !right {
                problems.push(format!(
                    "m{number} is {sent} times in the sender's archive, {received} times in the other (server {home}): {message:?}"
                ));
            }
        }
        for (account, archive) in &self.archives {
            let mut last: BTreeMap<usize, usize> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for number in archive.iter().filter(|number| seen.insert(**number)) {
                let of_it = |message: &&Message| message.to == *account && !message.is_again();
                let Some(message) = self.messages.get(*number).filter(of_it) else { continue };
                if last.insert(message.from, *number).is_some_and(|before| before > *number) {
                    problems.push(format!("m{number} is out of order in the archive of account {account}"));
                }
            }
        }
    }

    fn sender_is(&self, message: &Message, account: usize) -> bool {
        self.owner(message.from) == account
    }

    /// Whose device it is.
    fn owner(&self, device: usize) -> usize {
        let mut left = device;
        for (account, devices) in self.devices.iter().enumerate() {
            if left < *devices {
                return account;
            }
            left -= devices;
        }
        self.devices.len()
    }
}
