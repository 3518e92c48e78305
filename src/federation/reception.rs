//! A stream that another server opened, from its first byte to its last.
//!
//! The thin driver of [`Incoming`]: it moves bytes, negotiates TLS, keeps the time, has keys verified,
//! and hands stanzas on, all those of one wake-up together.

mod answers;
mod asking;
mod budget;
mod going;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::answers::{Wait, answerable};
use self::asking::Answered;
use self::budget::refused;
use self::going::{Going, going};
use crate::federation::Federation;
use crate::federation::audit::Listed;
use crate::federation::counting::Counted;
use crate::federation::driving::Ended;
use crate::federation::incoming::{Effect, Incoming, Next, Proven, Way};
use crate::federation::lanes::Lanes;
use crate::federation::link::left;
use crate::federation::meter::{Meter, end_of};
use crate::federation::proof::{Role, Shown};
use crate::federation::questions::{Question, Questions};
use crate::federation::resolve::Start;
use crate::federation::wire::{Broken, Wire};
use crate::net::Transport;
use crate::net::tls::Incoming as IncomingTls;
use crate::random;
use crate::storage::Receipt;
use crate::stream::{CLOSE, Event, Limits, StreamCondition, StreamError};
use crate::telemetry::authentication_failure;

/// How long a peer has to answer our `</stream:stream>` (RFC 6120 §4.4).
const FAREWELL: Duration = Duration::from_secs(2);

/// A stream that another server opened and on which it has proven something.
pub struct Reception {
    federation: Arc<Federation>,
    wire: Wire,
    rules: Incoming,
    /// The certificates of the peer, while a rule looks at them.
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    asking: JoinSet<Answered>,
    /// Whether the larger limits are in force.
    trusted: bool,
    /// How many pairs it has proven that what waits for them knows of.
    known: usize,
    /// What goes out on it, if it goes both ways.
    lanes: Option<Box<Lanes>>,
    /// For a peer that wants to know what has arrived.
    counted: Option<Counted>,
    wait: Option<Wait>,
    /// What it asks instead, if the stream goes both ways.
    questions: Option<Box<Questions>>,
    /// Its place on the list of all streams, once it has proven something.
    listed: Option<Listed>,
    /// What has come on it.
    meter: Meter,
    /// [`Federation::stop`] waits for its end.
    _open: watch::Receiver<bool>,
}

/// What woke the task.
enum Woken {
    /// Somebody has answered; `None` if the task that asked has died.
    Answered(Option<Answered>),
    /// There is something new to read.
    Arrived,
    /// What goes out on the stream.
    Going(Going),
    /// Storage is ready for an answer, or has taken long enough.
    Answer { is_durable: bool },
    /// It is for the answer to this.
    Asked(Box<Question>),
    /// It has been waited for long enough.
    Rested,
    /// The peer has begun another stream, or goes on with this one on another connection.
    Superseded,
}

/// Why a stream is over.
enum End {
    /// The peer has closed it.
    Closed,
    Lost(String),
    /// The peer is to be told this.
    Refused(StreamError),
    /// The peer has been told; this is for the log.
    Told(String),
    /// Another stream of the peer has taken the place of this one, which it believes broken.
    Superseded,
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed => Self::Lost("the other server closed the connection".to_owned()),
            Broken::Lost(why) | Broken::Unwelcome(why) => Self::Lost(why),
            Broken::Told(error) => Self::Lost(format!("the peer ended the stream: {error}")),
            Broken::Refused(error) => Self::Refused(error),
        }
    }
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self::Refused(error)
    }
}

