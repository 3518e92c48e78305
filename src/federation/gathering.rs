//! What a peer sends, up to what is no stanza: on streams that others open, and on those of ours that go both ways.

use std::sync::Arc;

use crate::federation::Federation;
use crate::federation::admission::{admit, admit_sender};
use crate::federation::counting::Counted;
use crate::federation::inbound::{Inbound, Told};
use crate::federation::incoming::Proven;
use crate::federation::meter::Meter;
use crate::federation::questions::{Question, Questions};
use crate::federation::wire::Wire;
use crate::jid::{BareJid, Jid};
use crate::routing::{Pair, RemoteDelivery};
use crate::stanza::{Condition, Stanza, StanzaError};
use crate::storage::Receipt;
use crate::stream::{Event, Fault, Rejected, StreamCondition, StreamError};

impl Federation {
    /// Routes the stanzas that have arrived, up to the next event that is none, which it returns. Where the peer is told by
    /// answers what is in safe hands, its `questions` wait.
    pub(crate) async fn gather(
        &self,
        wire: &mut Wire,
        proven: &[Proven],
        meter: &mut Meter,
        counted: &mut Option<Counted>,
        mut questions: Option<&mut Questions>,
    ) -> Result<Option<Event<'static>>, StreamError> {
        let (inbound, rules) = (self.inbound(), self.rules());
        let settings = self.settings();
        let limits = meter.is_open().then_some(settings.limits);
        meter.renew(&settings.policy);
        drop(settings);
        let (reader, buffer) = wire.gate();
        let language = reader.language();
        let mut at = 0;
        let mut stanzas: Vec<Stanza<'_>> = Vec::new();
        let mut of: Option<&Pair> = None;
        let mut asked = Vec::new();
        // Stanzas that have come and are not among those that count, and bytes that a domain has paid for.
        let (mut more, mut paid) = (0, 0);
        let outcome = loop {
            limits.iter().for_each(|limits| reader.set_limits(*limits));
            let step = match reader.next(buffer.get(at..).unwrap_or_default()) {
                Ok(step) => step,
                Err(error) => break Err(error),
            };
            let taken = step.consumed;
            at += taken;
            let mut stanza = match step.event {
                Some(Event::Stanza(stanza)) => stanza,
                Some(event) => break Ok(Some(event.into_owned())),
                None => break Ok(None),
            };
            let pair = match admit(proven, &rules, stanza.from.as_ref(), stanza.to.as_ref()) {
                Ok(pair) => pair,
                Err(error) => break Err(error),
            };
            if let Some(of) = of.filter(|of| *of != pair) {
                let stanzas = std::mem::take(&mut stanzas);
                arrived(&inbound, of, stanzas, counted, questions.as_deref_mut(), &mut more).await?;
            }
            of = Some(pair);
            more += 1;
            let mut share = meter.of(&pair.remote);
            if let Some(share) = &mut share {
                share.take(taken);
                paid += taken;
            }
            if self.heard(pair, &stanza) {
                continue;
            }
            if let Some(share) = share
                && let Err(excess) = share.judge(&stanza)
            {
                let error = StanzaError::new(Condition::PolicyViolation, excess.as_str());
                self.send(pair, stanza.error(&error).into_iter().map(Into::into).collect());
                continue;
            }
            if counted.as_mut().is_some_and(|counted| counted.is_repeated(pair, &stanza, more)) {
                continue;
            }
            language.complete(&mut stanza);
            if questions.is_some() && Question::is_meant(pair, &stanza) {
                asked.push(Question::new(pair, stanza));
                continue;
            }
            stanzas.push(stanza);
        };
        meter.take(at - paid);
        // What came before a fault was right.
        if let Some(of) = of {
            arrived(&inbound, of, stanzas, counted, questions.as_deref_mut(), &mut more).await?;
        }
        if let Some(questions) = questions {
            asked.into_iter().for_each(|question| questions.wait(question));
        }
        wire.consume(at);
        outcome
    }

    /// Answers a stanza that is wrong in itself; the stream goes on.
    pub(crate) fn reject(
        &self,
        proven: &[Proven],
        Rejected { stanza, error, fault }: Rejected<'static>,
    ) -> Result<(), StreamError> {
        let pair = match fault {
            Fault::Other => admit(proven, &self.rules(), stanza.from.as_ref(), stanza.to.as_ref())?,
            Fault::From | Fault::To if proven.is_empty() => {
                return Err(StreamError::new(StreamCondition::NotAuthorized, "a stanza before authentication"));
            }
            Fault::To => {
                let pair = admit_sender(proven, stanza.from.as_ref());
                pair.ok_or_else(|| StreamError::from(StreamCondition::InvalidFrom))?
            }
            // Nobody knows whom to answer; one user's odd address must not cost all others the stream.
            Fault::From => {
                tracing::debug!("a stanza from a malformed address was dropped");
                return Ok(());
            }
        };
        if let Some(mut answer) = stanza.error(&error) {
            if answer.from.is_none() {
                answer.from = BareJid::of_domain(&pair.local).ok().map(Jid::from);
            }
            self.send(pair, vec![answer.into()]);
        }
        Ok(())
    }
}

/// Routes what has come for one pair; `more` stanzas count when that is done.
async fn arrived(
    inbound: &Option<Arc<dyn Inbound>>,
    pair: &Pair,
    stanzas: Vec<Stanza<'_>>,
    counted: &mut Option<Counted>,
    questions: Option<&mut Questions>,
    more: &mut u64,
) -> Result<(), StreamError> {
    let Some(inbound) = inbound else { return Ok(()) };
    let more = std::mem::take(more);
    if let Some(questions) = questions {
        questions.cover(inbound.arrived(pair, stanzas, Told::Safe).await?);
        return Ok(());
    }
    let Some(counted) = counted else {
        inbound.arrived(pair, stanzas, Told::Nothing).await?;
        return Ok(());
    };
    let _turn = counted.turn().await?;
    let receipt: Receipt = inbound.arrived(pair, stanzas, Told::Counted(counted.note())).await?;
    counted.handled(more, receipt);
    Ok(())
}
