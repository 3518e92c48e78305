//! The server ends in the middle of everything, by a signal or at a named moment of its own work: what it has
//! acknowledged is not lost, and clients come back to their sessions. `docs/reliability.md` has the figures of longer runs.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod abroad;
mod cast;
mod cuts;
mod ledger;
mod order;
mod plan;
mod proxy;
mod rooms;
#[path = "../site/mod.rs"]
mod site;
#[path = "../site/waiting.rs"]
mod waiting;
mod watcher;
#[path = "../site/zone.rs"]
#[expect(dead_code, reason = "others do more with it")]
mod zone;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use abroad::Abroad;
use cast::{ACCOUNTS, Cut, DOMAIN, Desk, PASSWORD, Reader, Sender};
use comity::crash::{CARELESS, Point, VARIABLE};
use ledger::{Finding, Repeats, judge, judge_answers};
use plan::{End, LEAST, Moment, Plan, Plans};
use site::Site;
use watcher::Watcher;

/// Ends without order in the short run in `make check`; `CRASHES` asks for more.
const CRASHES: usize = 12;

/// How often each moment is hit in a run that is long enough for it.
const EACH: usize = 20;

/// After so long messages are old, where there is an archive.
const OLD: Duration = Duration::from_millis(1100);

const SIGKILL: i32 = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_end_with_the_archive() {
    cycles("crash-archive", 8, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_end_without_the_archive() {
    cycles("crash-bare", 4, false).await;
}

/// The harness is worth something only if it sees losses where there are some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_promises_what_it_has_not_kept_is_found_out() {
    let mut stage = Stage::new("crash-careless", true).await;
    let plan = Plan { end: End::Killed, again: None, stanzas: LEAST, micros: 0 };
    let seen = stage.play(plan, &[(VARIABLE, CARELESS)]).await;
    let lost = |reader: Reader| {
        let whose = reader.jid().to_string();
        let missing = |finding: &Finding| match finding {
            Finding::Lost { whose: who, names } if *who == whose => names.len(),
            _ => 0,
        };
        seen.findings.iter().map(missing).sum::<usize>()
    };
    for reader in [Reader::Away, Reader::Offline, Reader::There] {
        assert!(lost(reader) > 10, "{reader:?} has lost only {}: {:#?}", lost(reader), seen.findings);
    }
    let has = |is: fn(&Finding) -> bool| seen.findings.iter().any(is);
    assert!(has(|finding| matches!(finding, Finding::NoSession { .. })));
    assert!(has(|finding| matches!(finding, Finding::Unanswered { .. })));
}

async fn cycles(name: &str, first: usize, archive: bool) {
    let asked = std::env::var("CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes = asked.unwrap_or(CRASHES);
    let mut plans = Plans::new(first as u64 + 1, first, archive);
    let moments = plans.moments().to_vec();
    let mut stage = Stage::new(name, archive).await;
    let mut all = Tally::default();
    while all.crashes < crashes {
        let plan = plans.next();
        let seen = stage.play(plan, &[]).await;
        assert!(seen.findings.is_empty(), "cycle {} ({plan:?}), {}: {:#?}", stage.cycle, stage.keep(), seen.findings);
        all.count(plan, &seen);
    }
    stage.close();
    println!("{name}: {all:?}");
    // Nine moments among four of every nine crashes.
    let each = if crashes >= EACH * 25 { EACH } else { usize::from(crashes > moments.len() * 3) };
    for (point, again) in moments {
        let hits = all.hits.get(&(point, again)).copied().unwrap_or_default();
        assert!(hits >= each, "{point:?}, when started again: {again}: {hits} times");
    }
}

/// What was seen in all cycles together.
#[derive(Debug, Default)]
struct Tally {
    /// Ends without order with enough acknowledged before them.
    crashes: usize,
    /// Ends in order.
    stops: usize,
    acknowledged: usize,
    sessions: usize,
    resumed: usize,
    requests: usize,
    /// By moment, and whether it was when the server had been started again.
    hits: BTreeMap<(Point, bool), usize>,
}

impl Tally {
    fn count(&mut self, plan: Plan, seen: &Seen) {
        self.acknowledged += seen.acknowledged;
        self.sessions += seen.sessions;
        self.resumed += seen.resumed;
        self.requests += seen.requests;
        if plan.end == End::Stopped {
            self.stops += 1;
        } else {
            assert!(seen.acknowledged >= LEAST);
            self.crashes += 1;
            let hit = match (plan.end, plan.again) {
                (End::At(moment), _) => Some((moment.point, false)),
                (_, Some(moment)) => Some((moment.point, true)).filter(|_| seen.again),
                _ => None,
            };
            hit.into_iter().for_each(|hit| *self.hits.entry(hit).or_default() += 1);
        }
    }
}

/// What was seen in one cycle.
struct Seen {
    findings: Vec<Finding>,
    /// Stanzas.
    acknowledged: usize,
    /// Sessions, and those that their clients have got back.
    sessions: usize,
    resumed: usize,
    /// Acknowledged requests.
    requests: usize,
    /// The server has ended a second time, as it was told.
    again: bool,
}

/// A server and all who take part.
struct Stage {
    site: Site,
    running: bool,
    cycle: u32,
    abroad: Abroad,
    /// From the first cycle on.
    watcher: Option<Watcher>,
}

impl Stage {
    async fn new(name: &str, archive: bool) -> Self {
        let site = Site::new(name);
        let listener = site::free();
        let abroad = Abroad::new(&format!("{name}-abroad"), &site, listener).await;
        let config = format!(
            "domain = \"{DOMAIN}\"\ndata_dir = \"data\"\n\
             [listen]\nc2s = \"{}\"\nc2s_tls = []\ns2s = \"{listener}\"\ns2s_tls = []\n\
             [tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\ntrust_anchors = [\"ca.pem\"]\n\
             [dns]\nservers = [\"{}\"]\n\
             [limits]\nclient_stanzas_per_second = 0\nclient_bytes_per_second = 0\n\
             [archive]\nenabled = {archive}\nretention = \"1s\"\n[log]\nlevel = \"info,comity::federation=debug\"\n",
            site.c2s, abroad.dns
        );
        std::fs::write(site.directory.join("ca.pem"), site.ca.pem()).unwrap();
        std::fs::write(site.directory.join("comity.toml"), config).unwrap();
        let senders = (0..Sender::COUNT).map(|number| format!("sender{number}"));
        for account in ACCOUNTS.into_iter().chain([watcher::ACCOUNT]).map(str::to_owned).chain(senders) {
            let address = format!("{account}@{DOMAIN}");
            let added = site.run(&["account", "add", &address, "--password-stdin"], &format!("{PASSWORD}\n"));
            assert!(added.status.success());
        }
        Self { site, running: false, cycle: 0, abroad, watcher: None }
    }

    fn close(mut self) {
        if self.running {
            assert!(self.site.stop().success());
        }
        self.abroad.stop();
    }

    /// One cycle: messages are sent until the server ends; it is started again, and everybody gets what is his.
    async fn play(&mut self, plan: Plan, environment: &[(&str, &str)]) -> Seen {
        self.cycle += 1;
        self.begin(plan, environment);
        match &mut self.watcher {
            Some(watcher) => watcher.begin(),
            None => self.watcher = Some(Watcher::befriend(&self.site).await),
        }
        let mut desks = Vec::new();
        for reader in Reader::ALL {
            desks.push(Desk::open(&self.site, self.cycle, reader).await);
        }
        let mut senders = Vec::new();
        for number in 0..Sender::COUNT {
            senders.push(Sender::open(&self.site, self.cycle, number).await);
        }
        self.load(plan, &mut senders, &mut desks).await;
        let status = self.site.ended();
        match plan.end {
            End::Stopped => assert!(status.success(), "{status}"),
            End::Killed | End::At(_) => assert_eq!(status.signal(), Some(SIGKILL), "{plan:?}: {status}"),
        }
        self.abroad.open();
        let mut again = plan.again.is_some_and(|moment| self.start_again(moment));
        if plan.again.is_none() || again {
            self.site.start();
        }
        let (mut findings, mut repeats) = (Vec::new(), Repeats::Never);
        while let Err(Cut(why)) = self.audit(&mut senders, &mut desks, &mut findings).await {
            assert!(plan.again.is_some() && !again, "cycle {} ({plan:?}), {}: {why}", self.cycle, self.keep());
            assert_eq!(self.site.ended().signal(), Some(SIGKILL));
            (again, repeats) = (true, Repeats::Allowed);
            self.site.start();
        }
        // It goes on with the next cycle, unless it may end at any time.
        self.running = plan.again.is_none() || again;
        if !self.running {
            self.site.signal("-KILL");
            self.site.ended();
        }
        if repeats == Repeats::Never {
            findings.extend(desks.iter().filter_map(|desk| self.unseen(desk)));
        }
        let seen = Seen { findings, acknowledged: 0, sessions: 0, resumed: 0, requests: 0, again };
        judged((&senders, &desks), self.cycle, repeats, seen)
    }

    /// A session is back, and somebody who sees its presence, or whose presence it sees, does not know again.
    fn unseen(&self, desk: &Desk) -> Option<Finding> {
        let (jid, other) = (desk.reader.jid().to_string(), watcher::jid());
        let is_back = desk.found && desk.reader != Reader::Offline;
        if !is_back || self.watcher.as_ref().is_none_or(|watcher| desk.sees && watcher.has_seen(&jid)) {
            return None;
        }
        Some(if desk.sees {
            Finding::Presence { whose: other, of: jid }
        } else {
            Finding::Presence { whose: jid, of: other }
        })
    }

    /// Starts the server, unless it runs and this cycle asks for nothing special.
    fn begin(&mut self, plan: Plan, environment: &[(&str, &str)]) {
        let variable = match plan.end {
            End::At(moment) => moment.variable(Some(&self.armed())),
            End::Killed | End::Stopped => String::new(),
        };
        let _ = std::fs::remove_file(self.armed());
        // A log has one cycle.
        let _ = std::fs::File::create(self.site.directory.join("log"));
        let mut environment = environment.to_vec();
        if !variable.is_empty() {
            environment.push((VARIABLE, &variable));
        }
        if self.running && !environment.is_empty() {
            assert!(self.site.stop().success());
            self.running = false;
        }
        if !self.running {
            assert!(self.site.start_with(&environment), "the server has ended before it was ready");
        }
        self.running = false;
        self.abroad.begin();
    }

    /// The file from which on the server counts how often it comes to its moment.
    fn armed(&self) -> PathBuf {
        self.site.directory.join("armed")
    }

    /// Leaves what both servers have for whoever looks for the reason; says where.
    fn keep(&self) -> String {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        for (name, from) in [("near", self.site.directory.as_path()), ("abroad", self.abroad.directory())] {
            let to = place.join(name);
            assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
        }
        place.display().to_string()
    }

    /// Starts the server so that it ends again; says whether it has done so already.
    fn start_again(&mut self, moment: Moment) -> bool {
        if moment.point == Point::Retention {
            std::thread::sleep(OLD);
        }
        let ready = self.site.start_with(&[(VARIABLE, &moment.variable(None))]);
        if ready && !matches!(moment.point, Point::Retention | Point::Requeue) {
            return false;
        }
        assert_eq!(self.site.ended().signal(), Some(SIGKILL));
        true
    }

    /// Sends until the server ends, and takes in what comes.
    async fn load(&mut self, plan: Plan, senders: &mut [Sender], desks: &mut [Desk]) {
        let mut signal = match plan.end {
            End::Killed => Some("-KILL"),
            End::Stopped => Some("-TERM"),
            End::At(_) => None,
        };
        let mut rounds = 0;
        while senders.iter().any(|sender| !sender.ended) {
            for sender in &mut *senders {
                sender.round(&abroad::ADDRESSES).await;
            }
            let enough = senders.iter().map(|sender| sender.safe).sum::<usize>() >= plan.stanzas;
            for desk in &mut *desks {
                if desk.reader == Reader::Returns {
                    returns(&self.site, desk, rounds, enough || signal.is_some()).await;
                }
                desk.read().await;
            }
            if rounds == 4 {
                self.abroad.spoil(20_000);
            }
            if enough {
                std::fs::write(self.armed(), "").unwrap();
                match plan.end {
                    // There is a checkpoint when nothing has come for a tenth of a second.
                    End::At(Moment { point: Point::Checkpoint, .. }) => {
                        tokio::time::sleep(Duration::from_millis(130)).await;
                    }
                    End::At(Moment { point: Point::Settle, .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                    _ => {}
                }
                if let Some(signal) = signal.take() {
                    let (pid, delay) = (self.site.pid().to_string(), Duration::from_micros(plan.micros));
                    // Meanwhile everybody goes on.
                    std::thread::spawn(move || {
                        std::thread::sleep(delay);
                        std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
                    });
                }
            }
            rounds += 1;
        }
        // What was on its way when the server ended is theirs.
        for sender in &mut *senders {
            sender.read_out().await;
        }
        for desk in &mut *desks {
            desk.read_out().await;
        }
    }

    /// Everybody comes back, takes what is his, and leaves.
    async fn audit(
        &mut self,
        senders: &mut [Sender],
        desks: &mut [Desk],
        findings: &mut Vec<Finding>,
    ) -> Result<(), Cut> {
        for sender in senders.iter_mut().filter(|sender| !sender.done) {
            sender.come_back(&self.site).await?;
        }
        findings.extend(self.abroad.audit(&self.site, self.cycle, senders).await?);
        for sender in senders.iter_mut().filter(|sender| !sender.done) {
            sender.leave().await?;
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        findings.extend(watcher.come(&self.site, self.cycle).await?);
        for desk in desks.iter_mut().filter(|desk| !desk.done) {
            desk.collect(&self.site).await?;
            watcher.look(self.cycle).await?;
        }
        watcher.leave().await
    }
}

fn judged((senders, desks): (&[Sender], &[Desk]), cycle: u32, repeats: Repeats, mut seen: Seen) -> Seen {
    let mut session = |found: bool, whose: &str| {
        seen.sessions += 1;
        match found {
            true => seen.resumed += 1,
            false => seen.findings.push(Finding::NoSession { whose: whose.to_owned() }),
        }
    };
    for desk in desks.iter().filter(|desk| desk.reader != Reader::Offline) {
        session(desk.found, desk.reader.jid().as_str());
    }
    for sender in senders {
        session(sender.found, &format!("sender {}", sender.number));
    }
    for desk in desks {
        let jid = desk.reader.jid();
        let safe: Vec<_> = senders.iter().flat_map(|sender| sender.safe_letters(jid.bare_str())).collect();
        seen.findings.extend(judge(jid.as_str(), cycle, &safe, &desk.got, repeats));
    }
    for sender in senders {
        let whose = format!("sender {}", sender.number);
        seen.findings.extend(judge_answers(&whose, sender.safe_requests(), &sender.answers, repeats));
        seen.requests += sender.safe_requests().count();
        seen.acknowledged += sender.safe;
    }
    seen
}

/// Loses its connection, and is back two rounds later.
async fn returns(site: &Site, desk: &mut Desk, rounds: usize, may_leave: bool) {
    match rounds % 4 {
        1 if may_leave => desk.vanish().await,
        3 => {
            // The server may be ending; then it comes back later.
            let _ = desk.come_back(site).await;
        }
        _ => {}
    }
}
