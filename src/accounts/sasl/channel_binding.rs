//! Channel bindings: what ties an authentication to the TLS connection it travels on (RFC 5056).
//!
//! `tls-unique` is left out on purpose: TLS 1.3 does not define it (RFC 9266 §3).

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

/// The channel bindings that one connection can do, with their data.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bindings {
    /// The exported keying material, where the TLS version makes it unique (RFC 9266 §2).
    pub exporter: Option<[u8; 32]>,
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
            BindingType::TlsExporter => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            BindingType::TlsServerEndPoint => self.end_point.as_deref(),
        }
    }

    /// The types that this connection can do, stronger first.
    pub fn types(&self) -> impl Iterator<Item = BindingType> {
        BindingType::ALL.iter().copied().filter(|kind| self.data(*kind).is_some())
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
    use super::*;

    #[test]
    fn only_what_the_connection_can_do_is_listed() {
        let both = Bindings { exporter: Some([1; 32]), end_point: Some(vec![2]) };
        assert_eq!(both.types().collect::<Vec<_>>(), BindingType::ALL);
        let one = Bindings { end_point: Some(vec![2]), ..Bindings::NONE };
        assert_eq!(one.types().collect::<Vec<_>>(), [BindingType::TlsServerEndPoint]);
        assert!(Bindings::NONE.is_empty() && Bindings::NONE.types().next().is_none());
        assert_eq!(format!("{both:?}"), "[TlsExporter, TlsServerEndPoint]");
        assert_eq!(BindingType::parse("tls-unique"), None);
    }
}
