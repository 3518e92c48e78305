//! The table of everything that extensions registered; filled once at start-up.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::jid::{BareJid, Jid};
use crate::live::Live;
use crate::stanza::{Stanza, StanzaError};
use crate::storage::Storage;
use crate::xml::Element;

use super::acknowledgement::Acknowledgement;
use super::attention::ClientState;
use super::catalogue::{Catalogue, Settings, Sources, Switch, Switched, wanted};
use super::companion::Companion;
use super::discovery::Identity;
use super::extension::Entity;
use super::form::Form;
use super::inline_feature::InlineFeatures;
use super::iq::{Answer, Call, Handler, Relation, Request, Verb, erase};
use super::lifecycle::{Backlog, Delayed};
use super::notice::{Notice, Notifier};
use super::operation::Operations;
use super::outbound::Outbound;
use super::peer_change::{Hearer, PeerChange};
use super::stage::{Arriving, Duplicate, Original, Passing, Retraction, Shelf, Stages, Verdict};
use super::stream_feature::StreamState;
use super::visit::{self, Strangers, Visit};

/// Everything that is installed. Handlers and stages of what is not wanted are there and not asked.
#[derive(Default)]
pub struct Hooks {
    iq: HashMap<(Entity, Verb, &'static str, &'static str), Switched<Handler>>,
    /// What an account answers to anybody.
    open: HashSet<(&'static str, &'static str)>,
    stages: Stages,
    backlog: Vec<Backlog>,
    acknowledgement: Option<Box<dyn Acknowledgement>>,
    refusal: Option<StanzaError>,
    client_state: Option<ClientState>,
    companion: Option<Switched<Arc<dyn Companion>>>,
    strangers: Strangers,
    inline: InlineFeatures,
    peers: Vec<Switched<Hearer>>,
}

/// Two extensions claim the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallError {
    pub extension: &'static str,
    pub namespace: &'static str,
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extension {} claims {}, which another one handles already", self.extension, self.namespace)
    }
}

impl std::error::Error for InstallError {}

/// What extensions work with.
#[derive(Clone, Copy)]
pub struct House<'a> {
    pub outbound: &'a Arc<dyn Outbound>,
    pub operations: &'a Arc<Operations>,
    pub storage: &'a Storage,
    pub clock: &'a Clock,
    pub catalogue: &'a Catalogue,
}

/// What an extension is given when it is installed.
pub struct Registrar<'a> {
    hooks: &'a mut Hooks,
    sources: &'a mut Sources,
    /// Whether the extension is wanted, now and later.
    switch: &'a Switch,
    pub outbound: &'a Arc<dyn Outbound>,
    pub operations: &'a Arc<Operations>,
    pub storage: &'a Storage,
    pub clock: &'a Clock,
    pub catalogue: &'a Catalogue,
    /// Whoever wants to use them later keeps a clone of the handle, not what it holds now.
    pub settings: &'a Live<Settings>,
    clash: Option<&'static str>,
}

impl Hooks {
    /// Installs all extensions, in their order.
    ///
    /// # Errors
    /// When two of them claim the same request of the same entity.
    pub fn install(house: &House<'_>) -> Result<Self, InstallError> {
        let House { outbound, operations, storage, clock, catalogue } = *house;
        let settings = catalogue.settings();
        let (mut hooks, mut sources) = (Self::default(), Sources::default());
        for Switched { switch, it: extension } in catalogue.all() {
            let mut at = Registrar {
                hooks: &mut hooks,
                sources: &mut sources,
                switch,
                outbound,
                operations,
                storage,
                clock,
                catalogue,
                settings,
                clash: None,
            };
            (extension.install)(&mut at);
            if let Some(namespace) = at.clash {
                return Err(InstallError { extension: extension.name, namespace });
            }
        }
        catalogue.complete(sources);
        Ok(hooks)
    }

    /// Lets the handler of a request answer it; `None` if nothing handles it, or nothing that is for
    /// strangers.
    #[must_use]
    pub fn answer(
        &self,
        entity: Entity,
        verb: Verb,
        request: &Element,
        (from, to, relation): (Jid, Jid, Relation),
    ) -> Option<impl Future<Output = Answer> + Send + use<>> {
        if entity == Entity::Account
            && relation == Relation::Stranger
            && !self.open.contains(&(request.name(), request.ns()))
        {
            return None;
        }
        let handler = self.iq.get(&(entity, verb, request.name(), request.ns()))?.get()?;
        Some(handler(Call { from, to, relation, request }))
    }

    /// What looks at stanzas on their way.
    #[must_use]
    pub const fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The words in which clients and the server acknowledge stanzas, if anybody has them.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<&dyn Acknowledgement> {
        self.acknowledgement.as_deref()
    }

    /// How clients say that nobody looks at them, and what may wait then.
    #[must_use]
    pub const fn client_state(&self) -> Option<ClientState> {
        self.client_state
    }

