//! What goes out on a stream that another server has opened: our own words, and if it goes both ways (XEP-0288) what waits for
//! the pairs that it has proven.

use std::sync::Arc;

use tokio::time::{sleep_until, timeout};

use super::{End, FAREWELL, Reception};
use crate::federation::Federation;
use crate::federation::driving::Ended;
use crate::federation::lanes::{Fault, Lanes, Lent, What};
use crate::federation::wire::{Turn, Wire};
use crate::stream::{StreamCondition, StreamError};

/// What has happened while something goes out, or nothing does.
pub(super) enum Going {
    /// There is something new to read.
    Arrived,
    /// So many bytes are with the operating system.
    HandedOver(usize),
    /// Another queue is to go out here.
    Lent(Lent),
    /// There is something new in one of them, or it is time to look at them.
    Look,
}

/// Writes and, if it `reads`, reads at the same time. Nothing is lost if that is given up.
pub(super) async fn going(
    lanes: &mut Option<Box<Lanes>>,
    federation: &Federation,
    wire: &mut Wire,
    reads: bool,
) -> Result<Going, End> {
    let Some(lanes) = lanes else {
        if !reads {
            return std::future::pending().await;
        }
        wire.fill().await?;
        return Ok(Going::Arrived);
    };
    lanes.fill(federation, What::Everything);
    let attention = lanes.attention(federation);
    let bell = Arc::clone(&lanes.way().bell);
    let (lending, portion) = lanes.parts();
    let look = async {
        match attention {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        Some(lent) = lending.recv() => Ok(Going::Lent(lent)),
        () = bell.notified() => Ok(Going::Look),
        turn = wire.turn(portion, reads) => match turn? {
            Turn::Arrived => Ok(Going::Arrived),
            Turn::HandedOver(count) => Ok(Going::HandedOver(count)),
        },
        () = look => Ok(Going::Look),
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stalled => Self::Lost("the other server takes nothing".to_owned()),
        }
    }
}

impl Reception {
    /// Says something, between stanzas.
    pub(super) async fn say(&mut self, words: &str) -> Result<(), End> {
        match &mut self.lanes {
            _ if words.is_empty() => Ok(()),
            Some(lanes) => Ok(lanes.say(words)?),
            None => Ok(self.wire.write(words).await?),
        }
    }

    pub(super) async fn go(&mut self, going: Going) -> Result<(), End> {
        let Some(lanes) = &mut self.lanes else { return Ok(()) };
        match going {
            Going::Arrived => {}
            Going::HandedOver(count) => {
                lanes.handed_over(count, &self.federation);
                self.listed.iter().for_each(|listed| listed.count(count));
            }
            Going::Lent(lent) => {
                let mut proven = self.rules.proven().iter();
                let Some(proven) = proven.find(|proven| proven.pair == lent.waiting.pair) else { return Ok(()) };
                let left = lent.waiting.lock().queue.not_resumed(None);
                self.federation.prepare(&lent.waiting, left, (None, None)).await;
                lanes.take(lent, Arc::clone(&proven.proof));
            }
            Going::Look => {
                for pair in lanes.look(&self.federation)? {
                    self.federation.withdraw(&pair, lanes.way());
                }
            }
        }
        Ok(())
    }

    /// Gives all queues back; a stanza that has been begun goes out whole, and so do our own words.
    pub(super) async fn end_lanes(&mut self, ended: Ended, why: &str) -> Result<(), End> {
        let Some(mut lanes) = self.lanes.take() else { return Ok(()) };
        for proven in self.rules.proven() {
            self.federation.withdraw(&proven.pair, lanes.way());
        }
        let rest = finish(&mut lanes, &self.federation, &mut self.wire);
        let outcome = match timeout(FAREWELL, rest).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StreamError::from(StreamCondition::ConnectionTimeout).into()),
        };
        lanes.end(ended, why);
        outcome
    }
}

/// Hands over what has been begun.
async fn finish(lanes: &mut Lanes, federation: &Federation, wire: &mut Wire) -> Result<(), End> {
    loop {
        lanes.fill(federation, What::Finish);
        let (_, portion) = lanes.parts();
        if portion.is_empty() {
            return Ok(());
        }
        // A little of what comes meanwhile is taken, and read afterwards by whoever still reads.
        let reads = !wire.has_part();
        if let Turn::HandedOver(count) = wire.turn(portion, reads).await? {
            lanes.handed_over(count, federation);
        }
    }
}
