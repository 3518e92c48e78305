//! What becomes of acknowledged messages when a server is killed, or stopped, in the middle of everything: the same for
//! every server, seen only from outside.
//!
//! Somebody sends messages and asks for acknowledgement (XEP-0198). As soon as all are acknowledged, the server gets its
//! signal. It is started again with the same data; the recipient logs in, and whatever has reached him, before or after,
//! or is in his archive, or has come back to the sender as an error, is not lost.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::rc::Rc;

use tokio::task::spawn_local;

use crate::client::{Begin, Kit, Session};
use crate::hang::Way;
use crate::options::Options;
use crate::population::Population;
use crate::report::{insert, machine, peers};
use crate::servers::{Ending, Make, Server};
use crate::tls::{self, Authority, Tickets};

/// Messages of one case, all of which are acknowledged before the signal.
const MESSAGES: usize = 200;

/// How often a recipient at another server listens for a second, until what was sent last has come.
const PATIENCE: usize = 30;

/// What the recipient is doing when the messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recipient {
    /// He has no session.
    Offline,
    /// His connection is lost; his session waits for him (XEP-0198).
    Hibernating,
    /// He is connected and gets everything, but has confirmed nothing.
    Connected,
    /// He is at another server, to which there is a connection that has become silent; after the start it can be reached.
    Abroad,
}

const RECIPIENTS: [Recipient; 4] =
    [Recipient::Offline, Recipient::Hibernating, Recipient::Connected, Recipient::Abroad];

/// What was seen of one case.
struct Seen {
    make: Make,
    archive: bool,
    recipient: Recipient,
    ending: Ending,
    /// Of all runs.
    acknowledged: usize,
    delivered: usize,
    bounced: usize,
    /// Neither delivered nor archived nor bounced.
    lost: usize,
}

/// Runs every case `options.rounds` times.
pub async fn run(options: &Options, directory: &Path) -> io::Result<()> {
    let authority = Authority::new(directory)?;
    let kit = Kit { tls: tls::client(Tickets::Unused), cache: Rc::default() };
    let dns = crate::servers::free_ports(1)?[0];
    let mut known = HashMap::new();
    let mut far = HashMap::new();
    let cases = RECIPIENTS.len() * Ending::ALL.len() * options.rounds;
    let population = Population { chatting: 2 * cases, others: 0, ring: 0, reach: 0, broadcasters: Vec::new(), dns };
    let makes: Vec<Make> = options.servers.iter().copied().filter(|make| *make != Make::Floor).collect();
    for make in &makes {
        let domain = format!("far-{}.crash", make.name());
        let mut server = Server::prepare(*make, directory, &domain, &authority, &population, false)?;
        Server::start(std::slice::from_mut(&mut server))?;
        let way = Way::new(server.s2s).await?;
        known.insert(domain, way.address.port());
        far.insert(*make, Far { server, way });
    }
    let dns = spawn_local(crate::dns::serve(dns, known));
    let mut seen = Vec::new();
    for make in makes {
        let far = far.get(&make).ok_or(io::ErrorKind::NotFound)?;
        for archive in [false, true] {
            let domain = format!("{}{}.crash", make.name(), if archive { "-archive" } else { "" });
            let mut server = Server::prepare(make, directory, &domain, &authority, &population, archive)?;
            let mut account = 0;
            for recipient in RECIPIENTS {
                for ending in Ending::ALL {
                    let (acknowledged, delivered, bounced, lost) = (0, 0, 0, 0);
                    let mut all = Seen { make, archive, recipient, ending, acknowledged, delivered, bounced, lost };
                    for _ in 0..options.rounds {
                        let case = Case { server: &mut server, far, kit: &kit, first: account, recipient, ending };
                        case.play(&mut all).await?;
                        account += 2;
                    }
                    println!("  {}", row(&all));
                    seen.push(all);
                }
            }
        }
    }
    dns.abort();
    let tables = tables(&seen, options.rounds);
    match &options.document {
        Some(document) => insert(document, "measured", &tables)?,
        None => println!("{tables}"),
    }
    if seen.iter().any(|it| it.make == Make::Comity && it.lost > 0) {
        return Err(io::Error::other("Comity has lost messages"));
    }
    Ok(())
}

/// Another server of the same make, which is not killed, and the way there.
struct Far {
    server: Server,
    way: Way,
}

struct Case<'a> {
    server: &'a mut Server,
    far: &'a Far,
    kit: &'a Kit,
    /// The number of the sender's account; the recipient's follows.
    first: usize,
    recipient: Recipient,
    ending: Ending,
}

