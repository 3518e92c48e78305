//! What is said about acknowledgement on a stream that another server opened (XEP-0198): it asks, and we answer as soon as
//! storage has what its stanzas caused.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{End, Reception};
use crate::federation::counting::Counted;
use crate::federation::inbound::Inbound;
use crate::hooks::{Said, TooHigh};
use crate::routing::modulo;
use crate::stanza::{Condition, StanzaError};
use crate::storage::Durable;
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

/// How long an answer may wait for storage; then it says how far storage has come.
const PATIENCE: Duration = Duration::from_millis(250);

/// An answer to a peer that storage is not ready for.
pub(super) struct Wait {
    durable: Durable,
    /// When to say how far it has come; `None` once that was done.
    until: Option<Instant>,
}

impl Reception {
    /// What an element says about acknowledgement, if anything.
    pub(super) fn said(&self, element: &Element) -> Option<Result<Said, StanzaError>> {
        self.federation.inbound()?.acknowledgement()?.read(element)
    }

    /// The peer says something about acknowledgement; no stanza ever goes to it on this stream.
    pub(super) async fn hear(&mut self, said: Result<Said, StanzaError>) -> Result<(), End> {
        let Some(inbound) = self.federation.inbound() else { return Ok(()) };
        let Some(words) = inbound.acknowledgement() else { return Ok(()) };
        let pair = self.rules.proven().first().map(|proven| proven.pair.clone());
        let answer = match (said, pair, &mut self.counted) {
            // On a stream that goes both ways both sides would have to count.
            (Ok(Said::Enable(_) | Said::Resume { .. }), ..) if self.rules.is_bidirectional() => {
                words.failed(Condition::FeatureNotImplemented, None)
            }
            (Ok(Said::Enable(wish)), Some(pair), None) => {
                let (counted, name) = self.federation.count(&pair, wish).await;
                self.counted = Some(counted);
                words.enabled(name.as_ref().map(|(name, time)| (&**name, *time)))
            }
            (Ok(Said::Enable(_)), _, Some(_)) => {
                let text = "acknowledgement is enabled already";
                return Err(StreamError::new(StreamCondition::PolicyViolation, text).into());
            }
            (Ok(Said::Resume { previous, .. }), Some(_), None) => {
                let pairs = self.rules.proven().iter().map(|proven| &proven.pair);
                match self.federation.take_over(pairs, &previous).await {
                    Some(counted) => {
                        let count = counted.counting.count();
                        let durable = self.federation.ways().storage.durable(counted.counting.latest());
                        self.counted = Some(counted);
                        durable.await.map_err(|lost| End::Lost(lost.to_string()))?;
                        words.resumed(&previous, modulo(count))
                    }
                    None => words.failed(Condition::ItemNotFound, None),
                }
            }
            (Ok(Said::Request), _, Some(counted)) => {
                counted.counting.ask();
                return self.answer().await;
            }
            (Ok(Said::Handled(0)), _, Some(_)) => return Ok(()),
            (Ok(Said::Handled(handled)), _, Some(_)) => {
                return Err(words.too_high(TooHigh { handled, sent: 0 }).into());
            }
            (Ok(_), ..) => words.failed(Condition::UnexpectedRequest, None),
            (Err(error), ..) => words.failed(error.condition, None),
        };
        self.say(&answer).await
    }

    /// Tells the peer how many of its stanzas are in safe hands, if it has asked and as soon as that is known.
    pub(super) async fn answer(&mut self) -> Result<(), End> {
        let storage = &self.federation.ways().storage;
        let Some(Counted { counting, .. }) = &mut self.counted else { return Ok(()) };
        if let Some(count) = counting.answer(|receipt| storage.is_durable(receipt)) {
            self.wait = None;
            return self.tell(count).await;
        }
        if counting.is_asked() && self.wait.is_none() {
            let durable = storage.durable(counting.latest());
            self.wait = Some(Wait { durable, until: Some(Instant::now() + PATIENCE) });
        }
        Ok(())
    }

    pub(super) async fn answer_so_far(&mut self) -> Result<(), End> {
        if let Some(wait) = &mut self.wait {
            wait.until = None;
        }
        let storage = &self.federation.ways().storage;
        let Some(Counted { counting, .. }) = &mut self.counted else { return Ok(()) };
        let count = counting.reached(|receipt| storage.is_durable(receipt));
        self.tell(count).await
    }

    async fn tell(&mut self, count: u64) -> Result<(), End> {
        let Some(inbound) = self.federation.inbound() else { return Ok(()) };
        let Some(words) = inbound.acknowledgement() else { return Ok(()) };
        let answer = words.handled(modulo(count));
        self.say(&answer).await
    }

    /// The peer has closed the stream: it hears once more how many of its stanzas are in safe hands (XEP-0198 §4), and
    /// there is nothing to resume.
    pub(super) async fn last_answer(&mut self) -> String {
        let Some(counted) = self.counted.take() else { return String::new() };
        let count = counted.counting.count();
        let durable = self.federation.ways().storage.durable(counted.counting.latest()).await;
        counted.close();
        let inbound = self.federation.inbound().filter(|_| durable.is_ok());
        let words = inbound.as_deref().and_then(Inbound::acknowledgement);
        words.map(|words| words.handled(modulo(count))).unwrap_or_default()
    }
}

/// Resolves when storage is ready for an answer (`true`), or when it has taken long enough.
pub(super) async fn answerable(wait: &mut Option<Wait>) -> bool {
    let Some(wait) = wait else { return std::future::pending().await };
    let late = async {
        match wait.until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        durable = &mut wait.durable => match durable {
            Ok(()) => true,
            // Storage has failed, and with it the server: nothing is promised any more.
            Err(_) => std::future::pending().await,
        },
        () = late => false,
    }
}
