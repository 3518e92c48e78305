//! The login machine of a client stream (RFC 6120 section 6): from `<auth/>` to an authenticated user.
//!
//! Inputs are the client's nonzas and the answers to what the machine asked for; effects are returned in the order
//! in which they are to be carried out. It never reads storage, never derives a key from a password, and treats an
//! unknown user exactly as a wrong password.

use crate::accounts::credentials::{Credentials, Decoy, Password, Verdict};
use crate::accounts::sasl::plain::Plain;
use crate::accounts::sasl::scram::{Challenged, ClientFirst, Nonce};
use crate::accounts::sasl::{Mechanism, SaslCondition, SaslError};
use crate::jid::BareJid;
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

use super::features::{Confidentiality, Features, Offer};
use super::sasl_profile::{Request, challenge, success};

/// How many attempts may fail on one stream (RFC 6120 §6.4.5 asks for two to five retries).
pub const ATTEMPTS: u8 = 3;

/// What the caller has to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Write this element.
    Send(Element),
    /// Look the account up and call [`Login::looked_up`]; read nothing from the stream until then.
    LookUp(BareJid),
    /// Call [`Verification::run`] where it disturbs nobody, then [`Login::verified`]; read nothing until then.
    Verify(Verification),
    /// The client is `user`; it will restart the stream.
    Success { user: BareJid },
    /// An attempt has failed; the answer has been sent. For the log and for limits by address.
    Failure { condition: SaslCondition, left: u8 },
    /// Write the error and close the stream.
    Close(StreamError),
}

/// Whether an account may log in at all; told only to who has proved to be its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// RFC 6120 §6.5.2.
    Disabled,
    /// RFC 6120 §6.5.3.
    PasswordExpired,
}

/// The answer to [`Effect::LookUp`].
#[derive(Debug, Clone)]
pub enum Found {
    Account(Credentials, Standing),
    /// There is no such account.
    Unknown,
    /// The store does not answer (RFC 6120 §6.5.11).
    Unavailable,
}

/// A password to be compared with credentials: milliseconds of work.
#[derive(Debug)]
pub struct Verification {
    credentials: Credentials,
    password: Password,
}

impl Verification {
    /// Compares; to be run off the worker threads.
    #[must_use]
    pub fn run(&self) -> Verdict {
        self.credentials.verify(&self.password)
    }
}

/// A client stream until its user is known.
#[derive(Debug)]
pub struct Login {
    domain: BareJid,
    offer: Offer,
    decoy: Decoy,
    failures: u8,
    state: State,
}

/// What the machine waits for.
#[derive(Debug)]
enum State {
    /// `<auth/>`.
    Idle,
    /// The `<response/>` with the message that `<auth/>` did not bring.
    Initial(Mechanism),
    /// The answer to a look-up.
    Scram(Box<ClientFirst>),
    Plain(Box<Plain>),
    /// The `<response/>` to a challenge.
    Challenged(Box<Challenged>, BareJid, Standing),
    /// The outcome of a comparison.
    Verifying(BareJid, Standing),
    /// Nothing: the user is known, or the stream is being closed.
    Done,
}

impl Login {
    /// A stream to `domain` that makes `offer`; `decoy` answers for accounts that do not exist.
    #[must_use]
    pub const fn new(domain: BareJid, offer: Offer, decoy: Decoy) -> Self {
        Self { domain, offer, decoy, failures: 0, state: State::Idle }
    }

    /// What the stream offers.
    #[must_use]
    pub fn features(&self) -> Features {
        self.offer.features()
    }

    /// The client sends an element that is no stanza.
    pub fn nonza(&mut self, element: &Element) -> Vec<Effect> {
        let Some(request) = Request::parse(element) else {
            return self.close(StreamCondition::UnsupportedStanzaType, "authenticate first");
        };
        match (std::mem::replace(&mut self.state, State::Done), request) {
            (State::Done, _) => self.close(StreamCondition::PolicyViolation, "authentication is over"),
            // The caller reads nothing while it owes us an answer; if it does, the answer would be ambiguous.
            (State::Scram(_) | State::Plain(_) | State::Verifying(..), _) => {
                self.close(StreamCondition::PolicyViolation, "one request at a time")
            }
            (_, Err(error)) => self.fail(error),
            (_, Ok(Request::Abort)) => self.fail(SaslCondition::Aborted.into()),
            (State::Idle, Ok(Request::Auth { mechanism, initial })) => self.start(&mechanism, initial),
            (State::Initial(_) | State::Challenged(..), Ok(Request::Auth { mechanism, initial })) => {
                self.restart(&mechanism, initial)
            }
            (State::Idle, Ok(Request::Response(_))) => self.fail(SaslError::malformed("there is no handshake")),
            (State::Initial(mechanism), Ok(Request::Response(message))) => self.message(mechanism, &message),
            (State::Challenged(challenged, user, standing), Ok(Request::Response(message))) => {
                match challenged.finish(&message) {
                    Ok(last) => self.succeed(user, standing, Some(last.as_bytes())),
                    Err(error) => self.fail(error),
                }
            }
        }
    }