fn certificates<'a>(shown: &'a Mutex<Vec<CertificateDer<'static>>>) -> MutexGuard<'a, Vec<CertificateDer<'static>>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Federation {
    /// Serves a connection from another server until it ends.
    pub async fn serve(self: Arc<Self>, transport: Transport, start: Start) {
        if let Some(reception) = self.accept(transport, start).await {
            // What is needed later takes no memory from a stranger: the task has the size of what waits longest otherwise.
            Box::pin(reception.run()).await;
        }
    }

    /// Negotiates with a peer that has connected until it has proven something; `None` if it did not in
    /// time. Dropping the future ends the connection.
    pub async fn accept(self: &Arc<Self>, transport: Transport, start: Start) -> Option<Reception> {
        let mut reception = Reception {
            federation: Arc::clone(self),
            rules: Incoming::new(self.rules()),
            wire: Wire::new(transport, Limits::UNAUTHENTICATED_SERVER),
            shown: Arc::default(),
            asking: JoinSet::new(),
            trusted: false,
            known: 0,
            lanes: None,
            counted: None,
            wait: None,
            questions: None,
            listed: None,
            meter: Meter::default(),
            _open: self.until_closing(),
        };
        let end = tokio::select! {
            biased;
            end = reception.authenticate(start) => end,
            () = sleep(self.settings().deadline) => Some(timed_out("no authentication in time")),
            () = self.closing() => Some(End::Refused(StreamCondition::SystemShutdown.into())),
        };
        match end {
            None => Some(reception),
            Some(end) => {
                // Boxed: what ends a stream takes no memory from a stranger who is there.
                Box::pin(reception.finish(end)).await;
                None
            }
        }
    }
}

impl Reception {
    /// Takes stanzas until the stream ends.
    pub async fn run(mut self) {
        let federation = Arc::clone(&self.federation);
        let patience = || federation.settings().patience();
        let mut heard = Instant::now();
        let mut idle = pin!(sleep(patience()));
        let mut expiry = pin!(self.expiry());
        let mut until = self.rules.valid_until();
        let mut closing = pin!(federation.closing());
        let end = loop {
            tokio::select! {
                // Rare things first, so that a peer which never stops cannot hide them.
                biased;
                () = &mut idle => {
                    let next = heard + patience();
                    if next <= Instant::now() {
                        break self.farewell(CLOSE.to_owned(), "idle").await;
                    }
                    idle.as_mut().reset(next);
                }
                // RFC 6120 §13.7.2.3: to be proven anew.
                () = &mut expiry => {
                    let error = StreamError::new(StreamCondition::Reset, "the certificate has expired");
                    break self.farewell(self.rules.refuse(&error, &random::token()).write, "the certificate has expired").await;
                }
                () = &mut closing => {
                    let last = self.rules.refuse(&StreamCondition::SystemShutdown.into(), &random::token()).write;
                    break self.farewell(last, "this server stops").await;
                }
                woken = self.woken() => {
                    // What has begun is finished, whatever else happens.
                    let done = match woken {
                        Ok(woken) => self.handle(woken).await,
                        Err(end) => Err(end),
                    };
                    if let Err(end) = done {
                        break end;
                    }
                    heard = Instant::now();
                    if until != self.rules.valid_until() {
                        until = self.rules.valid_until();
                        expiry.set(self.expiry());
                    }
                }
            }
        };
        self.finish(end).await;
    }

