//! What becomes of acknowledged messages when a server is killed, or stopped, in the middle of everything: the same for
//! every server, seen only from outside.
//!
//! Somebody sends messages and asks for acknowledgement (XEP-0198). As soon as all are acknowledged, the server gets its
//! signal. It is started again with the same data; the recipient logs in, and whatever has reached him, before or after,
//! or is in his archive, is not lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::client::{Begin, Kit, Session};
use crate::options::Options;
use crate::population::Population;
use crate::report::{insert, machine, peers};
use crate::servers::{Ending, Make, Server};
use crate::tls::{self, Authority, Tickets};

/// Messages of one case, all of which are acknowledged before the signal.
const MESSAGES: usize = 200;

/// What the recipient is doing when the messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recipient {
    /// He has no session.
    Offline,
    /// His connection is lost; his session waits for him (XEP-0198).
    Hibernating,
    /// He is connected and gets everything, but has confirmed nothing.
    Connected,
}

const RECIPIENTS: [Recipient; 3] = [Recipient::Offline, Recipient::Hibernating, Recipient::Connected];

/// What was seen of one case.
struct Seen {
    make: Make,
    archive: bool,
    recipient: Recipient,
    ending: Ending,
    /// Of all runs.
    acknowledged: usize,
    delivered: usize,
    /// Neither delivered nor archived.
    lost: usize,
}

/// Runs every case `options.rounds` times.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let authority = Authority::new(directory)?;
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let dns = crate::servers::free_ports(1)?[0];
    let cases = RECIPIENTS.len() * Ending::ALL.len() * options.rounds;
    let population = Population { chatting: 2 * cases, others: 0, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let mut seen = Vec::new();
    for make in options.servers.iter().copied().filter(|make| *make != Make::Floor) {
        for archive in [false, true] {
            let domain = format!("{}{}.crash", make.name(), if archive { "-archive" } else { "" });
            let mut server = Server::prepare(make, directory, &domain, &authority, &population, archive)?;
            let mut account = 0;
            for recipient in RECIPIENTS {
                for ending in Ending::ALL {
                    let mut all = Seen { make, archive, recipient, ending, acknowledged: 0, delivered: 0, lost: 0 };
                    for _ in 0..options.rounds {
                        let case = Case { server: &mut server, kit: &kit, first: account, recipient, ending };
                        case.play(&mut all).await?;
                        account += 2;
                    }
                    println!("  {}", row(&all));
                    seen.push(all);
                }
            }
        }
    }
    let tables = tables(&seen, options.rounds);
    match &options.document {
        Some(document) => insert(document, &tables),
        None => Ok(println!("{tables}")),
    }
}

struct Case<'a> {
    server: &'a mut Server,
    kit: &'a Kit,
    /// The number of the sender's account; the recipient's follows.
    first: usize,
    recipient: Recipient,
    ending: Ending,
}

impl Case<'_> {
    async fn play(self, all: &mut Seen) -> io::Result<()> {
        let (sender, recipient) = (format!("c{}", self.first), format!("c{}", self.first + 1));
        Server::start(std::slice::from_mut(self.server))?;
        let site = self.server.site.clone();
        let mut arrived = BTreeSet::new();
        let reading = match self.recipient {
            Recipient::Offline => None,
            Recipient::Hibernating | Recipient::Connected => {
                let mut session = Session::login(&site, Begin::Direct, &recipient, self.kit).await?;
                session.appear().await?;
                session.enable_resumption().await?;
                (self.recipient == Recipient::Connected).then_some(session)
            }
        };
        let mut writing = Session::login(&site, Begin::Direct, &sender, self.kit).await?;
        writing.enable_acks().await?;
        let mut letters = String::new();
        for number in 0..MESSAGES {
            let to = format!("{recipient}@{}", site.domain);
            let _ = write!(letters, "<message to='{to}' type='chat' id='n{number}.'><body>n{number}.</body></message>");
        }
        writing.send(letters.as_bytes()).await?;
        writing.acknowledged(MESSAGES).await?;
        self.server.end(self.ending)?;
        if let Some(mut session) = reading {
            note(&session.rest().await, &mut arrived);
        }

        Server::start(std::slice::from_mut(self.server))?;
        let mut session = Session::login(&site, Begin::Direct, &recipient, self.kit).await?;
        note(&session.gather().await?, &mut arrived);
        let archived = if self.server.archive { session.archived().await? } else { 0 };
        session.close().await?;
        Server::stop(std::slice::from_mut(self.server))?;
        all.acknowledged += MESSAGES;
        all.delivered += arrived.len();
        let archived = usize::try_from(archived).unwrap_or(usize::MAX);
        all.lost += MESSAGES.saturating_sub(arrived.len().max(archived));
        Ok(())
    }
}

/// Which messages are in `text`.
fn note(text: &str, arrived: &mut BTreeSet<usize>) {
    let bodies = text.split("<body>n").skip(1);
    arrived.extend(bodies.filter_map(|rest| rest.split_once('.')?.0.parse::<usize>().ok()));
}

fn tables(seen: &[Seen], runs: usize) -> String {
    let mut out =
        format!("Machine: {}. Peers: {}. {MESSAGES} messages in each of {runs} runs.\n\n", machine(), peers());
    out.push_str(
        "| server | archive | recipient | signal | acknowledged | delivered | lost |\n|---|---|---|---|---|---|---|\n",
    );
    for case in seen {
        let _ = writeln!(out, "{}", row(case));
    }
    out
}

fn row(seen: &Seen) -> String {
    let recipient = match seen.recipient {
        Recipient::Offline => "offline",
        Recipient::Hibernating => "hibernating",
        Recipient::Connected => "connected, confirms nothing",
    };
    let archive = if seen.archive { "on" } else { "off" };
    let (make, ending) = (seen.make.name(), seen.ending.name());
    format!(
        "| {make} | {archive} | {recipient} | {ending} | {} | {} | {} |",
        seen.acknowledged, seen.delivered, seen.lost
    )
}
