//! The login machine of a client stream: from `<auth/>` (RFC 6120 section 6) or `<authenticate/>` (XEP-0388) to an
//! authenticated user.
//!
//! Inputs are the client's nonzas and the answers to what the machine asked for; effects are returned in the order
//! in which they are to be carried out. It never reads storage, never derives a key from a password, and treats an
//! unknown user exactly as a wrong password.

use zeroize::Zeroizing;

use crate::accounts::attempts::{Attempt, Judgement};
use crate::accounts::clients::Means;
use crate::accounts::credentials::{Decoy, ScramHash, ScramKeys, Verdict};
use crate::accounts::directory::Standing;
use crate::accounts::sasl::channel_binding::BindingType;
use crate::accounts::sasl::downgrade::Shown;
use crate::accounts::sasl::external::authorize_client;
use crate::accounts::sasl::hashed_token::Presented;
use crate::accounts::sasl::plain::Plain;
use crate::accounts::sasl::scram::{Challenged, ClientFirst, Nonce};
use crate::accounts::sasl::{Mechanism, SaslCondition, SaslError};
use crate::accounts::tokens::{Accepted, AgentId, Holder, Slots, TokenKey};
use crate::clock::Timestamp;
use crate::hooks::InlineOffers;
use crate::jid::BareJid;
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

use super::features::{Confidentiality, Features, Offer};
use super::sasl_profile::{Profile, Request, success};
use super::wishes::Wishes;
use super::xep_0388_sasl2 as sasl2;
use super::xep_0509_pipelining::{self as pipelining, ConfigVersion};

mod effect;
mod task;

pub use effect::{Effect, Entry, Found, FoundToken, NewKeys, UsedToken, Verification};
use task::{Lacking, Task};

/// How many attempts may fail on one stream (RFC 6120 §6.4.5 asks for two to five retries).
pub const ATTEMPTS: u8 = 3;

/// How often a client may want a channel binding that does not fit, without that being an attempt: once by each mechanism
/// of SCRAM.
const MISFITS: u8 = 6;

/// The hash function by which passwords are compared.
const COMPARED: ScramHash = ScramHash::Sha256;

/// A client stream until its user is known.
#[derive(Debug)]
pub struct Login {
    domain: BareJid,
    /// Who the client has said that it is.
    from: Option<BareJid>,
    offer: Offer,
    decoy: Decoy,
    failures: u8,
    misfits: u8,
    /// The syntax of the last request.
    profile: Profile,
    /// What its client wants beside authentication.
    wishes: Wishes,
    /// What it can make that its account has not.
    lacking: Option<Lacking>,
    /// What it was offered, if it is told that as one text.
    version: Option<ConfigVersion>,
    /// It has shown a certificate in place of a password.
    certified: bool,
    /// How often it believed that it was offered something else.
    mismatches: u8,
    state: State,
}

/// What the machine waits for.
#[derive(Debug)]
enum State {
    /// `<auth/>` or `<authenticate/>`.
    Idle,
    /// The `<response/>` with the message that was not there at the beginning.
    Initial(Mechanism),
    /// The answer to a look-up.
    Scram(Box<ClientFirst>),
    Plain(Box<Plain>),
    Token(Mechanism, Box<Presented>, AgentId),
    /// The same, of somebody whose certificate has proved who he is.
    Certified(BareJid),
    /// What belongs to a task, or the answer to a question about it.
    Task(Box<Task>),
    /// The `<response/>` to a challenge.
    Challenged(Box<Challenged>, BareJid, Standing),
    /// The judgement on it.
    Judged(Box<Proved>),
    /// Nothing: the user is known, a task has failed, or the stream is being closed.
    Done,
}

/// What a client has gone through, and what is left to be said about it.
#[derive(Debug)]
struct Proved {
    user: BareJid,
    standing: Standing,
    /// What the mechanism has to say at the end.
    last: Option<Vec<u8>>,
    /// What it has to say if the proof is wrong.
    wrong: SaslError,
}

impl Login {
    /// A stream to `domain` that makes `offer`; `decoy` answers for accounts that do not exist.
    #[must_use]
    pub fn new(domain: BareJid, offer: Offer, decoy: Decoy) -> Self {
        let (profile, wishes) = (Profile::Rfc6120, Wishes::default());
        Self {
            domain,
            from: None,
            offer,
            decoy,
            failures: 0,
            misfits: 0,
            profile,
            wishes,
            lacking: None,
            version: None,
            certified: false,
            mismatches: 0,
            state: State::Idle,
        }
    }

