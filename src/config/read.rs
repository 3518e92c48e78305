//! From text to [`Config`]: syntax, unknown keys, values, then what only makes sense together.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::section::Shape;
use crate::config::suggest::nearest;
use crate::config::{
    Archive, Component, Config, ConfigError, Domain, DomainName, FederationMode, Peer, Period, Problem, SECTIONS, Size,
};

/// The smallest limit on stanzas (RFC 6120 §13.12).
const SMALLEST_STANZA: Size = Size::new(10_000);

/// What a client may catch up on at most.
const LONGEST_BURST: Period = Period::seconds(3600);

/// A key as it stands in the file.
pub(super) struct Written {
    /// Such as `listen.c2s`, or `domains[1].name`.
    pub path: String,
    key: Range<usize>,
    value: Range<usize>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
            file: file.to_owned(),
            problems: vec![Problem { place: None, reason: format!("cannot be read: {error}"), suggestion: None }],
        })?;
        Self::parse(&text, file)
    }

    /// Reads the text of `file`, whose directory is where relative paths start.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let refuse = |problems: Vec<Fault>| {
            let problems = problems.into_iter().map(|fault| fault.placed(text)).collect();
            ConfigError { file: file.to_owned(), problems }
        };
        let written = written(text).map_err(refuse)?;
        let mut config: Self = toml::from_str(text).map_err(|error| refuse(vec![wrong_value(&error, &written)]))?;
        let faults = contradictions(&config, &written);
        if !faults.is_empty() {
            return Err(refuse(faults));
        }
        if let Some(name) = config.domain.clone() {
            config.domains = vec![Domain::named(name)];
        }
        config.anchor_paths(file.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// What `domain = "..."` alone gives, without a file.
    #[must_use]
    pub fn of_domain(name: DomainName) -> Self {
        Self { domain: Some(name.clone()), domains: vec![Domain::named(name)], ..Self::default() }
    }

    /// The certificate and key to show for `domain`: its own, else those of `[tls]`.
    #[must_use]
    pub fn certificate_of<'a>(&'a self, domain: &'a Domain) -> Option<(&'a Path, &'a Path)> {
        let own = domain.certificate.as_deref().zip(domain.key.as_deref());
        own.or_else(|| self.tls.certificate.as_deref().zip(self.tls.key.as_deref()))
    }

    /// What holds for the archives of `domain`: its own values, else those of `[archive]`.
    #[must_use]
    pub fn archive_of(&self, domain: &Domain) -> Archive {
        Archive {
            enabled: domain.archive_enabled.unwrap_or(self.archive.enabled),
            retention: domain.archive_retention.unwrap_or(self.archive.retention),
            messages_per_account: domain.archive_messages_per_account.unwrap_or(self.archive.messages_per_account),
        }
    }

    /// Lets relative paths start at the directory of the file.
    fn anchor_paths(&mut self, directory: &Path) {
        let domains = self.domains.iter_mut().flat_map(|domain| [&mut domain.certificate, &mut domain.key]).flatten();
        let tls = [&mut self.tls.certificate, &mut self.tls.key].into_iter().flatten();
        let anchors = self.tls.trust_anchors.iter_mut().chain(&mut self.tls.client_trust_anchors);
        let anchors = anchors.chain(&mut self.dns.trust_anchors);
        let secrets = self.components.iter_mut().filter_map(|component| component.secret_file.as_mut());
        for path in domains.chain(tls).chain(anchors).chain(secrets).chain([&mut self.data_dir]) {
            *path = directory.join(&path);
        }
    }
}

impl Domain {
    /// A domain that shows the certificate of `[tls]`.
    #[must_use]
    pub fn named(name: DomainName) -> Self {
        Self { name, ..Self::default() }
    }
}

/// A problem, by its bytes in the file.
struct Fault {
    at: usize,
    reason: String,
    suggestion: Option<String>,
}

impl Fault {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into(), suggestion: None }
    }

    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    fn placed(self, text: &str) -> Problem {
        Problem { place: Some(place(text, self.at)), reason: self.reason, suggestion: self.suggestion }
    }
}

/// Line and column (in characters), from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}

/// Line of each key in the file.
pub(super) fn lines(text: &str) -> Vec<(String, usize)> {
    let keys = written(text).unwrap_or_default();
    keys.into_iter().map(|key| (key.path, place(text, key.key.start).0)).collect()
}

