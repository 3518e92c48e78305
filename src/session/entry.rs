//! What a client asks for together with its authentication (XEP-0388): a token for the next time, the session that it had
//! before, or a new one.

use zeroize::Zeroizing;

use crate::accounts::clients;
use crate::accounts::tokens::{self, Holder, Slots};
use crate::accounts::traces::wipe_stack;
use crate::hooks::{Acknowledgement, Said};
use crate::negotiation::bind;
use crate::negotiation::features::Features;
use crate::negotiation::login::Entry;
use crate::negotiation::xep_0386_bind2 as bind2;
use crate::negotiation::xep_0484_fast as fast;
use crate::random;
use crate::routing::Retention;
use crate::stanza::{Condition, StanzaError};
use crate::stream::{StreamCondition, StreamError};

use super::context::Context;
use super::dialogue::Dialogue;
use super::handshake::{Opened, Stage, internal, say_features, shutdown};
use super::inbound::{Inbound, agreed};
use super::resumption::{Outcome, Previous, resume};
use super::wire::End;

/// Does what the client wants, and says that it has authenticated; `None` if it has no session then.
pub(super) async fn enter(context: &Context, dialogue: &mut Dialogue, entry: &Entry) -> Result<Option<Opened>, End> {
    let token = token(context, entry).await?;
    note(context, entry).await?;
    let mut results = String::new();
    // XEP-0386 §3.2: if this succeeds, nothing is bound.
    match previous(context, entry).await? {
        Some(Outcome::Resumed(resumed)) => {
            let jid = resumed.jid().map_or_else(|| entry.user.as_str(), |jid| jid.as_str());
            let results = Zeroizing::new([resumed.answer.as_str(), token.as_str()].concat());
            dialogue.say(&Zeroizing::new(entry.success(jid, &results)));
            // XEP-0198 §9.2: no features follow.
            return resumed.begin(dialogue).await;
        }
        Some(Outcome::Failed(answer)) => results.push_str(&answer),
        None => {}
    }
    let Some(wish) = &entry.wishes.bind else {
        let results = Zeroizing::new([results.as_str(), token.as_str()].concat());
        dialogue.say(&Zeroizing::new(entry.success(entry.user.as_str(), &results)));
        return Ok(None);
    };
    let (opened, bound) = begin(context, entry, wish).await?;
    let results = Zeroizing::new([results.as_str(), bind2::bound(&bound).as_str(), token.as_str()].concat());
    dialogue.say(&Zeroizing::new(entry.success(opened.binding.jid.as_str(), &results)));
    say_features(context, dialogue, Features::bound(), Stage::Bound);
    // If this fails, the session that begins finds its transport gone and gives the resource back.
    let _ = dialogue.flush().await;
    Ok(Some(opened))
}

/// Notes that this client has access, for its owner to see (XEP-0494).
async fn note(context: &Context, entry: &Entry) -> Result<(), End> {
    let Some(agent) = &entry.wishes.agent else { return Ok(()) };
    let retention = context.settings.load().client_retention;
    if retention.is_zero() {
        return Ok(());
    }
    let holder = Holder { account: &entry.user, agent };
    let noted =
        clients::note(&context.storage, holder, (&entry.wishes.names, entry.means), (context.clock.now(), retention));
    noted.await.map_err(|error| unkept(&error))?;
    context.router.note_client(&entry.user, agent);
    Ok(())
}

/// The session that the client had before, if it asks for one.
async fn previous(context: &Context, entry: &Entry) -> Result<Option<Outcome>, End> {
    let Some(words) = context.router.acknowledgement() else { return Ok(None) };
    let said = entry.wishes.others.iter().find_map(|element| words.read(element));
    Ok(Some(match said {
        Some(Ok(Said::Resume { previous, handled })) => {
            resume(context, (&entry.user, Previous { name: previous, handled }), words).await?
        }
        Some(Err(error)) => Outcome::Failed(words.failed(error.condition, None)),
        // The others mean nothing without a session.
        Some(Ok(_)) | None => return Ok(None),
    }))
}