    /// Resolves when the first certificate that counts expires.
    fn expiry(&self) -> impl Future<Output = ()> + use<> {
        let left = self.rules.valid_until().map(|end| left(&self.federation.ways().clock, end));
        async move {
            match left {
                Some(left) => sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn authenticate(&mut self, start: Start) -> Option<End> {
        if start == Start::DirectTls
            && let Err(end) = self.secure(IncomingTls::ServerDirect, None).await
        {
            return Some(end);
        }
        while !self.rules.is_authenticated() {
            if let Err(end) = self.step().await {
                return Some(end);
            }
        }
        None
    }

    /// Says the last words and takes what is still under way (RFC 6120 §4.4).
    async fn farewell(&mut self, last: String, reason: &str) -> End {
        let ended = if self.federation.is_closing() { Ended::Closing } else { Ended::InOrder };
        if let Err(end) = self.end_lanes(ended, reason).await {
            return end;
        }
        if let Err(broken) = self.wire.write(&last).await {
            return broken.into();
        }
        let rest = async { while self.step().await.is_ok() {} };
        let _ = timeout(FAREWELL, rest).await;
        End::Told(reason.to_owned())
    }

    async fn step(&mut self) -> Result<(), End> {
        let woken = self.woken().await?;
        self.handle(woken).await
    }

    /// Waits; nothing is lost if that is given up.
    async fn woken(&mut self) -> Result<Woken, End> {
        let (counted, rest) = (&mut self.counted, self.meter.rest());
        let reads = rest.is_none() && self.questions.as_ref().is_none_or(|questions| !questions.are_many());
        let storage = &self.federation.ways().storage;
        let superseded = async {
            match counted {
                Some(counted) => counted.superseded().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // What nobody has answered stays unproven.
            Some(answered) = self.asking.join_next() => Ok(Woken::Answered(answered.ok())),
            () = superseded => Ok(Woken::Superseded),
            () = end_of(rest), if rest.is_some() => Ok(Woken::Rested),
            is_durable = answerable(&mut self.wait), if self.wait.is_some() => Ok(Woken::Answer { is_durable }),
            question = Questions::due(self.questions.as_deref_mut(), storage) => Ok(Woken::Asked(question)),
            going = going(&mut self.lanes, &self.federation, &mut self.wire, reads) => match going? {
                Going::Arrived => Ok(Woken::Arrived),
                going => Ok(Woken::Going(going)),
            },
        }
    }

    async fn handle(&mut self, woken: Woken) -> Result<(), End> {
        match woken {
            Woken::Answered(None) => Ok(()),
            Woken::Answered(Some(answered)) => {
                let effect = self.judge(|rules| match answered {
                    Answered::LookedUp(domain, servers) => rules.looked_up(&domain, servers),
                    Answered::Verified(pair, outcome) => rules.verified(&pair, outcome),
                });
                self.apply(effect).await
            }
            Woken::Arrived => {
                let done = self.read().await;
                // What came before an end was read as well.
                self.meter.charge(self.listed.as_ref());
                done
            }
            Woken::Going(going) => self.go(going).await,
            Woken::Rested => {
                self.meter.rested();
                Ok(())
            }
            Woken::Answer { is_durable: true } => {
                self.wait = None;
                self.answer().await
            }
            Woken::Answer { is_durable: false } => self.answer_so_far().await,
            Woken::Asked(question) => Ok(self.federation.put(question).await?),
            Woken::Superseded => {
                self.counted = None;
                Err(End::Superseded)
            }
        }
    }

    /// Everything that has arrived.
    async fn read(&mut self) -> Result<(), End> {
        loop {
            let (proven, meter) = (self.rules.proven(), &mut self.meter);
            let questions = self.questions.as_deref_mut();
            let gathered = self.federation.gather(&mut self.wire, proven, meter, &mut self.counted, questions);
            let Some(event) = gathered.await? else { return Ok(()) };
            let effect = match event {
                Event::Open(header) => self.judge(|rules| rules.opened(&header, random::token())),
                Event::Nonza(element) => match self.said(&element) {
                    Some(said) => {
                        self.hear(said).await?;
                        continue;
                    }
                    None => self.judge(|rules| rules.element(&element)),
                },
                Event::Rejected(rejected) => {
                    if let Some(counted) = &mut self.counted {
                        counted.handled(1, Receipt::NONE);
                    }
                    self.federation.reject(self.rules.proven(), rejected)?;
                    continue;
                }
                Event::Close => return Err(End::Closed),
                // All of them were gathered.
                Event::Stanza(_) => continue,
            };
            self.apply(effect).await?;
        }
    }

    async fn apply(&mut self, effect: Effect) -> Result<(), End> {
        if let Some((way, reason)) = self.rules.take_failure() {
            let way = match way {
                Way::Sasl => "EXTERNAL",
                Way::Dialback => "dialback",
            };
            authentication_failure(self.wire.transport().peer(), way, reason);
        }
        let said = self.say(&effect.write).await;
        if self.rules.is_authenticated() && !self.trusted {
            self.trusted = true;
            self.wire.trust_peer(self.federation.settings().limits);
        }
        said?;
        self.take_seats().map_err(|excess| refused(StreamCondition::ResourceConstraint, excess))?;
        self.welcome();
        match effect.next {
            Next::Read => Ok(()),
            Next::Secure(_) | Next::Restart if !self.wire.is_clean() => {
                // RFC 6120 §5.4.3.1, §6.4.6: what lies behind was sent too early, or by somebody else.
                Err(End::Lost("data behind the end of a negotiation".to_owned()))
            }
            Next::Secure(domain) => self.secure(IncomingTls::ServerStartTls, Some(&domain)).await,
            Next::Restart => {
                self.wire.restart();
                Ok(())
            }
            Next::LookUp(domain) => {
                self.look_up(domain);
                Ok(())
            }
            Next::Verify(verification) => {
                self.verify(verification);
                Ok(())
            }
            Next::Close(reason) => Err(End::Told(reason)),
        }
    }

    /// Tells whoever waits for them of pairs that are new.
    fn welcome(&mut self) {
        // After SASL a header comes first.
        if !self.rules.is_open() {
            return;
        }
        let proven = self.rules.proven();
        for Proven { pair, proof } in proven.get(self.known..).unwrap_or_default() {
            let address = self.wire.transport().peer();
            tracing::info!(local = %pair.local, remote = %pair.remote, ?address, %proof, "another server has authenticated");
            if let Some(listed) = &self.listed {
                listed.prove(pair, Some(proof));
            }
            if self.rules.is_bidirectional() {
                self.listed.iter().for_each(Listed::goes_both_ways);
                self.questions.get_or_insert_with(Box::default);
                self.federation.offer(pair, self.lanes.get_or_insert_with(|| Box::new(Lanes::new())).way());
            }
            self.federation.reached(pair);
            self.federation.nudge(pair);
        }
        self.known = proven.len();
    }

    async fn secure(&mut self, how: IncomingTls, domain: Option<&str>) -> Result<(), End> {
        let acceptor = self.federation.ways().server_tls.acceptor(how, domain);
        let secured = self.wire.secure(|transport| acceptor.accept(transport)).await;
        secured.map_err(|error| End::Lost(format!("TLS failed: {error}")))?;
        self.take_certificate();
        Ok(())
    }

    /// Has a rule decide, which may look at the certificates of the peer. TLS keeps them; a copy that
    /// stays would be most of what a stranger costs.
    fn judge(&mut self, rule: impl FnOnce(&mut Incoming) -> Effect) -> Effect {
        *certificates(&self.shown) = self.wire.transport().peer_certificates();
        let effect = rule(&mut self.rules);
        *certificates(&self.shown) = Vec::new();
        effect
    }

    fn take_certificate(&mut self) {
        let (shown, federation) = (Arc::clone(&self.shown), Arc::clone(&self.federation));
        self.rules.secured(Box::new(move |domain, endpoints| {
            let shown = Shown { chain: &certificates(&shown), role: Role::Client };
            federation.links().prove(shown, domain, endpoints)
        }));
    }

    /// Says so if the peer may have gone, and what was on the way with it.
    fn part(&self, end: &End) {
        let is_broken = matches!(end, End::Lost(_) | End::Superseded) || self.rules.is_broken_off();
        for Proven { pair, .. } in self.rules.proven().iter().filter(|_| is_broken && !self.federation.is_closing()) {
            self.federation.lost(pair);
            if matches!(end, End::Superseded) {
                self.federation.reached(pair);
            }
        }
    }

    async fn finish(mut self, end: End) {
        self.part(&end);
        if let Some(mut questions) = self.questions.take() {
            self.federation.put_all(&mut questions).await;
        }
        let (last, reason) = match end {
            End::Closed => (self.last_answer().await + CLOSE, "closed by the peer".to_owned()),
            End::Lost(why) => (String::new(), why),
            End::Refused(error) => (self.rules.refuse(&error, &random::token()).write, error.to_string()),
            End::Told(why) => (String::new(), why),
            End::Superseded => {
                let conflict = StreamError::from(StreamCondition::Conflict);
                (self.rules.refuse(&conflict, &random::token()).write, conflict.to_string())
            }
        };
        // Nothing gets into the middle of a stanza.
        let last = if self.end_lanes(Ended::InOrder, &reason).await.is_ok() { last } else { String::new() };
        let remote = self.rules.claimed().unwrap_or("-");
        tracing::debug!(%remote, address = ?self.wire.transport().peer(), reason, "stream from another server ended");
        // A peer that does not read does not hold us up.
        let _ = timeout(FAREWELL, self.wire.close(&last)).await;
    }
}

fn timed_out(why: &str) -> End {
    End::Refused(StreamError::new(StreamCondition::ConnectionTimeout, why))
}