impl Case<'_> {
    async fn play(mut self, all: &mut Seen) -> io::Result<()> {
        Server::start(std::slice::from_mut(self.server))?;
        if self.recipient == Recipient::Abroad { self.abroad(all).await } else { self.here(all).await }?;
        all.acknowledged += MESSAGES;
        Server::stop(std::slice::from_mut(self.server))
    }

    async fn here(&mut self, all: &mut Seen) -> io::Result<()> {
        let site = self.server.site.clone();
        let recipient = format!("c{}", self.first + 1);
        let mut arrived = BTreeSet::new();
        let reading = match self.recipient {
            Recipient::Offline | Recipient::Abroad => None,
            Recipient::Hibernating | Recipient::Connected => {
                let mut session = Session::login(&site, Begin::Direct, &recipient, self.kit).await?;
                session.appear().await?;
                session.enable_resumption().await?;
                (self.recipient == Recipient::Connected).then_some(session)
            }
        };
        let mut writing = self.sender().await?;
        writing.enable_acks().await?;
        write(&mut writing, &format!("{recipient}@{}", site.domain)).await?;
        self.server.end(self.ending)?;
        if let Some(mut session) = reading {
            note(&session.rest().await, &mut arrived);
        }

        Server::start(std::slice::from_mut(self.server))?;
        let mut session = Session::login(&site, Begin::Direct, &recipient, self.kit).await?;
        note(&session.gather().await?, &mut arrived);
        let archived = if self.server.archive { session.archived().await? } else { 0 };
        session.close().await?;
        all.delivered += arrived.len();
        let archived = usize::try_from(archived).unwrap_or(usize::MAX);
        all.lost += MESSAGES.saturating_sub(arrived.len().max(archived));
        Ok(())
    }

    async fn abroad(&mut self, all: &mut Seen) -> io::Result<()> {
        let Far { server: far, way } = self.far;
        let recipient = format!("c{}", self.first + 1);
        let to = format!("{recipient}@{}", far.site.domain);
        let say = |word: &str| format!("<message to='{to}' type='chat' id='{word}'><body>{word}</body></message>");
        let mut reading = Session::login(&far.site, Begin::Direct, &recipient, self.kit).await?;
        reading.appear().await?;
        let mut writing = self.sender().await?;
        // The connection between the servers is there before it becomes silent.
        writing.send(say("first").as_bytes()).await?;
        listen(&mut reading, "first").await?;
        writing.enable_acks().await?;
        way.hang();
        write(&mut writing, &to).await?;
        self.server.end(self.ending)?;
        let (mut arrived, mut bounced) = (BTreeSet::new(), BTreeSet::new());
        note(&writing.rest().await, &mut bounced);

        way.open();
        Server::start(std::slice::from_mut(self.server))?;
        let mut writing = self.sender().await?;
        writing.appear().await?;
        writing.send(say("last").as_bytes()).await?;
        note(&listen(&mut reading, "last").await?, &mut arrived);
        note(&reading.gather().await?, &mut arrived);
        note(&writing.gather().await?, &mut bounced);
        writing.close().await?;
        reading.close().await?;
        all.delivered += arrived.len();
        bounced.retain(|number| !arrived.contains(number));
        all.bounced += bounced.len();
        all.lost += MESSAGES.saturating_sub(arrived.len() + bounced.len());
        Ok(())
    }

    async fn sender(&self) -> io::Result<Session> {
        Session::login(&self.server.site, Begin::Direct, &format!("c{}", self.first), self.kit).await
    }
}

/// Sends all messages and waits until they are acknowledged.
async fn write(writing: &mut Session, to: &str) -> io::Result<()> {
    let mut letters = String::new();
    for number in 0..MESSAGES {
        let _ = write!(letters, "<message to='{to}' type='chat' id='n{number}.'><body>n{number}.</body></message>");
    }
    writing.send(letters.as_bytes()).await?;
    writing.acknowledged(MESSAGES).await
}

/// What comes until this word does.
async fn listen(reading: &mut Session, word: &str) -> io::Result<String> {
    let mut all = String::new();
    for _ in 0..PATIENCE {
        all.push_str(&reading.gather().await?);
        if all.contains(&format!("<body>{word}</body>")) {
            break;
        }
    }
    Ok(all)
}

/// Which messages are in `text`.
fn note(text: &str, arrived: &mut BTreeSet<usize>) {
    for quote in ['\'', '"'] {
        let mark = format!(" id={quote}n");
        let ids = text.split(&mark).skip(1);
        arrived.extend(ids.filter_map(|rest| rest.split_once('.')?.0.parse::<usize>().ok()));
    }
}

fn tables(seen: &[Seen], runs: usize) -> String {
    let mut out =
        format!("Machine: {}. Peers: {}. {MESSAGES} messages in each of {runs} runs.\n\n", machine(), peers());
    out.push_str(
        "| server | archive | recipient | signal | acknowledged | delivered | bounced | lost |\n\
         |---|---|---|---|---|---|---|---|\n",
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
        Recipient::Abroad => "at a server that hangs",
    };
    let archive = if seen.archive { "on" } else { "off" };
    let (make, ending) = (seen.make.name(), seen.ending.name());
    format!(
        "| {make} | {archive} | {recipient} | {ending} | {} | {} | {} | {} |",
        seen.acknowledged, seen.delivered, seen.bounced, seen.lost
    )
}