/// Begins a session, and says what it begins with.
async fn begin(context: &Context, entry: &Entry, wish: &bind2::Wish) -> Result<(Opened, String), End> {
    let router = &context.router;
    let generated = match &entry.wishes.agent {
        Some(agent) => context.tokens.resource(Holder { account: &entry.user, agent }),
        None => bind::generated(random::nonce()),
    };
    let its = |resource: &str| entry.wishes.agent.is_some() && bind2::is_of(resource, &generated);
    let (counting, enabled) = counting(context, wish);
    let inbound = counting.as_ref().map(|it| Box::new(Inbound::new(0, it.resumption.is_some())));
    let mut batch = router.batch();
    let bound = router.bind_in_place(&entry.user, &wish.resource(&generated), (its, counting), &mut batch).await;
    let binding = bound.map_err(|refused| if router.is_stopping() { shutdown() } else { no_session(&refused.0) })?;
    if let Some(agent) = &entry.wishes.agent {
        binding.belongs_to(agent);
    }
    binding.remember(&mut batch);
    let mut results = String::new();
    if let Some(inline) = router.inline() {
        if let Some(holds) = inline.archive(&entry.user).await {
            binding.leave_to_archive(&mut batch).await;
            holds.write(&mut results, "");
        }
        let begun = wish.features.iter().filter_map(|request| inline.begin(&binding.jid, request));
        begun.for_each(|element| element.write(&mut results, ""));
    }
    results.push_str(&enabled);
    batch.finish();
    Ok((Opened { binding, inbound }, results))
}

/// Whether the stanzas of the session are counted from the first on, and what the client is told about that (XEP-0198 §9.1).
fn counting(context: &Context, wish: &bind2::Wish) -> (Option<Retention>, String) {
    let said = |words: &dyn Acknowledgement| wish.features.iter().find_map(|request| words.read(request));
    let Some((words, said)) = context.router.acknowledgement().and_then(|words| Some((words, said(words)?))) else {
        return (None, String::new());
    };
    match said {
        Ok(Said::Enable(wish)) => {
            let mut retention = agreed(&context.router, words, wish);
            // It goes out with the rest.
            let opening = std::mem::take(&mut retention.opening);
            (Some(retention), opening)
        }
        Ok(_) => (None, words.failed(Condition::UnexpectedRequest, None)),
        Err(error) => (None, words.failed(error.condition, None)),
    }
}

/// There is no word for this in the answer that was asked for.
fn no_session(error: &StanzaError) -> End {
    let condition = match error.condition {
        Condition::ResourceConstraint => StreamCondition::ResourceConstraint,
        Condition::InternalServerError => StreamCondition::InternalServerError,
        _ => StreamCondition::NotAuthorized,
    };
    StreamError::new(condition, "no session can begin").into()
}

/// Keeps what has become of the token with which the client has authenticated, and gives it another one where that is wanted
/// or due (XEP-0484 §3.3, §3.5, §3.6).
async fn token(context: &Context, entry: &Entry) -> Result<Zeroizing<String>, End> {
    let Some(agent) = &entry.wishes.agent else { return Ok(Zeroizing::default()) };
    let holder = Holder { account: &entry.user, agent };
    let used = entry.used.as_ref();
    let is_last = used.is_some() && entry.wishes.token.is_some_and(|token| token.invalidate);
    let due = used.filter(|used| used.due && !is_last).map(|used| used.mechanism);
    let wanted = entry.wishes.new_token.or(due);
    let (mut slots, mut changed) = match used {
        Some(_) if is_last => (Slots::default(), true),
        Some(used) => (used.slots.clone(), used.changed),
        None if wanted.is_none() => return Ok(Zeroizing::default()),
        None => (known(context, holder).await?, false),
    };
    let now = context.clock.now();
    let mut told = Zeroizing::default();
    if let Some(mechanism) = wanted {
        let nonce = random::octets();
        let lifetime = context.settings.load().token_lifetime;
        let issued = slots.issue(&context.tokens, holder, mechanism, (now, lifetime), nonce);
        told = fast::token(&issued);
        // Another thread may go on from here.
        wipe_stack();
        changed = true;
    }
    if changed {
        tokens::keep(&context.storage, holder, &slots, now).await.map_err(|error| unkept(&error))?;
    }
    Ok(told)
}

/// The tokens that a client has which has used none.
async fn known(context: &Context, holder: Holder<'_>) -> Result<Slots, End> {
    let (account, agent) = (holder.account.clone(), holder.agent.clone());
    let found =
        context.storage.look(move |look| tokens::found(look, Holder { account: &account, agent: &agent })).await;
    Ok(found.map_err(|error| unkept(&error))?.map(|(slots, _)| slots).unwrap_or_default())
}

fn unkept(error: &crate::storage::Error) -> End {
    tracing::error!(%error, "what is known of a client could not be read or kept");
    internal()
}