/// Every key of the file, all of them known; the unknown ones are the error.
fn written(text: &str) -> Result<Vec<Written>, Vec<Fault>> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![Fault::new(at, error.message().trim().replace('\n', ", "))]
    })?;
    let mut walk = Walk::default();
    walk.table("", "", table.get_ref());
    if walk.faults.is_empty() {
        return Ok(walk.written);
    }
    walk.faults.sort_by_key(|fault| fault.at);
    Err(walk.faults)
}

#[derive(Default)]
struct Walk {
    written: Vec<Written>,
    faults: Vec<Fault>,
}

impl Walk {
    /// `section` is the name in brackets, `path` the same with its number where it repeats.
    fn table(&mut self, section: &str, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let below = SECTIONS.iter().find(|below| section.is_empty() && below.name == name);
            if below.is_none() && !keys(section).any(|known| known == name) {
                self.faults.push(unknown(section, key));
                continue;
            }
            self.written.push(Written { path: full.clone(), key: key.span(), value: value.span() });
            let Some(below) = below else { continue };
            match (value.get_ref(), below.shape) {
                (DeValue::Table(table), Shape::Once) => self.table(below.name, &full, table),
                (DeValue::Array(list), Shape::Repeated) => {
                    for (index, entry) in list.iter().enumerate() {
                        if let DeValue::Table(table) = entry.get_ref() {
                            self.table(below.name, &format!("{full}[{}]", index + 1), table);
                        }
                    }
                }
                (_, Shape::Once) => {
                    self.faults
                        .push(Fault::new(key.span().start, format!("{name} is a section; write it as [{name}]")));
                }
                (_, Shape::Repeated) => {
                    let reason = format!("{name} is a section that repeats; write it as [[{name}]]");
                    self.faults.push(Fault::new(key.span().start, reason));
                }
            }
        }
    }
}

fn keys(section: &str) -> impl Iterator<Item = &'static str> + use<> {
    let section = SECTIONS.iter().find(|known| known.name == section);
    section.into_iter().flat_map(|section| section.keys).map(|key| key.name)
}

fn unknown(section: &str, key: &Spanned<std::borrow::Cow<'_, str>>) -> Fault {
    let name = key.get_ref().as_ref();
    let reason =
        if section.is_empty() { format!("unknown key {name}") } else { format!("unknown key {name} in [{section}]") };
    let fault = Fault::new(key.span().start, reason);
    let sections = SECTIONS.iter().map(|below| below.name).filter(|below| section.is_empty() && !below.is_empty());
    if let Some(near) = nearest(name, keys(section).chain(sections)) {
        return fault.suggest(format!("did you mean {near}?"));
    }
    match SECTIONS.iter().find(|other| other.keys.iter().any(|key| key.name == name)) {
        Some(other) if other.name.is_empty() => {
            fault.suggest("it belongs at the top of the file, before the first section")
        }
        Some(other) => fault.suggest(format!("it belongs in [{}]", other.name)),
        None => fault.suggest("comity config explain lists all keys"),
    }
}

/// A value that its key does not take.
fn wrong_value(error: &toml::de::Error, written: &[Written]) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let inside = written.iter().filter(|key| key.value.contains(&at));
    // The innermost of the values around the place.
    let key = inside.min_by_key(|key| key.value.len()).map(|key| key.path.as_str());
    let reason = error.message().trim().replace('\n', ", ");
    match key {
        Some(key) => Fault::new(at, format!("wrong value of {key}: {reason}")),
        None => Fault::new(at, reason),
    }
}

