//! Who a client is: the login machine of `negotiation` asks, this module looks up, compares and answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

use crate::accounts::directory;
use crate::accounts::sasl::Mechanism;
use crate::accounts::sasl::channel_binding::{Bindings, Exporter};
use crate::accounts::sasl::scram::Nonce;
use crate::accounts::tokens::{self, AgentId, Holder};
use crate::accounts::traces::wipe_stack;
use crate::clock::Clock;
use crate::jid::{BareJid, Jid};
use crate::negotiation::features::{Confidentiality, Offer, PlainPolicy, TokenPolicy};
use crate::negotiation::login::{Effect, Found, FoundToken, Login, NewKeys};
use crate::negotiation::xep_0509_pipelining::ConfigVersion;
use crate::net::tls::vouched;
use crate::random;
use crate::routing::Ring;
use crate::stanza::CLIENT_NS;
use crate::stream::{Event, StreamCondition, StreamError};
use crate::telemetry::authentication_failure;
use crate::xml::Element;

use super::context::Context;
use super::dialogue::Dialogue;
use super::handshake::{
    Proved, Stage, extended, internal, invalid_from, not_a_stanza, nothing_may_follow, read_header, too_early,
};
use super::visits::Visits;
use super::wire::End;

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the stream inside TLS, of the same domain as the one before, and authenticates its client.
pub(super) async fn log_in(
    context: &Context,
    dialogue: &mut Dialogue,
    before: Option<&BareJid>,
) -> Result<(BareJid, Proved), End> {
    let (header, domain) = read_header(context, dialogue, before).await?;
    let from = header.from.and_then(|from| from.parse::<Jid>().ok()).map(|from| from.to_bare());
    if from.as_ref().is_some_and(|from| from.domain() != domain.domain()) {
        // XEP-0388 §2.1: nobody from elsewhere can prove here who he is.
        return Err(invalid_from());
    }
    let end_point = dialogue.wire.transport.server_end_point().map(<[u8]>::to_vec);
    let bindings = Bindings { exporter: dialogue.wire.transport.take_exporter().map(Exporter::new), end_point };
    let offer = Offer {
        confidentiality: Confidentiality::Tls,
        bindings,
        version: dialogue.wire.transport.tls().map(|tls| tls.version),
        plain: PlainPolicy::Offered,
        hashes: context.hashes(&domain),
        certified: certified(context, dialogue, &domain),
        tokens: if context.settings.load().token_lifetime.is_zero() { TokenPolicy::None } else { TokenPolicy::Issued },
    };
    let login = Login::new(domain.clone(), offer, context.decoy.clone()).from(from);
    let features = extended(context, dialogue, login.features(&context.inline_offers), Stage::Stranger);
    let version = ConfigVersion::of(&features);
    features.with(&version.feature()).write_to(dialogue.said());
    let mut login = login.called(version);
    let mut visits = Visits::default();
    loop {
        let element = match dialogue.event().await? {
            Event::Stanza(stanza) if !login.is_exclusive() => {
                let peer = dialogue.wire.transport.peer();
                let answer = Box::pin(visits.answer(context, &domain, peer, &stanza)).await?;
                answer.write(dialogue.said());
                continue;
            }
            event => not_a_stanza(event)?,
        };
        if !login.is_exclusive() && too_early(context, dialogue, &element) {
            continue;
        }
        let proved = carry_out(context, dialogue, &mut login, &element).await;
        // What it was made of is not needed any more.
        drop(element);
        wipe_stack();
        if let Some(proved) = proved? {
            return Ok((domain, proved));
        }
    }
}

/// The accounts at `domain` that the client's certificate names, if it has shown one and a trusted authority vouches for it
/// (RFC 6120 §13.7.2.2). Whether they exist is not looked at before the client asks to be one of them.
fn certified(context: &Context, dialogue: &mut Dialogue, domain: &BareJid) -> Vec<BareJid> {
    let chain = dialogue.wire.transport.peer_certificates();
    if chain.is_empty() {
        return Vec::new();
    }
    match vouched(&chain, real_time(), &context.tls.clients()) {
        Ok(vouched) => {
            dialogue.certificate_ends = Some(vouched.until);
            let mut accounts: Vec<BareJid> =
                vouched.addresses.iter().filter_map(|address| BareJid::parse(address).ok()).collect();
            accounts.retain(|account| account.domain() == domain.domain() && account.local().is_some());
            accounts.sort_unstable();
            accounts.dedup();
            accounts
        }
        Err(error) => {
            tracing::debug!(%error, "the certificate of a client proves nothing");
            Vec::new()
        }
    }
}