    /// Who goes with sessions to other servers.
    #[must_use]
    pub fn companion(&self) -> Option<&dyn Companion> {
        self.companion.as_ref()?.get().map(|companion| &**companion)
    }

    /// What a client hears that writes to somebody whom its account blocks.
    #[must_use]
    pub const fn refusal(&self) -> Option<&StanzaError> {
        self.refusal.as_ref()
    }

    /// What clients may ask for that have not authenticated.
    #[must_use]
    pub const fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// What sessions may begin with.
    #[must_use]
    pub const fn inline(&self) -> &InlineFeatures {
        &self.inline
    }

    /// Something has changed between the domain `local` of ours and the domain `remote`.
    pub fn peer_changed(&self, local: &str, remote: &str, change: PeerChange) {
        wanted(&self.peers).for_each(|hear| hear(local, remote, change));
    }

    /// Fetches what waits at `positions` of the account's log.
    pub async fn backlog(&self, account: &BareJid, positions: Vec<u64>) -> Vec<Delayed> {
        let mut all = Vec::new();
        for fetch in &self.backlog {
            all.extend(fetch(account.clone(), positions.clone()).await);
        }
        all
    }
}

impl Registrar<'_> {
    /// Handles `get` requests whose payload is `R`.
    pub fn iq_get<R, T, F>(&mut self, entity: Entity, it: &Arc<T>, handle: fn(Arc<T>, Call<R>) -> F)
    where
        R: Request,
        T: Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.iq((entity, Verb::Get, R::NAME, R::NS), erase(Arc::clone(it), handle));
    }

    /// Handles `set` requests whose payload is `R`.
    pub fn iq_set<R, T, F>(&mut self, entity: Entity, it: &Arc<T>, handle: fn(Arc<T>, Call<R>) -> F)
    where
        R: Request,
        T: Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.iq((entity, Verb::Set, R::NAME, R::NS), erase(Arc::clone(it), handle));
    }

    fn iq(&mut self, key: (Entity, Verb, &'static str, &'static str), handler: Handler) {
        if self.hooks.iq.insert(key, Switched::new(self.switch, handler)).is_some() {
            self.clash = Some(key.3);
        }
    }

    /// Has accounts answer requests whose payload is `R` to strangers, too. The same handlers answer
    /// for accounts that do not exist, so that nobody learns which do (RFC 6120 §13.11).
    pub fn for_strangers<R: Request>(&mut self) {
        self.hooks.open.insert((R::NAME, R::NS));
    }

    /// Lets clients that have not authenticated make requests whose payload is `R`, while `open` says so.
    pub fn before_login<R, T, F>(
        &mut self,
        open: impl Fn() -> bool + Send + Sync + 'static,
        it: &Arc<T>,
        handle: fn(Arc<T>, Visit<R>) -> F,
    ) where
        R: Request,
        T: Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler = visit::erase(Arc::clone(it), handle);
        self.hooks.strangers.add((R::NAME, R::NS), Box::new(open), handler);
    }

    /// Looks at messages that come from outside and may have something of `namespace`: of hundreds all that have it, and
    /// hardly another.
    pub fn arriving(&mut self, namespace: &'static str, stage: impl Fn(&mut Stanza<'_>) + Send + Sync + 'static) {
        self.hooks.stages.arriving.push(Switched::new(self.switch, Arriving::new(namespace, stage)));
    }

    /// Decides which messages an account's log keeps.
    pub fn archive(&mut self, stage: impl Fn(&mut Passing<'_, '_>) + Send + Sync + 'static) {
        self.hooks.stages.archive.push(Switched::new(self.switch, Box::new(stage)));
    }

    /// Decides which messages an account's log keeps until the sessions that they go to have got them.
    pub fn queued(&mut self, stage: impl Fn(&mut Passing<'_, '_>) + Send + Sync + 'static) {
        self.hooks.stages.queued.push(Switched::new(self.switch, Box::new(stage)));
    }

    /// Decides what further sessions of an account get of a message.
    pub fn copy(&mut self, stage: impl Fn(&Original<'_, '_>) -> Option<Duplicate> + Send + Sync + 'static) {
        self.hooks.stages.copy.push(Switched::new(self.switch, Box::new(stage)));
    }

    /// Looks at messages that no resource can receive now.
    pub fn undelivered(&mut self, stage: impl Fn(&mut Passing<'_, '_>, &mut Shelf) -> Verdict + Send + Sync + 'static) {
        self.hooks.stages.undelivered.push(Switched::new(self.switch, Box::new(stage)));
    }

    /// Recognises messages that are for one session of an account and for nobody else; asked also when
    /// the extension is not wanted any more, because what it wrote is still there.
    pub fn private(&mut self, stage: impl Fn(&BareJid, &Stanza<'_>) -> bool + Send + Sync + 'static) {
        self.hooks.stages.private.push(Box::new(stage));
    }

    /// Reads what a message takes back; asked always, too: what waits for its recipient need not be archived.
    pub fn retraction(&mut self, stage: impl Fn(&Stanza<'_>) -> Option<Retraction> + Send + Sync + 'static) {
        self.hooks.stages.retraction.push(Box::new(stage));
    }

    /// Tells clients that are not there to see it of a message, if it is worth it. Neither may wait for anything.
    pub fn notifier(
        &mut self,
        is_worth: fn(&Stanza<'_>) -> bool,
        tell: impl Fn(&Notice<'_, '_>) + Send + Sync + 'static,
    ) {
        self.hooks.stages.notifier = Some(Switched::new(self.switch, Notifier { is_worth, tell: Box::new(tell) }));
    }

    /// Hears when the server of another domain is lost, and when it is back: `hear` gets the domain of ours, the other one
    /// and what has happened, in order, and waits for nothing.
    pub fn peers(&mut self, hear: impl Fn(&str, &str, PeerChange) + Send + Sync + 'static) {
        self.hooks.peers.push(Switched::new(self.switch, Box::new(hear)));
    }

    /// Fetches log entries for a resource that has become able to receive them; asked always, too.
    pub fn backlog<F>(&mut self, fetch: impl Fn(BareJid, Vec<u64>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Vec<Delayed>> + Send + 'static,
    {
        self.hooks.backlog.push(Box::new(move |account, positions| Box::pin(fetch(account, positions))));
    }

    /// Offers a feature on those streams for which there is one. It is asked for when the settings change,
    /// not for each stream.
    pub fn stream_feature(&mut self, feature: impl Fn(StreamState) -> Option<Element> + Send + Sync + 'static) {
        self.sources.stream_features.push(Switched::new(self.switch, Box::new(feature)));
    }

    /// Tells clients that they may ask for something beside authentication (XEP-0388 §2.1).
    pub fn offer_at_login(&mut self, feature: Element) {
        self.sources.at_login.push(Switched::new(self.switch, feature));
    }

    /// Tells clients that a session may begin with something that is called `name` (XEP-0386 §3.1).
    pub fn offer_at_binding(&mut self, name: &'static str) {
        self.sources.at_binding.push(Switched::new(self.switch, name));
    }

    /// The same, and does it: `begin` gets the address of a session that has just been bound and the request, an element of
    /// the namespace `name`; what it gives is told to the client.
    pub fn inline_feature(
        &mut self,
        name: &'static str,
        begin: impl Fn(&Jid, &Element) -> Option<Element> + Send + Sync + 'static,
    ) {
        self.offer_at_binding(name);
        self.hooks.inline.begin.push(Switched::new(self.switch, (name, Box::new(begin))));
    }

    /// Tells a client that binds a resource together with authentication what the archive of its account holds. What
    /// waits for it and is archived is not sent to it then (XEP-0386 §3.2).
    pub fn archive_at_binding<F>(&mut self, holds: impl Fn(BareJid) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Element>> + Send + 'static,
    {
        self.hooks.inline.archive = Some(Switched::new(self.switch, Box::new(move |account| Box::pin(holds(account)))));
    }

    /// Says what kind of thing `entity` is.
    pub fn identity(&mut self, entity: Entity, identity: Identity) {
        self.sources.statements.identities.push(Switched::new(self.switch, (entity, identity)));
    }

    /// Has `entity` tell more about itself (XEP-0128); asked for when the settings change.
    pub fn information(&mut self, entity: Entity, form: impl Fn() -> Option<Form> + Send + Sync + 'static) {
        self.sources.statements.forms.push(Switched::new(self.switch, (entity, Box::new(form))));
    }

    /// Gives what `entity` says about itself another name: a node, made from the `disco#info`.
    pub fn alias(&mut self, entity: Entity, node: impl Fn(&Element) -> String + Send + Sync + 'static) {
        self.sources.statements.aliases.push(Switched::new(self.switch, (entity, Box::new(node))));
    }

    /// Lets clients say that nobody looks at them, and has some of what they get wait then.
    pub fn client_state(&mut self, words: ClientState) {
        self.hooks.client_state = Some(words);
    }

    /// Goes with sessions to other servers.
    pub fn companion<C: Companion + 'static>(&mut self, companion: &Arc<C>) {
        self.hooks.companion = Some(Switched::new(self.switch, Arc::clone(companion) as _));
    }

    /// Has clients hear this that write to somebody whom their account blocks.
    pub fn refusal(&mut self, error: StanzaError) {
        self.hooks.refusal = Some(error);
    }

    /// Has clients and the server acknowledge stanzas in these words.
    pub fn acknowledgement(&mut self, words: impl Acknowledgement + 'static) {
        self.hooks.acknowledgement = Some(Box::new(words));
    }
}