    /// The client has said at the beginning of the stream that it is `from`. By SASL2 it cannot become anybody else; by the
    /// older profile it says so once more (RFC 6120 §4.7.1).
    #[must_use]
    pub fn from(self, from: Option<BareJid>) -> Self {
        Self { from, ..self }
    }

    /// The client was told that what it is offered is called `version` (XEP-0509).
    #[must_use]
    pub fn called(self, version: ConfigVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Whether the client can make keys that its account may lack: those that were made later have to be looked up, too.
    #[must_use]
    pub fn can_upgrade(&self) -> bool {
        !self.wishes.upgrades.is_empty()
    }

    /// What the stream offers; `inline` is what may be asked for together with authentication.
    #[must_use]
    pub fn features(&self, inline: &InlineOffers) -> Features {
        self.offer.features(inline)
    }

    /// Whether the client may send nothing but an answer or an abort (XEP-0388 §2.4).
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        matches!(
            (self.profile, &self.state),
            (Profile::Sasl2, State::Initial(_) | State::Challenged(..) | State::Task(_))
        )
    }

    /// The client sends an element that is no stanza.
    pub fn nonza(&mut self, element: &Element) -> Vec<Effect> {
        if let Some(effects) = self.go_on(element) {
            return effects;
        }
        let older = Request::parse(element).map(|request| (Profile::Rfc6120, request));
        let Some((profile, request)) = older.or_else(|| Some((Profile::Sasl2, sasl2::parse(element)?))) else {
            return self.close(StreamCondition::UnsupportedStanzaType, "authenticate first");
        };
        let state = std::mem::replace(&mut self.state, State::Done);
        let handshake = match state {
            State::Initial(_) | State::Challenged(..) | State::Task(_) => {
                Some(std::mem::replace(&mut self.profile, profile))
            }
            State::Idle
            | State::Scram(_)
            | State::Plain(_)
            | State::Token(..)
            | State::Certified(_)
            | State::Judged(_)
            | State::Done => {
                self.profile = profile;
                None
            }
        };
        let fits = handshake == Some(profile);
        match (state, request) {
            (State::Done, _) => self.close(StreamCondition::PolicyViolation, "authentication is over"),
            // The caller reads nothing while it owes us an answer; if it does, the answer would be ambiguous.
            (State::Scram(_) | State::Plain(_) | State::Token(..) | State::Certified(_) | State::Judged(_), _) => {
                self.close(StreamCondition::PolicyViolation, "one request at a time")
            }
            // XEP-0388 §2.4: whoever has begun with SASL2 sends nothing but answers until it is over.
            (state, _) if handshake == Some(Profile::Sasl2) && !(fits && state.awaits(element)) => {
                self.close(StreamCondition::PolicyViolation, "answer, or abort")
            }
            (_, Err(error)) => self.fail(error),
            (State::Task(_), Ok(Request::Abort)) => self.give_up(SaslCondition::Aborted.into()),
            (_, Ok(Request::Abort)) => self.fail(SaslCondition::Aborted.into()),
            (state, Ok(Request::Auth { mechanism, initial })) => {
                self.wishes = match profile {
                    Profile::Rfc6120 => Wishes::default(),
                    Profile::Sasl2 => match Wishes::of(element) {
                        Ok(wishes) => wishes,
                        Err(error) => return self.fail(error),
                    },
                };
                (self.lacking, self.certified) = (None, false);
                if let (Some(told), Some(version)) = (&self.wishes.version, &self.version)
                    && !version.is(told)
                {
                    return self.mismatched();
                }
                match state {
                    State::Idle => self.start(&mechanism, initial),
                    _ => self.restart(&mechanism, initial),
                }
            }
            (State::Initial(mechanism), Ok(Request::Response(message))) if fits => self.message(mechanism, &message),
            (State::Challenged(challenged, user, standing), Ok(Request::Response(message))) if fits => {
                match challenged.finish(&message) {
                    Ok(last) => self.judge(Verdict::Right, Proved::new(user, standing, Some(last.into_bytes()))),
                    Err(wrong) if wrong.condition == SaslCondition::NotAuthorized => {
                        self.judge(Verdict::Wrong, Proved { wrong, ..Proved::new(user, standing, None) })
                    }
                    Err(error) => self.fail(error),
                }
            }
            (State::Idle | State::Initial(_) | State::Challenged(..) | State::Task(_), Ok(Request::Response(_))) => {
                self.fail(SaslError::malformed("there is no handshake"))
            }
        }
    }