/// RFC 6120 §13.7.2.3: a stream does not last longer than the certificate that its client has shown. A session that the
/// client may come back to waits for it.
pub(super) fn end_with_certificate(end: SystemTime, ring: &Arc<Ring>) {
    let end = Instant::now() + end.duration_since(real_time()).unwrap_or_default();
    let ring = Arc::downgrade(ring);
    tokio::spawn(async move {
        while Instant::now() < end {
            // No timer reaches further than two years.
            sleep_until(end.min(Instant::now() + A_DAY)).await;
        }
        if let Some(ring) = ring.upgrade() {
            ring.cut(StreamError::new(StreamCondition::Reset, "the certificate of the client has ended"));
        }
    });
}

/// Certificates are valid in real time, whatever time is simulated.
fn real_time() -> SystemTime {
    let now = u64::try_from(Clock::system().now().unix_ms()).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_millis(now)).unwrap_or(UNIX_EPOCH)
}

/// Gives the login machine an element and does what it asks for; tells who it is once that is known.
pub(super) async fn carry_out(
    context: &Context,
    dialogue: &mut Dialogue,
    login: &mut Login,
    element: &Element,
) -> Result<Option<Proved>, End> {
    // What is logged is never what a stranger wrote.
    let mechanism = element.attribute("mechanism").and_then(Mechanism::parse).map_or("-", Mechanism::as_str);
    let mut effects = VecDeque::from(login.nonza(element));
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Send(element) => element.write(dialogue.said(), CLIENT_NS),
            Effect::LookUp(account) => {
                // Another thread may go on: what was read of the proof is overwritten by the one that has read it.
                wipe_stack();
                let found = look_up(context, account, login.can_upgrade()).await;
                let nonce = Nonce::new(random::nonce());
                effects.extend(login.looked_up(found, &nonce));
            }
            Effect::Verify(verification) => {
                // Hashing goes on a thread that serves nobody else, and strangers get only a few.
                let turn = Arc::clone(&context.comparisons).acquire_owned().await.map_err(|_| internal())?;
                let attempt = tokio::task::spawn_blocking(move || {
                    // It goes on when the stranger has been cut off, and so does its turn.
                    let _turn = turn;
                    verification.run()
                });
                let attempt = attempt.await.map_err(|_| internal())?;
                effects.extend(login.judged(context.judge(dialogue.wire.transport.peer(), &attempt)));
            }
            Effect::Judge(attempt) => {
                effects.extend(login.judged(context.judge(dialogue.wire.transport.peer(), &attempt)));
            }
            Effect::LookUpToken(account, agent) => {
                wipe_stack();
                let found = look_up_token(context, account, agent).await;
                effects.extend(login.token_found(found, &context.tokens, context.clock.now()));
            }
            Effect::Salt => effects.extend(login.salted(random::octets())),
            Effect::Keep(new) => {
                wipe_stack();
                let NewKeys { account, hash, keys, of } = *new;
                let kept = directory::add_keys(&context.storage, &account, (hash, &keys), &of).await;
                if let Err(error) = &kept {
                    tracing::error!(%error, "keys that a client has made could not be kept");
                }
                effects.extend(login.kept(&kept));
            }
            Effect::Success { user } => {
                nothing_may_follow(dialogue)?;
                return Ok(Some(Proved::User(user)));
            }
            Effect::Enter(entry) => {
                nothing_may_follow(dialogue)?;
                return Ok(Some(Proved::Entry(entry)));
            }
            Effect::Failure { condition, .. } => {
                authentication_failure(dialogue.wire.transport.peer(), mechanism, condition.as_str());
            }
            Effect::Close(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

async fn look_up(context: &Context, account: BareJid, with_later_keys: bool) -> Found {
    let found = if with_later_keys {
        context.storage.glance(move |view| directory::complete_credentials(view, &account)).await
    } else {
        context.router.credentials(&account).await
    };
    match found {
        Ok(Some((credentials, standing))) => Found::Account(Box::new(credentials), standing),
        Ok(None) => Found::Unknown,
        Err(error) => {
            tracing::error!(%error, "credentials could not be read");
            Found::Unavailable
        }
    }
}

async fn look_up_token(context: &Context, account: BareJid, agent: AgentId) -> FoundToken {
    let found = context.storage.look(move |look| tokens::found(look, Holder { account: &account, agent: &agent }));
    match found.await {
        Ok(Some((slots, standing))) => FoundToken::Client(slots, standing),
        Ok(None) => FoundToken::Unknown,
        Err(error) => {
            tracing::error!(%error, "tokens could not be read");
            FoundToken::Unavailable
        }
    }
}
