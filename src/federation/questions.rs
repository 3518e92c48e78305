//! Questions of another server to ours on a stream that goes both ways (XEP-0288), where nothing is counted: whoever wants to
//! know what has arrived asks something behind it (XEP-0199), and takes any answer for a promise. So a question is put when
//! storage has everything that came in front of it.
//!
//! It must never know what is asked, or what came in front of it.

use std::collections::VecDeque;
use std::future::pending;

use crate::federation::Federation;
use crate::federation::inbound::Told;
use crate::jid::Jid;
use crate::routing::Pair;
use crate::stanza::{IqType, Kind, Stanza};
use crate::storage::{Durable, Receipt, Storage};
use crate::stream::StreamError;

/// While so many wait nothing more is read. A server needs one at a time.
const MANY: usize = 8;

/// Those that wait on one stream.
#[derive(Default)]
pub(crate) struct Questions {
    /// Everything that has come on the stream is in safe hands once this is durable.
    latest: Receipt,
    /// In order, each with what it waits for.
    waiting: VecDeque<(Receipt, Box<Question>)>,
    /// What the first of them waits for, once somebody looks.
    durable: Option<Durable>,
}

/// A request of one domain to the other.
pub(crate) struct Question {
    pair: Pair,
    stanza: Stanza<'static>,
}

impl Question {
    /// Whether an answer to a stanza of `pair` would say something of those before it: people ask for other reasons.
    pub(crate) fn is_meant(pair: &Pair, stanza: &Stanza<'_>) -> bool {
        matches!(stanza.kind, Kind::Iq(IqType::Get | IqType::Set)) && is_between_domains(pair, stanza)
    }

    pub(crate) fn new(pair: &Pair, stanza: Stanza<'_>) -> Box<Self> {
        Box::new(Self { pair: pair.clone(), stanza: stanza.into_owned() })
    }
}

/// Whether a stanza that has come for `pair` is from one domain itself to the other one.
pub(crate) fn is_between_domains(pair: &Pair, stanza: &Stanza<'_>) -> bool {
    let is_domain = |jid: &Option<Jid>, domain: &str| jid.as_ref().is_some_and(|jid| jid.as_str() == domain);
    is_domain(&stanza.from, &pair.remote) && is_domain(&stanza.to, &pair.local)
}

impl Questions {
    /// Stanzas have come that are in safe hands once `receipt` is durable.
    pub(crate) fn cover(&mut self, receipt: Receipt) {
        self.latest = self.latest.max(receipt);
    }

    /// This has been asked behind them.
    pub(crate) fn wait(&mut self, question: Box<Question>) {
        self.waiting.push_back((self.latest, question));
    }

    /// Whether so many wait that nothing more should come.
    pub(crate) fn are_many(&self) -> bool {
        self.waiting.len() >= MANY
    }

    /// The next one, as soon as an answer is no lie; `None` if none waits. Nothing is lost if that is given up.
    async fn next(&mut self, storage: &Storage) -> Option<Box<Question>> {
        let (receipt, _) = self.waiting.front()?;
        let durable = self.durable.get_or_insert_with(|| storage.durable(*receipt)).await;
        self.durable = None;
        if durable.is_err() {
            // Storage has failed, and with it the server: nothing is promised any more.
            self.waiting.clear();
        }
        self.waiting.pop_front().map(|(_, question)| question)
    }

    /// The same for a stream that may have none; then it takes for ever.
    pub(crate) async fn due(of: Option<&mut Self>, storage: &Storage) -> Box<Question> {
        let next = match of {
            Some(questions) => questions.next(storage).await,
            None => None,
        };
        match next {
            Some(question) => question,
            None => pending().await,
        }
    }
}

impl Federation {
    /// Has a question answered.
    pub(crate) async fn put(&self, question: Box<Question>) -> Result<(), StreamError> {
        let Question { pair, stanza } = *question;
        if let Some(inbound) = self.inbound() {
            inbound.arrived(&pair, vec![stanza], Told::Safe).await?;
        }
        Ok(())
    }

    /// Their stream ends: has all of them answered, and waits until everything that has come is in safe hands, for the peer
    /// may take our end of the stream for a promise, too (RFC 6120 §4.4).
    pub(crate) async fn put_all(&self, questions: &mut Questions) {
        let storage = &self.ways().storage;
        while let Some(question) = questions.next(storage).await {
            // What is wrong with it would end the stream.
            let _ = self.put(question).await;
        }
        // If storage has failed the server ends, and nobody is told anything.
        let _ = storage.durable(questions.latest).await;
    }
}