    /// The answer to [`Effect::LookUp`]; `nonce` is fresh. Ignored if nothing was asked.
    pub fn looked_up(&mut self, found: Found, nonce: &Nonce) -> Vec<Effect> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Scram(first) => {
                let (account, hash) = (first.account.clone(), first.hash());
                let Some((keys, standing)) = self.keys(found, &account, hash) else {
                    return self.fail(SaslCondition::TemporaryAuthFailure.into());
                };
                let (message, challenged) = first.challenge(&keys, nonce, &self.shown().attributes(hash));
                self.state = State::Challenged(Box::new(challenged), account, standing);
                vec![Effect::Send(self.profile.challenge(message.as_bytes()))]
            }
            State::Plain(plain) => {
                let Plain { account, password } = *plain;
                let Some((keys, standing)) = self.keys(found, &account, COMPARED) else {
                    return self.fail(SaslCondition::TemporaryAuthFailure.into());
                };
                let agent = self.wishes.agent.clone();
                let verification = Verification { account: account.clone(), agent, stored: keys, password };
                self.state = State::Judged(Box::new(Proved::new(account, standing, None)));
                vec![Effect::Verify(verification)]
            }
            State::Certified(account) => match found {
                Found::Account(_, standing) => {
                    self.certified = true;
                    self.succeed(account, standing, None, None)
                }
                Found::Unknown => self.fail(SaslCondition::NotAuthorized.into()),
                Found::Unavailable => self.fail(SaslCondition::TemporaryAuthFailure.into()),
            },
            state => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// The answer to [`Effect::LookUpToken`] at the time `now`. Ignored if nothing was asked.
    pub fn token_found(&mut self, found: FoundToken, key: &TokenKey, now: Timestamp) -> Vec<Effect> {
        let (mechanism, presented, agent) = match std::mem::replace(&mut self.state, State::Done) {
            State::Token(mechanism, presented, agent) => (mechanism, presented, agent),
            state => {
                self.state = state;
                return Vec::new();
            }
        };
        let (slots, standing) = match found {
            FoundToken::Client(slots, standing) => (slots, standing),
            FoundToken::Unknown => (Slots::default(), Standing::Active),
            FoundToken::Unavailable => return self.fail(SaslCondition::TemporaryAuthFailure.into()),
        };
        let holder = Holder { account: &presented.account, agent: &agent };
        match slots.accept(key, holder, (mechanism, &presented), now) {
            Ok(Accepted { answer, slots, changed, due }) => {
                let used = UsedToken { mechanism, slots, changed, due };
                self.succeed(presented.account, standing, Some(answer), Some(used))
            }
            Err(condition) => self.fail(condition.into()),
        }
    }

