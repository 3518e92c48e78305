//! Channel bindings: what ties an authentication to the TLS connection it travels on (RFC 5056).
//!
//! `tls-unique` is left out on purpose: TLS 1.3 does not define it (RFC 9266 §3).

use std::sync::{Arc, LazyLock};

/// A registered channel binding type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindingType {
    /// RFC 9266.
    TlsExporter,
    /// RFC 5929 §4.
    TlsServerEndPoint,
}

impl BindingType {
    /// Both, stronger first.
    pub const ALL: &'static [Self] = &[Self::TlsExporter, Self::TlsServerEndPoint];

    /// The channel binding unique prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsExporter => "tls-exporter",
            Self::TlsServerEndPoint => "tls-server-end-point",
        }
    }

    /// The type called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

/// Keying material of a connection, exported when somebody binds to it: most clients never do. What it is made of is gone then,
/// and with the last of its clones.
#[derive(Clone)]
pub struct Exporter(Arc<LazyLock<Option<[u8; 32]>, Export>>);

type Export = Box<dyn FnOnce() -> Option<[u8; 32]> + Send>;

impl Exporter {
    /// What `export` makes.
    pub fn new(export: impl FnOnce() -> Option<[u8; 32]> + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(export))))
    }

    fn data(&self) -> Option<&[u8]> {
        LazyLock::force(&self.0).as_ref().map(<[u8; 32]>::as_slice)
    }
}

#[cfg(test)]
impl From<[u8; 32]> for Exporter {
    fn from(data: [u8; 32]) -> Self {
        Self::new(move || Some(data))
    }
}

/// The channel bindings that one connection can do, with their data.
#[derive(Clone, Default)]
pub struct Bindings {
    /// The exported keying material, where the TLS version makes it unique (RFC 9266 §2).
    pub exporter: Option<Exporter>,
    /// The hash of our certificate (RFC 5929 §4.1).
    pub end_point: Option<Vec<u8>>,
}

impl Bindings {
    /// A connection without channel binding.
    pub const NONE: Self = Self { exporter: None, end_point: None };

    /// The data of a type, or `None` if this connection cannot do it.
    #[must_use]
    pub fn data(&self, kind: BindingType) -> Option<&[u8]> {
        match kind {
            BindingType::TlsExporter => self.exporter.as_ref()?.data(),
            BindingType::TlsServerEndPoint => self.end_point.as_deref(),
        }
    }

    /// Whether this connection can do it; no data is made for that.
    #[must_use]
    pub const fn has(&self, kind: BindingType) -> bool {
        match kind {
            BindingType::TlsExporter => self.exporter.is_some(),
            BindingType::TlsServerEndPoint => self.end_point.is_some(),
        }
    }

    /// The types that this connection can do, stronger first.
    pub fn types(&self) -> impl Iterator<Item = BindingType> {
        BindingType::ALL.iter().copied().filter(|kind| self.has(*kind))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.end_point.is_none()
    }
}

/// Prints the types only.
impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.types()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn keying_material_is_exported_for_who_binds_to_it() {
        static EXPORTED: AtomicBool = AtomicBool::new(false);
        let exporter = Exporter::new(|| {
            EXPORTED.store(true, Ordering::Relaxed);
            Some([7; 32])
        });
        let bindings = Bindings { exporter: Some(exporter), ..Bindings::NONE };
        assert_eq!(bindings.types().collect::<Vec<_>>(), [BindingType::TlsExporter]);
        assert!(!bindings.is_empty() && !EXPORTED.load(Ordering::Relaxed), "nobody has asked for it");
        assert_eq!(bindings.data(BindingType::TlsExporter), Some([7; 32].as_slice()));
        assert!(EXPORTED.load(Ordering::Relaxed));
    }

    #[test]
    fn only_what_the_connection_can_do_is_listed() {
        let both = Bindings { exporter: Some([1; 32].into()), end_point: Some(vec![2]) };
        assert_eq!(both.types().collect::<Vec<_>>(), BindingType::ALL);
        let one = Bindings { end_point: Some(vec![2]), ..Bindings::NONE };
        assert_eq!(one.types().collect::<Vec<_>>(), [BindingType::TlsServerEndPoint]);
        assert!(Bindings::NONE.is_empty() && Bindings::NONE.types().next().is_none());
        assert_eq!(format!("{both:?}"), "[TlsExporter, TlsServerEndPoint]");
        assert_eq!(BindingType::parse("tls-unique"), None);
    }
}
