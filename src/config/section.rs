//! How a section of the file is declared: one macro makes the struct, its defaults and its manual.

/// A table of the file: `[name]`, `[[name]]`, or the top of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The name in brackets; empty for the top of the file.
    pub name: &'static str,
    pub shape: Shape,
    /// The manual, one line each.
    pub doc: &'static [&'static str],
    pub keys: &'static [Key],
}

/// How often a section can stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Once,
    Repeated,
}

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// The manual, one line each.
    pub doc: &'static [&'static str],
    /// What the example file shows where there is no default, in TOML.
    pub example: Option<&'static str>,
}

impl Section {
    /// The key's full name, as `comity config explain` takes it.
    #[must_use]
    pub fn path(&self, key: &Key) -> String {
        if self.name.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.name, key.name) }
    }
}

/// Declares a section: the doc comments are the manual, the values are the defaults; `like` gives the
/// example of a key without default; `with` lists the sections below the top of the file.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident, $title:literal, $shape:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, like $example:literal)?; )+
        }
        $(with { $($sub:ident: $subtype:ty),+ $(,)? })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
            $( $( pub $sub: $subtype, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ $($($sub: Default::default(),)+)? }
            }
        }

        impl $name {
            pub(super) const SECTION: crate::config::section::Section = crate::config::section::Section {
                name: $title,
                shape: crate::config::section::Shape::$shape,
                doc: &[$($about),+],
                keys: &[$(crate::config::section::Key {
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    example: crate::config::section::section!(@example $($example)?),
                }),+],
            };
        }
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

pub(super) use section;