    /// The answer to [`Effect::Judge`]. Ignored if nothing was asked.
    pub fn judged(&mut self, judgement: Judgement) -> Vec<Effect> {
        match (std::mem::replace(&mut self.state, State::Done), judgement) {
            (State::Judged(proved), Judgement::Admitted) => {
                let Proved { user, standing, last, .. } = *proved;
                self.succeed(user, standing, last, None)
            }
            (State::Judged(proved), Judgement::Wrong) => self.fail(proved.wrong),
            (State::Judged(_), Judgement::TooMany) => {
                let text = "too many attempts have failed, try again later";
                self.fail(SaslError::new(SaslCondition::TemporaryAuthFailure, text))
            }
            (state, _) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// Has somebody judge what has come of an attempt.
    fn judge(&mut self, verdict: Verdict, proved: Proved) -> Vec<Effect> {
        let attempt = Attempt { account: proved.user.clone(), agent: self.wishes.agent.clone(), verdict };
        self.state = State::Judged(Box::new(proved));
        vec![Effect::Judge(attempt)]
    }

    /// RFC 6120 §6.4.2: a new handshake replaces the one that is going on, which counts as an attempt.
    fn restart(&mut self, mechanism: &str, initial: Option<Zeroizing<Vec<u8>>>) -> Vec<Effect> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= ATTEMPTS {
            return self.close(StreamCondition::PolicyViolation, "too many attempts to authenticate");
        }
        self.start(mechanism, initial)
    }

    fn start(&mut self, name: &str, initial: Option<Zeroizing<Vec<u8>>>) -> Vec<Effect> {
        match (self.choose(name), initial) {
            (Err(error), _) => self.fail(error),
            (Ok(mechanism), Some(message)) => self.message(mechanism, &message),
            (Ok(mechanism), None) => {
                self.state = State::Initial(mechanism);
                vec![Effect::Send(self.profile.challenge(b""))]
            }
        }
    }

    fn choose(&self, name: &str) -> Result<Mechanism, SaslError> {
        // XEP-0388 §3: where TLS is waived it is so for the older profile only.
        let secured = self.offer.confidentiality == Confidentiality::Tls;
        if self.offer.confidentiality == Confidentiality::None || (self.profile == Profile::Sasl2 && !secured) {
            return Err(SaslCondition::EncryptionRequired.into());
        }
        let mechanism = Mechanism::parse(name).ok_or(SaslError::from(SaslCondition::InvalidMechanism))?;
        let with_token = self.profile == Profile::Sasl2 && self.offer.with_token().any(|offered| offered == mechanism);
        if with_token || self.offer.mechanisms().any(|offered| offered == mechanism) {
            return Ok(mechanism);
        }
        Err(match mechanism {
            // RFC 6120 §6.5.4: it is there, inside TLS.
            Mechanism::Plain if self.offer.confidentiality == Confidentiality::Waived => {
                SaslCondition::EncryptionRequired.into()
            }
            Mechanism::Plain => SaslCondition::MechanismTooWeak.into(),
            Mechanism::External | Mechanism::Scram(..) | Mechanism::HashedToken(_) => {
                SaslCondition::InvalidMechanism.into()
            }
        })
    }

    /// The client's first message of a mechanism.
    fn message(&mut self, mechanism: Mechanism, message: &[u8]) -> Vec<Effect> {
        let (domain, bindings) = (self.domain.as_str(), &self.offer.bindings);
        let read = match mechanism {
            Mechanism::Scram(hash, variant) => ClientFirst::parse((hash, variant), bindings, domain, message)
                .map(|first| (first.account.clone(), State::Scram(Box::new(first)))),
            Mechanism::Plain => {
                Plain::parse(message, domain).map(|plain| (plain.account.clone(), State::Plain(Box::new(plain))))
            }
            Mechanism::HashedToken(binding) => self.agent().and_then(|agent| {
                let presented = Presented::parse(binding, bindings, domain, message)?;
                Ok((presented.account.clone(), State::Token(mechanism, Box::new(presented), agent)))
            }),
            Mechanism::External => authorize_client(message, &self.offer.certified, self.from.as_ref())
                .map(|account| (account.clone(), State::Certified(account))),
        };
        match read {
            // XEP-0388 §2.3: there is no new stream whose header could tell the truth.
            Ok((account, _))
                if self.profile == Profile::Sasl2 && self.from.as_ref().is_some_and(|from| *from != account) =>
            {
                let text = "this is not who the stream is from";
                self.fail(SaslError::new(SaslCondition::InvalidAuthzid, text))
            }
            Ok((account, state)) => {
                let effect = match &state {
                    State::Token(_, _, agent) => Effect::LookUpToken(account, agent.clone()),
                    _ => Effect::LookUp(account),
                };
                self.state = state;
                vec![effect]
            }
            Err(error) => self.fail(error),
        }
    }

    /// XEP-0484 §3.4, §4.1: who uses a token says so, and which client it is.
    fn agent(&self) -> Result<AgentId, SaslError> {
        match (&self.wishes.token, &self.wishes.agent) {
            (Some(_), Some(agent)) => Ok(agent.clone()),
            (None, _) => Err(SaslError::malformed("who uses a token says so")),
            (_, None) => Err(SaslError::malformed("who uses a token says which client it is")),
        }
    }

    /// What the client was shown, in the profile that it uses (XEP-0474 §6.1).
    fn shown(&self) -> Shown<'_> {
        Shown {
            mechanisms: self.offer.mechanisms().map(Mechanism::as_str).collect(),
            bindings: self.offer.bindings.types().map(BindingType::as_str).collect(),
            tls: self.offer.version,
        }
    }

