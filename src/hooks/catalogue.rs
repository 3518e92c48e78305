//! What is built in, and which of it the operator wants at this moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::jid::BareJid;
use crate::live::Live;

use super::command::Command;
use super::extension::{Entity, Extension};

/// What the operator has set for extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Domains whose accounts are here.
    pub domains: Arc<[String]>,
    /// Who may use the commands of administrators.
    pub admins: Vec<BareJid>,
    /// Messages that wait for one account at most.
    pub offline_messages: usize,
    /// Whether messages are archived, and how.
    pub archive: Option<ArchiveSettings>,
}

/// How messages are archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// The most messages of one page.
    pub page: usize,
}

/// Every extension, and whether it is wanted; what is not wanted is neither asked nor advertised.
/// Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Catalogue {
    extensions: Arc<[(&'static Extension, Switch)]>,
    settings: Live<Settings>,
}

/// Whether an extension is wanted at this moment: looked at for every stanza.
#[derive(Debug, Clone)]
pub(super) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Catalogue {
    #[must_use]
    pub fn new(extensions: &'static [Extension], settings: Settings) -> Self {
        let switch = |extension: &Extension| Switch(Arc::new(AtomicBool::new((extension.wanted)(&settings))));
        let extensions = extensions.iter().map(|extension| (extension, switch(extension))).collect();
        Self { extensions, settings: Live::new(settings) }
    }

    /// What the operator has set, now and later.
    #[must_use]
    pub const fn settings(&self) -> &Live<Settings> {
        &self.settings
    }

    /// The operator has changed his mind.
    pub fn replace(&self, settings: Settings) {
        for (extension, Switch(on)) in &*self.extensions {
            on.store((extension.wanted)(&settings), Ordering::Relaxed);
        }
        self.settings.replace(settings);
    }

    pub(super) fn all(&self) -> &[(&'static Extension, Switch)] {
        &self.extensions
    }

    fn wanted(&self) -> impl Iterator<Item = &'static Extension> + use<'_> {
        self.extensions.iter().filter(|(_, switch)| switch.is_on()).map(|(extension, _)| *extension)
    }

    /// The commands that are declared by what is wanted.
    pub fn commands(&self) -> impl Iterator<Item = &'static Command> + use<'_> {
        self.wanted().flat_map(|extension| extension.commands)
    }

    /// The features that `entity` has by what is wanted, sorted.
    #[must_use]
    pub fn features(&self, entity: Entity) -> Vec<&'static str> {
        let declared = self.wanted().flat_map(|extension| extension.advertises);
        let mut features: Vec<_> = declared.filter(|(who, _)| *who == entity).map(|(_, feature)| *feature).collect();
        features.sort_unstable();
        features.dedup();
        features
    }
}
