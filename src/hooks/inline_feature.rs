//! What clients may ask for together with their login: beside authentication (XEP-0388), and for the session that begins
//! with the resource they bind (XEP-0386).

use std::fmt;
use std::pin::Pin;

use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::xml::Element;

use super::catalogue::{Switched, wanted};

/// What may be asked for at this moment, as XML, so that a login does not pay for its making. Clones are handles to the
/// same.
#[derive(Debug, Clone)]
pub struct InlineOffers(Live<Offered>);

#[derive(Debug, Default)]
struct Offered {
    login: String,
    binding: String,
}

impl Default for InlineOffers {
    fn default() -> Self {
        Self(Live::new(Offered::default()))
    }
}

impl InlineOffers {
    /// Each of `login` is a feature of its own; `binding` are names as service discovery knows them.
    pub(super) fn replace<'a>(
        &self,
        login: impl Iterator<Item = &'a Element>,
        binding: impl Iterator<Item = &'static str>,
    ) {
        let mut offered = Offered::default();
        login.for_each(|feature| feature.write(&mut offered.login, ""));
        for name in binding {
            // Whatever stands around it has the namespace; the names are ours and need no escapes.
            ["<feature var='", name, "'/>"].iter().for_each(|part| offered.binding.push_str(part));
        }
        self.0.replace(offered);
    }

    /// Appends what may be asked for beside authentication.
    pub fn write_for_login(&self, out: &mut String) {
        out.push_str(&self.0.load().login);
    }

    /// Appends what a session may begin with.
    pub fn write_for_binding(&self, out: &mut String) {
        out.push_str(&self.0.load().binding);
    }
}

/// Begins something for the session of this address; gives what its client is told about it.
pub(super) type Begin = Box<dyn Fn(&Jid, &Element) -> Option<Element> + Send + Sync>;

/// Says what the archive of an account holds.
pub(super) type Holds = Box<dyn Fn(BareJid) -> Pin<Box<dyn Future<Output = Option<Element>> + Send>> + Send + Sync>;

/// What is done for sessions that have just begun.
#[derive(Default)]
pub struct InlineFeatures {
    /// By the namespace of the request.
    pub(super) begin: Vec<Switched<(&'static str, Begin)>>,
    pub(super) archive: Option<Switched<Holds>>,
}

impl InlineFeatures {
    /// The client of the session `jid`, which has just been bound, wants what `request` says; gives what it is told about
    /// that, if there is anything to tell. What nobody knows is ignored.
    #[must_use]
    pub fn begin(&self, jid: &Jid, request: &Element) -> Option<Element> {
        let (_, begin) = wanted(&self.begin).find(|(namespace, _)| *namespace == request.ns())?;
        begin(jid, request)
    }

    /// What the archive of an account holds at this moment, for a client that reads there what it has missed; `None` where
    /// there is no archive.
    pub async fn archive(&self, account: &BareJid) -> Option<Element> {
        let holds = self.archive.as_ref()?.get()?;
        holds(account.clone()).await
    }
}

impl fmt::Debug for InlineFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.begin.iter().map(|begin| begin.it.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Switch;
    use super::*;

    #[test]
    fn what_is_offered_is_written_once() {
        let offers = InlineOffers::default();
        let written = || {
            let (mut login, mut binding) = (String::new(), String::new());
            offers.write_for_login(&mut login);
            offers.write_for_binding(&mut binding);
            (login, binding)
        };
        assert_eq!(written(), (String::new(), String::new()));
        offers.replace([Element::new("x", "urn:example")].iter(), ["urn:example:a", "urn:example:b"].into_iter());
        let expected = ("<x xmlns='urn:example'/>", "<feature var='urn:example:a'/><feature var='urn:example:b'/>");
        assert_eq!(written(), (expected.0.to_owned(), expected.1.to_owned()));
    }

    #[tokio::test]
    async fn only_what_is_wanted_is_begun() {
        let mut features = InlineFeatures::default();
        let jid: Jid = "juliet@example.org/x".parse().unwrap();
        for (on, name) in [(true, "urn:example:a"), (false, "urn:example:b")] {
            let begin =
                move |jid: &Jid, request: &Element| Some(Element::new(request.name(), name).with_text(jid.as_str()));
            features.begin.push(Switched::new(&Switch::new(on), (name, Box::new(begin))));
        }
        let begun = |name: &str| features.begin(&jid, &Element::new("enable", name)).map(|it| it.to_xml(""));
        assert_eq!(begun("urn:example:a").unwrap(), "<enable xmlns='urn:example:a'>juliet@example.org/x</enable>");
        assert_eq!((begun("urn:example:b"), begun("urn:example:c")), (None, None));
        let account = jid.to_bare();
        assert_eq!(features.archive(&account).await, None);
        for on in [true, false] {
            let holds = |account: BareJid| std::future::ready(Some(Element::new("x", account.as_str())));
            features.archive = Some(Switched::new(&Switch::new(on), Box::new(move |account| Box::pin(holds(account)))));
            assert_eq!(features.archive(&account).await.is_some(), on);
        }
    }
}