    /// The keys to go on with; those of a decoy are made in any case, so that both ways take equally long.
    fn keys(&mut self, found: Found, account: &BareJid, hash: ScramHash) -> Option<(ScramKeys, Standing)> {
        let decoy = self.decoy.keys(hash, account.as_str());
        if let Found::Account(credentials, _) = &found
            && self.can_upgrade()
        {
            self.note_lacking(credentials);
        }
        match found {
            // What somebody has no keys for is not offered: if he has lost them since, nobody fits.
            Found::Account(credentials, standing) => Some((credentials.into_keys(hash).unwrap_or(decoy), standing)),
            Found::Unknown => Some((decoy, Standing::Active)),
            Found::Unavailable => None,
        }
    }

    fn succeed(
        &mut self,
        user: BareJid,
        standing: Standing,
        last: Option<Vec<u8>>,
        used: Option<UsedToken>,
    ) -> Vec<Effect> {
        match (standing, self.profile) {
            (Standing::Disabled, _) => self.fail(SaslCondition::AccountDisabled.into()),
            (Standing::Active, Profile::Rfc6120) => {
                self.state = State::Done;
                vec![Effect::Send(success(last.as_deref())), Effect::Success { user }]
            }
            (Standing::Active, Profile::Sasl2) => match self.lacking.take() {
                Some(lacking) => self.assign(user, lacking, last.as_deref()),
                None => self.enter(user, last, used),
            },
        }
    }

    fn enter(&mut self, user: BareJid, last: Option<Vec<u8>>, used: Option<UsedToken>) -> Vec<Effect> {
        self.state = State::Done;
        let mut wishes = std::mem::take(&mut self.wishes);
        wishes.new_token = wishes.new_token.filter(|wanted| self.offer.with_token().any(|offered| offered == *wanted));
        let means = match used {
            Some(_) => Means::Token,
            None if self.certified => Means::Certificate,
            None => Means::Password,
        };
        vec![Effect::Enter(Box::new(Entry { user, wishes, means, used, last }))]
    }

    /// XEP-0509 §2.2: the client meant another offer, so that this was no attempt; it has seen meanwhile what is offered.
    fn mismatched(&mut self) -> Vec<Effect> {
        self.mismatches = self.mismatches.saturating_add(1);
        if self.mismatches >= ATTEMPTS {
            return self.close(StreamCondition::PolicyViolation, "read what is offered before you ask for it");
        }
        self.state = State::Idle;
        let failure = sasl2::failure(SaslCondition::Aborted.into()).with_child(pipelining::mismatch());
        vec![Effect::Send(failure)]
    }

    fn fail(&mut self, error: SaslError) -> Vec<Effect> {
        // Older clients know no channel binding but `tls-unique`, and try every mechanism that they know with it before
        // they do without. None of this guesses at a password.
        if error.is_misfit && self.misfits < MISFITS {
            self.misfits = self.misfits.saturating_add(1);
            self.state = State::Idle;
            return vec![Effect::Send(self.profile.failure(error))];
        }
        self.failures = self.failures.saturating_add(1);
        let left = ATTEMPTS.saturating_sub(self.failures);
        self.state = State::Idle;
        let mut effects =
            vec![Effect::Send(self.profile.failure(error)), Effect::Failure { condition: error.condition, left }];
        if left == 0 {
            effects.extend(self.close(StreamCondition::PolicyViolation, "too many attempts to authenticate"));
        }
        effects
    }

    fn close(&mut self, condition: StreamCondition, text: &str) -> Vec<Effect> {
        self.state = State::Done;
        vec![Effect::Close(StreamError::new(condition, text))]
    }
}

impl State {
    /// Whether an element of SASL2 belongs here, well-formed or not (XEP-0388 §2.4, §4.5).
    fn awaits(&self, element: &Element) -> bool {
        match element.name() {
            "abort" => true,
            "response" => matches!(self, Self::Initial(_) | Self::Challenged(..)),
            _ => false,
        }
    }
}

impl Proved {
    fn new(user: BareJid, standing: Standing, last: Option<Vec<u8>>) -> Self {
        Self { user, standing, last, wrong: SaslCondition::NotAuthorized.into() }
    }
}

#[cfg(test)]
mod tests;
