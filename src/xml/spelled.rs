//! Closed sets of names: one table for what the code says and what the wire says.

/// Declares an enum whose variants have a spelling on the wire, with `ALL`, `as_str` and `parse`.
macro_rules! spelled {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $($variant),+ }

        impl $name {
            /// Every value, in the order of the specification.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The wire spelling.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value that is spelt `text`.
            #[must_use]
            $vis fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        // Not every set is walked through outside of tests.
        const _: &[$name] = $name::ALL;
    };
}

pub(crate) use spelled;

#[cfg(test)]
mod tests {
    spelled! {
        /// Two of them.
        Pair { One = "one", Other = "the-other" }
    }

    #[test]
    fn every_value_reads_as_it_is_written() {
        for pair in Pair::ALL {
            assert_eq!(Pair::parse(pair.as_str()), Some(*pair));
        }
        assert_eq!(Pair::parse("third"), None);
    }
}
