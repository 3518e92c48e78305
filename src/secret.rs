//! What only two may know: the secret of a component, a password on its way to becoming keys. It is overwritten when it goes,
//! nothing prints it by accident, and comparing it takes the same time wherever it differs.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// A text that is secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// For whoever makes keys of it, or sends it to the one whom it is for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is what somebody says it is; takes the same time wherever two of one length differ.
    #[must_use]
    pub fn is(&self, said: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), said.as_bytes()).is_ok()
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty text is no secret".to_owned()),
            // Whoever has kept what was shown, or has sent one without saying so, finds out.
            NOT_SHOWN => Err("this is what is shown in place of a secret".to_owned()),
            _ => Ok(Self::new(text.to_owned())),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.reveal())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Says that there is one, and no more: whoever sends or keeps it says [`spelled_out`].
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(NOT_SHOWN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                text.parse().map_err(E::custom)
            }

            // The usual messages would repeat what was written.
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom(NO_TEXT))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(NO_TEXT))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom(NO_TEXT))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(NO_TEXT))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(de::Error::custom(NO_TEXT))
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(de::Error::custom(NO_TEXT))
            }
        }

        from.deserialize_any(Text)
    }
}

/// How one is written for whoever has to know it, and read again: `#[serde(with = "spelled_out")]`.
pub mod spelled_out {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    /// # Errors
    /// Those of `to`.
    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    /// # Errors
    /// Those of `from`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// In place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// A secret of another type.
const NO_TEXT: &str = "a secret is a text in quotes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_and_never_written() {
        let secret = Secret::new("orchard".to_owned());
        assert_eq!(secret, "orchard".parse().unwrap());
        for other in ["orcharD", "Orchard", "orchar", "orchards"] {
            assert_ne!(secret, other.parse().unwrap());
        }
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "Secret \"(not shown)\"");
        assert_eq!(serde_json::from_str::<Secret>("\"orchard\"").unwrap(), secret);
        for wrong in ["\"\"", "\"(not shown)\"", "4711", "[4711]", "{\"4711\": 4711}", "true", "47.11"] {
            let refused = serde_json::from_str::<Secret>(wrong).unwrap_err().to_string();
            assert!(!refused.contains("47"), "{refused}");
        }
    }

    #[test]
    fn who_has_to_know_one_gets_it() {
        #[derive(Debug, serde::Deserialize, serde::Serialize)]
        struct Sent(#[serde(with = "spelled_out")] Secret);

        let sent = Sent(Secret::new("orchard".to_owned()));
        let written = serde_json::to_string(&sent).unwrap();
        assert_eq!((written.as_str(), format!("{sent:?}").as_str()), ("\"orchard\"", "Sent(Secret)"));
        assert!(serde_json::from_str::<Sent>(&written).unwrap().0.is("orchard"));
    }
}
