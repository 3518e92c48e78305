//! How somebody stands to a room: for good (affiliation) and for one visit (role). XEP-0045 §5.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::xml::spelled;

spelled! {
    /// XEP-0045 §5.2, from the least to the most power. It belongs to a bare JID and outlives visits; `None` is its absence.
    #[derive(PartialOrd, Ord)]
    pub(super) Affiliation { Outcast = "outcast", None = "none", Member = "member", Admin = "admin", Owner = "owner" }
}

spelled! {
    /// XEP-0045 §5.1, from the least to the most power. It belongs to an occupant and ends with the visit; `None` is its
    /// absence.
    #[derive(PartialOrd, Ord)]
    pub(super) Role { None = "none", Visitor = "visitor", Participant = "participant", Moderator = "moderator" }
}

/// Kept as it is spelt on the wire, so that what is stored can be read.
impl Serialize for Affiliation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Affiliation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no affiliation"))
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no role"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: XEP-0045 §5.1, §5.2
    #[test]
    fn they_are_in_the_order_of_their_power() {
        assert!(Affiliation::ALL.is_sorted() && Role::ALL.is_sorted());
        assert!(Affiliation::None > Affiliation::Outcast && Affiliation::Owner > Affiliation::Admin);
    }

    #[test]
    fn they_are_kept_as_they_are_spelt() {
        for affiliation in Affiliation::ALL {
            let text = serde_json::to_string(affiliation).unwrap();
            assert_eq!(text, format!("\"{}\"", affiliation.as_str()));
            assert_eq!(serde_json::from_str::<Affiliation>(&text).unwrap(), *affiliation);
        }
        for role in Role::ALL {
            let text = serde_json::to_string(role).unwrap();
            assert_eq!(serde_json::from_str::<Role>(&text).unwrap(), *role);
        }
        assert!(serde_json::from_str::<Role>("\"king\"").is_err());
        assert!(serde_json::from_str::<Affiliation>("\"king\"").is_err());
    }
}
