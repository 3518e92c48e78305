//! Who sent what, what was said of it, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

/// Whether what was acknowledged for another domain has to arrive there. As long as the queues between servers are in
/// memory only, a crash loses what waits in them.
pub(crate) const REMOTE_IS_DURABLE: bool = false;

/// In milliseconds, how long sessions may stay that nobody has: those that wait for their client (five minutes), and
/// those whose client does not answer (five minutes until it is asked, a minute or two until that shows).
pub(crate) const FORGOTTEN: u64 = 900_000;

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
    pub(crate) bounced: bool,
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
    /// How many had come to anybody before.
    pub(crate) turn: u64,
    pub(crate) stanza_id: Option<String>,
    /// It has waited somewhere.
    pub(crate) delayed: bool,
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
    /// By server: when it has ended, in whatever way.
    pub(crate) ends: BTreeMap<usize, Vec<u64>>,
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
    /// Acknowledged to the sender, for another domain, and gone.
    pub(crate) remote_lost: usize,
    /// Written to a client that counts nothing and whose connection was lost, without an archive.
    pub(crate) uncounted: usize,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.twice += other.twice;
        self.bounced += other.bounced;
        self.remote_lost += other.remote_lost;
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
            figures.bounced += usize::from(message.bounced);
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
        let is_safe =
            !message.got.is_empty() || message.bounced || archive.is_some_and(|archive| archive.contains(&number));
        if message.bounced && !message.got.is_empty() && message.copies == 1 && (message.local || REMOTE_IS_DURABLE) {
            problems.push(format!("m{number} was refused and has arrived: {message:?}"));
        }
        if !message.acknowledged || is_safe {
            return;
        }
        if !message.local && !REMOTE_IS_DURABLE {
            figures.remote_lost += 1;
        } else if archive.is_none() && self.is_unseen(message) {
            figures.uncounted += 1;
        } else {
            problems.push(format!("m{number} was acknowledged and is lost: {message:?}"));
        }
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
        if message.copies == 1 && ids.len() > 1 {
            problems.push(format!("m{number} has come with different ids: {message:?}"));
        }
        let home = self.homes[message.to];
        let ends = self.ends.get(&home).map(Vec::as_slice).unwrap_or_default();
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
            let mut unexplained = 0;
            for (first, second) in receptions.iter().zip(receptions.iter().skip(1)) {
                let ended = ends.iter().any(|end| (message.at..=second.at).contains(end));
                let before = self.sessions.get(&first.session);
                let confirmed = before.is_some_and(|it| it.clean && it.closed.is_some_and(|at| first.at < at));
                let unsure = first.session != second.session && !confirmed;
                // What was sent again comes again in each session.
                let again = message.copies > 1 && first.stanza_id != second.stanza_id;
                unexplained += usize::from(!ended && !unsure && !forked && !again);
            }
            if unexplained >= message.copies {
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
            if alone && !(first.delayed && self.is_unseen(message)) {
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
            let right = if message.local {
                // One job of the writer has both.
                (message.bounced || sent == received) && sent <= message.copies && (!message.acknowledged || sent > 0)
            } else if REMOTE_IS_DURABLE {
                sent >= usize::from(received > 0) && (!message.acknowledged || message.bounced || received > 0)
            } else {
                true
            };
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
