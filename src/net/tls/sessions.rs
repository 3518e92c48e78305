//! Sessions of TLS that other servers have given us: the next connection to the same place goes on with one, without
//! certificates and signatures (RFC 8446 §2.2).
//!
//! A resumed session has the certificates of the handshake in which it began; whoever judges the peer judges those, with all
//! that counts at that moment. What it has not is a new signature by the peer's key, so nothing is resumed a day after there was
//! one, however often it was resumed in between. Only sessions of TLS 1.3 are kept, which get fresh keys each time.
//! It must never know what proves a domain, only that it was proven.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};
use tokio::time::Instant;

use super::client::Outgoing;
use super::peer_tickets::LIFETIME;

/// So many sessions are kept; the one that began longest ago makes room.
const MOST: usize = 256;
/// Where going on with a session has led to nothing it is not tried again for so long.
const BARRED: Duration = Duration::from_secs(3600);

/// Where a session may be resumed: nowhere but where it began, and showing the same certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Which of our certificates is shown.
    pub(super) identity: Option<usize>,
    pub(super) remote: String,
    pub(super) address: SocketAddr,
    pub(super) outgoing: Outgoing,
}

/// All that are kept.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Place, Kept>>);

/// What is known of a place.
struct Kept {
    /// When the peer has shown that it holds its key, or when it was barred.
    since: Instant,
    /// Nothing where sessions are not to be resumed.
    session: Option<Tls13ClientSessionValue>,
}

/// What one connection has to do with sessions.
pub struct Resumable {
    /// What is shown, and where it is kept.
    config: Arc<ClientConfig>,
    sessions: Arc<Sessions>,
    place: Place,
    state: Mutex<State>,
}

struct State {
    /// When the peer has shown that it holds its key.
    proven: Instant,
    /// Whether the connection goes on, or may yet go on, with a session that was kept.
    goes_on: bool,
    stage: Stage,
}

enum Stage {
    /// It is not known yet what the peer is worth; the latest session that it has given.
    Open(Option<Tls13ClientSessionValue>),
    /// What it gives is kept.
    Proven,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one connection to `place`.
    pub(super) fn at(self: &Arc<Self>, place: Place, config: Arc<ClientConfig>) -> Arc<Resumable> {
        let state = State { proven: Instant::now(), goes_on: false, stage: Stage::Open(None) };
        Arc::new(Resumable { config, sessions: Arc::clone(self), place, state: Mutex::new(state) })
    }

    fn take(&self, place: &Place) -> Option<(Instant, Tls13ClientSessionValue)> {
        let mut all = self.lock();
        let session = all.get_mut(place)?.session.take()?;
        let since = all.remove(place)?.since;
        (since.elapsed() < LIFETIME).then_some((since, session))
    }

    fn keep(&self, place: &Place, since: Instant, session: Option<Tls13ClientSessionValue>) {
        let mut all = self.lock();
        let is_barred = |kept: &Kept| kept.session.is_none() && kept.since.elapsed() < BARRED;
        if session.is_some() && all.get(place).is_some_and(is_barred) {
            return;
        }
        if all.len() >= MOST
            && !all.contains_key(place)
            && let Some(oldest) = all.iter().min_by_key(|(_, kept)| kept.since).map(|(place, _)| place.clone())
        {
            all.remove(&oldest);
        }
        all.insert(place.clone(), Kept { since, session });
    }
}

impl Resumable {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of this connection, which goes on with a session if one is kept.
    #[must_use]
    pub fn config(self: &Arc<Self>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(Arc::clone(self) as _).tls12_resumption(Tls12Resumption::Disabled);
        Arc::new(config)
    }

    /// The handshake is done. Where no session was `resumed` the peer has shown that it holds its key.
    pub fn shaken(&self, resumed: bool) {
        if !resumed {
            let mut state = self.lock();
            (state.proven, state.goes_on) = (Instant::now(), false);
        }
    }

    /// The peer has proven its domain: a session that it gives, or has given, is kept.
    pub fn keep(&self) {
        let mut state = self.lock();
        if let Stage::Open(Some(session)) = std::mem::replace(&mut state.stage, Stage::Proven) {
            self.sessions.keep(&self.place, state.proven, Some(session));
        }
    }

