//! Presence probes, sent for an account and answered for it (RFC 6121 §4.3, §4.6.6).

use crate::jid::{BareJid, Jid};
use crate::stanza::{Kind, PresenceType, Stanza};

use super::Router;
use super::account::{Account, State};
use super::batch::Batch;
use super::binding::Binding;
use super::router::Back;

/// What somebody who probes may learn.
enum Seen {
    /// Nothing: he is no subscriber.
    Nothing,
    /// The last presence of every available resource.
    All(Vec<std::sync::Arc<Stanza<'static>>>),
    /// That the one resource he asked for is there.
    There(Jid),
    /// That the one resource he asked for, or all of them, are not there.
    Away(Jid),
}

impl Router {
    /// Asks for the presence of a contact on behalf of a resource that has become available.
    pub(super) async fn probe(&self, binding: &Binding, contact: &BareJid, batch: &mut Batch) {
        if self.hosts.has_accounts(contact.domain()) {
            return self.look_at(binding, contact, batch);
        }
        self.deliver(probe(&binding.account.jid, contact), batch).await;
    }

    /// A contact of this server needs no probe: its presence is here (RFC 6121 §4.3.1), and if the
    /// account is not loaded, nobody is available.
    fn look_at(&self, binding: &Binding, contact: &BareJid, batch: &mut Batch) {
        let Some(contact) = self.accounts.cached(contact.as_str()) else { return };
        let presences = {
            let state = contact.lock();
            if state.is_subscriber(&binding.jid) && !state.blocked.blocks(&binding.jid) {
                state.presences()
            } else {
                Vec::new()
            }
        };
        let to = binding.account.jid.as_str();
        for presence in presences {
            batch.push_stanza(&binding.ring, &presence, |out| presence.write_to(out, Some(to)));
        }
    }

    /// Answers a probe.
    pub(super) fn probed(&self, account: &Account, probe: &Stanza<'_>, to: &Jid, batch: &mut Batch) -> Back {
        let from = probe.from.as_ref()?;
        let seen = seen(account, &account.lock(), to, from);
        let answer = |kind, who: Jid| {
            let mut answer = Stanza::new(Kind::Presence(kind)).from(who).to(from.clone());
            answer.id = probe.id.as_deref().map(|id| id.to_owned().into());
            answer
        };
        match seen {
            Seen::Nothing => unsubscribed(probe),
            Seen::All(presences) => {
                for presence in presences {
                    self.notify(&presence, from, batch);
                }
                None
            }
            Seen::There(who) => Some(answer(PresenceType::Available, who)),
            Seen::Away(who) => Some(answer(PresenceType::Unavailable, who)),
        }
    }
}

fn seen(account: &Account, state: &State, to: &Jid, from: &Jid) -> Seen {
    let resource = state.resources.iter().find(|resource| resource.jid == *to);
    let subscriber = from.bare_str() == account.jid.as_str() || state.is_subscriber(from);
    if !subscriber {
        // RFC 6121 §4.6.6: who got directed presence may ask after that one resource.
        return match resource {
            Some(resource) if resource.directed.contains_key(from) => Seen::There(to.clone()),
            _ => Seen::Nothing,
        };
    }
    if !to.is_bare() {
        let there = resource.is_some_and(|resource| resource.available.is_some());
        return if there { Seen::There(to.clone()) } else { Seen::Away(to.clone()) };
    }
    match state.presences() {
        none if none.is_empty() => Seen::Away(to.clone()),
        presences => Seen::All(presences),
    }
}

/// The question of an account: it concerns no single resource (RFC 6121 §4.3).
pub(super) fn probe(account: &BareJid, contact: &BareJid) -> Stanza<'static> {
    Stanza::new(Kind::Presence(PresenceType::Probe)).from(Jid::from(account.clone())).to(Jid::from(contact.clone()))
}

/// The answer to a probe that may learn nothing, not even whether there is such an account
/// (RFC 6121 §4.3.2, rule 1).
pub(super) fn unsubscribed(probe: &Stanza<'_>) -> Back {
    let (from, to) = (probe.to.as_ref()?.to_bare(), probe.from.as_ref()?.to_bare());
    let mut answer = Stanza::new(Kind::Presence(PresenceType::Unsubscribed)).from(Jid::from(from)).to(Jid::from(to));
    answer.id = probe.id.as_deref().map(|id| id.to_owned().into());
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    // Proves: RFC 6121 §4.3
    #[test]
    fn a_probe_goes_from_bare_to_bare() {
        let probe = probe(&bare("romeo@montague.example"), &bare("juliet@capulet.example"));
        assert_eq!(
            probe.to_xml(),
            "<presence type='probe' from='romeo@montague.example' to='juliet@capulet.example'/>"
        );
    }

    // Proves: RFC 6121 §4.3.2, rule 1
    #[test]
    fn a_stranger_is_answered_from_the_bare_jid() {
        for to in ["juliet@capulet.example", "juliet@capulet.example/balcony"] {
            let probe = Stanza::new(Kind::Presence(PresenceType::Probe))
                .id("1")
                .from(Jid::parse("tybalt@montague.example/hall").unwrap())
                .to(Jid::parse(to).unwrap());
            assert_eq!(
                unsubscribed(&probe).unwrap().to_xml(),
                "<presence type='unsubscribed' id='1' from='juliet@capulet.example' to='tybalt@montague.example'/>"
            );
        }
    }
}