    /// The answer to [`Effect::LookUp`]; `nonce` is fresh. Ignored if nothing was asked.
    pub fn looked_up(&mut self, found: Found, nonce: &Nonce) -> Vec<Effect> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Scram(first) => {
                let account = first.account.clone();
                let Some((credentials, standing)) = self.credentials(found, &account) else {
                    return self.fail(SaslCondition::TemporaryAuthFailure.into());
                };
                let (message, challenged) = first.challenge(&credentials, nonce);
                self.state = State::Challenged(Box::new(challenged), account, standing);
                vec![Effect::Send(challenge(message.as_bytes()))]
            }
            State::Plain(plain) => {
                let Plain { account, password } = *plain;
                let Some((credentials, standing)) = self.credentials(found, &account) else {
                    return self.fail(SaslCondition::TemporaryAuthFailure.into());
                };
                self.state = State::Verifying(account, standing);
                vec![Effect::Verify(Verification { credentials, password })]
            }
            state => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// The outcome of [`Effect::Verify`]. Ignored if nothing was asked.
    pub fn verified(&mut self, verdict: Verdict) -> Vec<Effect> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Verifying(user, standing) => match verdict {
                Verdict::Right => self.succeed(user, standing, None),
                Verdict::Wrong => self.fail(SaslCondition::NotAuthorized.into()),
            },
            state => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// RFC 6120 §6.4.2: a new handshake replaces the one that is going on, which counts as an attempt.
    fn restart(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Vec<Effect> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= ATTEMPTS {
            return self.close(StreamCondition::PolicyViolation, "too many attempts to authenticate");
        }
        self.start(mechanism, initial)
    }

    fn start(&mut self, name: &str, initial: Option<Vec<u8>>) -> Vec<Effect> {
        match (self.choose(name), initial) {
            (Err(error), _) => self.fail(error),
            (Ok(mechanism), Some(message)) => self.message(mechanism, &message),
            (Ok(mechanism), None) => {
                self.state = State::Initial(mechanism);
                vec![Effect::Send(challenge(b""))]
            }
        }
    }

    fn choose(&self, name: &str) -> Result<Mechanism, SaslError> {
        if self.offer.confidentiality == Confidentiality::None {
            return Err(SaslCondition::EncryptionRequired.into());
        }
        let mechanism = Mechanism::parse(name).ok_or(SaslError::from(SaslCondition::InvalidMechanism))?;
        if self.offer.mechanisms().any(|offered| offered == mechanism) {
            return Ok(mechanism);
        }
        Err(match mechanism {
            // RFC 6120 §6.5.4: it is there, inside TLS.
            Mechanism::Plain if self.offer.confidentiality == Confidentiality::Waived => {
                SaslCondition::EncryptionRequired.into()
            }
            Mechanism::Plain => SaslCondition::MechanismTooWeak.into(),
            Mechanism::External | Mechanism::Scram(..) => SaslCondition::InvalidMechanism.into(),
        })
    }

    /// The client's first message of a mechanism.
    fn message(&mut self, mechanism: Mechanism, message: &[u8]) -> Vec<Effect> {
        let domain = self.domain.as_str();
        let read = match mechanism {
            Mechanism::Scram(hash, variant) => {
                ClientFirst::parse((hash, variant), &self.offer.bindings, domain, message)
                    .map(|first| (first.account.clone(), State::Scram(Box::new(first))))
            }
            Mechanism::Plain => {
                Plain::parse(message, domain).map(|plain| (plain.account.clone(), State::Plain(Box::new(plain))))
            }
            // Never offered to clients, so `choose` lets nobody get here.
            Mechanism::External => Err(SaslCondition::InvalidMechanism.into()),
        };
        match read {
            Ok((account, state)) => {
                self.state = state;
                vec![Effect::LookUp(account)]
            }
            Err(error) => self.fail(error),
        }
    }

    /// The credentials to go on with; those of a decoy are made in any case, so that both ways take equally long.
    fn credentials(&self, found: Found, account: &BareJid) -> Option<(Credentials, Standing)> {
        let decoy = self.decoy.credentials(account.as_str());
        match found {
            Found::Account(credentials, standing) => Some((credentials, standing)),
            Found::Unknown => Some((decoy, Standing::Active)),
            Found::Unavailable => None,
        }
    }

    fn succeed(&mut self, user: BareJid, standing: Standing, last: Option<&[u8]>) -> Vec<Effect> {
        match standing {
            Standing::Active => {
                self.state = State::Done;
                vec![Effect::Send(success(last)), Effect::Success { user }]
            }
            Standing::Disabled => self.fail(SaslCondition::AccountDisabled.into()),
            Standing::PasswordExpired => self.fail(SaslCondition::CredentialsExpired.into()),
        }
    }

    fn fail(&mut self, error: SaslError) -> Vec<Effect> {
        self.failures = self.failures.saturating_add(1);
        let left = ATTEMPTS.saturating_sub(self.failures);
        self.state = State::Idle;
        let mut effects = vec![Effect::Send(error.to_element()), Effect::Failure { condition: error.condition, left }];
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

#[cfg(test)]
mod tests;