    /// The connection has led to nothing. Gives whether that may be because it went on with a session: then none is resumed
    /// at this place for a while.
    #[must_use]
    pub fn give_up(&self) -> bool {
        let goes_on = self.lock().goes_on;
        if goes_on {
            self.sessions.keep(&self.place, Instant::now(), None);
        }
        goes_on
    }
}

impl ClientSessionStore for Resumable {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut state = self.lock();
        match &mut state.stage {
            Stage::Open(latest) => *latest = Some(session),
            Stage::Proven => self.sessions.keep(&self.place, state.proven, Some(session)),
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let (since, session) = self.sessions.take(&self.place)?;
        let mut state = self.lock();
        (state.proven, state.goes_on) = (since, true);
        Some(session)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.lock().len()).finish()
    }
}

impl fmt::Debug for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::ClientSessionMemoryCache;
    use tokio::time::advance;

    use super::*;
    use crate::net::Transport;
    use crate::net::tls::mint::{Authority, Minted, Name, Wish};
    use crate::net::tls::{ClientCertificate, ClientTls, Identities, Incoming, ServerTls, server_name};

    const HOUR: Duration = Duration::from_secs(3600);

    fn minted(name: &'static str) -> Minted {
        Authority::root("authority").mint(&Wish::names(&[Name::Dns(name)]))
    }

    fn identities(minted: &Minted) -> Arc<Identities> {
        Arc::new(Identities::new(minted.identity()))
    }

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 5269).into()
    }

    /// Our side and another server.
    struct Ends {
        ours: ClientTls,
        theirs: ServerTls,
    }

    impl Ends {
        fn new() -> Self {
            let (ours, theirs) = (minted("a.test"), minted("b.test"));
            Self {
                ours: ClientTls::new(identities(&ours)).unwrap(),
                theirs: ServerTls::new(identities(&theirs)).unwrap(),
            }
        }

        fn resumable(&self, remote: &str, last: u8) -> Arc<Resumable> {
            self.ours.resumable("a.test", Outgoing::StartTls, ClientCertificate::Shown, (remote, address(last)))
        }

        async fn shake(&self, config: Arc<ClientConfig>) -> (Transport, Transport) {
            let (near, far) = tokio::io::duplex(1 << 16);
            let acceptor = self.theirs.acceptor(Incoming::ServerStartTls, None);
            let (ours, theirs) = tokio::join!(
                Transport::plain(near, None).connect_tls(config, server_name("b.test").unwrap()),
                acceptor.accept(Transport::plain(far, None)),
            );
            let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
            // The ticket has come when this has.
            theirs.write_all(b"x").await.unwrap();
            ours.drain(&mut Vec::new()).await.unwrap();
            assert_eq!(ours.tls().unwrap().resumed, theirs.tls().unwrap().resumed);
            (ours, theirs)
        }

        /// Connects and takes the peer for one that has proven its domain; gives whether a session was resumed.
        async fn resumes(&self, session: &Arc<Resumable>) -> bool {
            let (ours, theirs) = self.shake(session.config()).await;
            session.shaken(ours.tls().unwrap().resumed);
            // Whoever judges either side has what there was to judge at first.
            assert_eq!(ours.peer_certificates(), self.theirs.identities().all()[0].certified_key().cert);
            assert_eq!(theirs.peer_certificates().len(), usize::from(session.place.identity.is_some()));
            session.keep();
            ours.tls().unwrap().resumed
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_resumed_where_it_began_and_nowhere_else() {
        let ends = Ends::new();
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        assert!(!ends.resumes(&ends.resumable("b.test", 2)).await, "another address");
        assert!(!ends.resumes(&ends.resumable("c.test", 1)).await, "another domain");
        let place = ("b.test", address(1));
        let hidden = ends.ours.resumable("a.test", Outgoing::StartTls, ClientCertificate::Withheld, place);
        assert!(!ends.resumes(&hidden).await, "another certificate of ours");
        for _ in 0..3 {
            assert!(ends.resumes(&ends.resumable("b.test", 1)).await);
        }
        // Nobody shows the same one twice.
        let name = server_name("b.test").unwrap();
        let taken = [(), ()].map(|()| ends.resumable("b.test", 1).take_tls13_ticket(&name).is_some());
        assert_eq!(taken, [true, false]);
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        ends.ours.replace(ClientTls::new(identities(&minted("a.test"))).unwrap());
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await, "we show something else now");
        assert!(ends.resumes(&ends.resumable("b.test", 1)).await);
        ends.theirs.replace(ServerTls::new(identities(&minted("b.test"))).unwrap());
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await, "they do");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_proven_nothing_leaves_nothing() {
        let ends = Ends::new();
        let session = ends.resumable("b.test", 1);
        ends.shake(session.config()).await;
        assert!(!session.give_up(), "nothing was resumed");
        drop(session);
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_after_the_last_signature_a_handshake_is_made_in_full() {
        let ends = Ends::new();
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        for _ in 0..2 {
            for _ in 0..3 {
                advance(HOUR * 7).await;
                assert!(ends.resumes(&ends.resumable("b.test", 1)).await);
            }
            advance(HOUR * 3).await;
            assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_resume_for_a_day_as_well_and_what_they_have_shown_is_seen_again() {
        let ends = Ends::new();
        let mut config = ClientConfig::clone(&ends.ours.config("a.test", Outgoing::StartTls, ClientCertificate::Shown));
        // Somebody who keeps tickets for as long as he likes.
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        let config = Arc::new(config);
        let mut seen = Vec::new();
        for _ in 0..9 {
            let (ours, theirs) = ends.shake(Arc::clone(&config)).await;
            assert_eq!(theirs.peer_certificates().len(), 1);
            assert_eq!(ours.exporter(), theirs.exporter());
            seen.push(theirs.tls().unwrap().resumed);
            advance(HOUR * 6).await;
        }
        assert_eq!(seen, [false, true, true, true, false, true, true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_of_clients_and_of_servers_are_not_the_same() {
        let ends = Ends::new();
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        let config = ends.resumable("b.test", 1).config();
        let (near, far) = tokio::io::duplex(1 << 16);
        let acceptor = ends.theirs.acceptor(Incoming::ClientStartTls, None);
        let (_, theirs) = tokio::join!(
            Transport::plain(near, None).connect_tls(config, server_name("b.test").unwrap()),
            acceptor.accept(Transport::plain(far, None)),
        );
        assert!(!theirs.unwrap().tls().unwrap().resumed);
    }

    #[tokio::test(start_paused = true)]
    async fn where_it_has_led_to_nothing_nothing_is_resumed_for_an_hour() {
        let ends = Ends::new();
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        let session = ends.resumable("b.test", 1);
        assert!(ends.shake(session.config()).await.0.tls().unwrap().resumed);
        session.shaken(true);
        assert!(session.give_up());
        for _ in 0..3 {
            assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
            advance(HOUR / 4).await;
        }
        advance(HOUR / 4).await;
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await, "the first that is kept again");
        assert!(ends.resumes(&ends.resumable("b.test", 1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_refused_is_not_to_blame_and_its_time_does_not_count() {
        let mut ends = Ends::new();
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
        advance(HOUR * 23).await;
        let forgetful = minted("b.test");
        ends.theirs = ServerTls::new(identities(&forgetful)).unwrap();
        let session = ends.resumable("b.test", 1);
        assert!(!ends.resumes(&session).await, "they do not know it any more");
        assert!(!session.give_up(), "what fails now fails in a handshake in full as well");
        advance(HOUR * 2).await;
        assert!(ends.resumes(&ends.resumable("b.test", 1)).await, "a day counts from the new signature");
    }

    #[tokio::test(start_paused = true)]
    async fn who_connects_while_we_change_what_we_show_leaves_nothing_of_the_old() {
        let ends = Ends::new();
        let session = ends.resumable("b.test", 1);
        ends.ours.replace(ClientTls::new(identities(&minted("a.test"))).unwrap());
        assert!(!ends.resumes(&session).await);
        assert!(!ends.resumes(&ends.resumable("b.test", 1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let sessions = Sessions::default();
        let place = |number| Place {
            identity: Some(0),
            remote: format!("b{number}.test"),
            address: address(1),
            outgoing: Outgoing::Direct,
        };
        for number in 0..=MOST {
            sessions.keep(&place(number), Instant::now(), None);
            advance(Duration::from_secs(1)).await;
        }
        sessions.keep(&place(2), Instant::now(), None);
        let kept = sessions.lock();
        assert_eq!(kept.len(), MOST);
        assert!(!kept.contains_key(&place(0)) && kept.contains_key(&place(1)));
    }
}