/// What is right by itself and wrong together.
fn contradictions(config: &Config, written: &[Written]) -> Vec<Fault> {
    let at = |path: &str| written.iter().find(|key| key.path == path);
    let key_at = |path: &str| at(path).map_or(0, |key| key.key.start);
    let value_at = |path: &str| at(path).map_or(0, |key| key.value.start);
    let mut faults = domains(config, &key_at, &value_at);
    faults.extend(components(config, &key_at, &value_at));
    faults.extend(services(config, &value_at));
    faults.extend(peers(config, &value_at));
    pair(&mut faults, "tls", config.tls.certificate.as_ref(), config.tls.key.as_ref(), &key_at);
    if config.listen.c2s_without_tls && !config.listen.c2s.is_loopback() {
        let reason = "listen.c2s_without_tls would let other machines log in without encryption";
        let fault = Fault::new(key_at("listen.c2s_without_tls"), reason);
        faults.push(fault.suggest("let listen.c2s name loopback addresses only, such as \"127.0.0.1:5222\""));
    }
    let is_listed = |peer: &Peer| peer.federate == Some(true);
    if config.federation.mode == FederationMode::Listed
        && config.federation.allow.is_empty()
        && !config.peers.iter().any(is_listed)
    {
        let fault = Fault::new(value_at("federation.mode"), "mode \"listed\" without a list");
        faults.push(fault.suggest("name the domains in federation.allow, or say \"closed\""));
    }
    if config.federation.mode != FederationMode::Listed && !config.federation.allow.is_empty() {
        let fault = Fault::new(key_at("federation.allow"), "federation.allow only counts with mode = \"listed\"");
        faults.push(fault.suggest("set federation.mode = \"listed\""));
    }
    let served =
        |name: &str| config.domain.iter().chain(config.domains.iter().map(|it| &it.name)).any(|it| it.as_str() == name);
    for admin in config.admins.iter().filter(|admin| !served(admin.jid().domain())) {
        // Whoever has that domain would be the administrator here.
        faults.push(Fault::new(value_at("admins"), format!("{admin} is no account of a domain of this server")));
    }
    let limits = &config.limits;
    for (path, size) in [("limits.client_stanza", limits.client_stanza), ("limits.server_stanza", limits.server_stanza)]
    {
        if size < SMALLEST_STANZA {
            faults.push(Fault::new(
                value_at(path),
                format!("{path} is below 10000 bytes, the least that RFC 6120 allows"),
            ));
        }
    }
    let of_components = config.components.iter().map(|component| component.stanza);
    let largest = of_components.chain([limits.client_stanza, limits.server_stanza]).max();
    if largest.is_some_and(|largest| limits.ring_bytes < largest) {
        let fault = Fault::new(value_at("limits.ring_bytes"), "limits.ring_bytes is smaller than the largest stanza");
        let advice = "make it at least as large as client_stanza, server_stanza and the stanza of every component";
        faults.push(fault.suggest(advice));
    }
    for (path, burst) in [("limits.client_burst", limits.client_burst), ("limits.server_burst", limits.server_burst)] {
        if burst > LONGEST_BURST {
            faults.push(Fault::new(value_at(path), format!("{path} is more than an hour")));
        }
    }
    let periods = [
        ("federation.connect_timeout", config.federation.connect_timeout),
        ("federation.idle_timeout", config.federation.idle_timeout),
        ("limits.authentication_deadline", limits.authentication_deadline),
    ];
    for (path, _) in periods.iter().filter(|(_, period)| period.duration().is_zero()) {
        faults.push(Fault::new(value_at(path), format!("{path} is zero")));
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn domains(config: &Config, key_at: &dyn Fn(&str) -> usize, value_at: &dyn Fn(&str) -> usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    match (&config.domain, config.domains.as_slice()) {
        (None, []) => {
            faults.push(
                Fault::new(0, "no domain").suggest("begin the file with a line such as domain = \"example.org\""),
            );
        }
        (Some(_), [_, ..]) => {
            let fault = Fault::new(key_at("domain"), "both domain and [[domains]]");
            faults.push(fault.suggest("give this one a [[domains]] of its own"));
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for (index, domain) in config.domains.iter().enumerate() {
        let path = format!("domains[{}]", index + 1);
        let name = format!("{path}.name");
        if domain.name == DomainName::unnamed() {
            faults.push(Fault::new(value_at("domains"), format!("{path} has no name")));
        } else if !seen.insert(&domain.name) {
            faults.push(Fault::new(value_at(&name), format!("the domain {} is there twice", domain.name)));
        }
        pair(&mut faults, &path, domain.certificate.as_ref(), domain.key.as_ref(), key_at);
    }
    faults
}

/// The domains that have accounts here.
fn accounts_of(config: &Config) -> impl Iterator<Item = &DomainName> {
    config.domain.iter().chain(config.domains.iter().map(|it| &it.name))
}

fn components(config: &Config, key_at: &dyn Fn(&str) -> usize, value_at: &dyn Fn(&str) -> usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let own: HashSet<&DomainName> = accounts_of(config).collect();
    let mut seen = HashSet::new();
    for (index, component) in config.components.iter().enumerate() {
        let path = format!("components[{}]", index + 1);
        let here = |name: &str| value_at(&format!("{path}.{name}"));
        let Component { name, secret, secret_file, stanza, .. } = component;
        if *name == DomainName::unnamed() {
            faults.push(Fault::new(value_at("components"), format!("{path} has no name")));
        } else if own.contains(name) {
            let fault = Fault::new(here("name"), format!("{name} is a domain of accounts on this server"));
            faults.push(fault.suggest("give the component a domain of its own"));
        } else if !seen.insert(name) {
            faults.push(Fault::new(here("name"), format!("the component {name} is there twice")));
        }
        match (secret, secret_file) {
            (None, None) => {
                let fault = Fault::new(here("name"), format!("{path} has no secret"));
                faults.push(fault.suggest("add secret = \"...\" or secret_file = \"...\" to it"));
            }
            (Some(_), Some(_)) => {
                let fault = Fault::new(key_at(&format!("{path}.secret_file")), "both secret and secret_file");
                faults.push(fault.suggest("remove one of them"));
            }
            _ => {}
        }
        if *stanza < SMALLEST_STANZA {
            let reason = format!("{path}.stanza is below 10000 bytes, the least that RFC 6120 allows");
            faults.push(Fault::new(here("stanza"), reason));
        }
    }
    faults
}

/// A service has a name of its own.
fn services(config: &Config, value_at: &dyn Fn(&str) -> usize) -> Vec<Fault> {
    let mut taken: HashSet<&DomainName> =
        accounts_of(config).chain(config.components.iter().map(|it| &it.name)).collect();
    let twice = config.services.rooms.iter().filter(|name| !taken.insert(name));
    let fault = |name| Fault::new(value_at("services.rooms"), format!("{name} is the name of something else already"));
    twice.map(|name| fault(name).suggest("give the rooms a domain of their own")).collect()
}

fn peers(config: &Config, value_at: &dyn Fn(&str) -> usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let without_accounts = config.components.iter().map(|it| &it.name).chain(&config.services.rooms);
    let own: HashSet<&DomainName> = accounts_of(config).chain(without_accounts).collect();
    let mut seen = HashSet::new();
    for (index, Peer { name, federate, proofs, .. }) in config.peers.iter().enumerate() {
        let path = format!("peers[{}]", index + 1);
        let here = |name: &str| value_at(&format!("{path}.{name}"));
        if *name == DomainName::unnamed() {
            faults.push(Fault::new(value_at("peers"), format!("{path} has no name")));
        } else if own.contains(name) {
            faults.push(Fault::new(here("name"), format!("{name} is a domain of this server")));
        } else if !seen.insert(name) {
            faults.push(Fault::new(here("name"), format!("the domain {name} is there twice")));
        }
        if *federate == Some(true) && config.federation.mode == FederationMode::Closed {
            let fault = Fault::new(here("federate"), "federation.mode = \"closed\" has no exceptions");
            faults.push(fault.suggest("set federation.mode = \"listed\""));
        }
        if proofs.as_ref().is_some_and(Vec::is_empty) {
            let fault = Fault::new(here("proofs"), format!("nothing would prove that a server speaks for {name}"));
            faults.push(fault.suggest("say federate = false"));
        }
        if *federate == Some(false) && config.federation.allow.contains(name) {
            faults.push(Fault::new(here("federate"), format!("{name} is in federation.allow, too")));
        }
    }
    faults
}

/// A certificate is of no use without its key.
fn pair(
    faults: &mut Vec<Fault>,
    path: &str,
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
    key_at: &dyn Fn(&str) -> usize,
) {
    let (given, missing) = match (certificate, key) {
        (Some(_), None) => ("certificate", "key"),
        (None, Some(_)) => ("key", "certificate"),
        _ => return,
    };
    let fault = Fault::new(key_at(&format!("{path}.{given}")), format!("a {given} without {missing}"));
    faults.push(fault.suggest(format!("add {missing} = \"...\" beside it")));
}
