//! What a stanza is: its name and its `type` attribute, the wire spelling in one table each.

use crate::xml::spelled;

/// A stanza's element name together with its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Message(MessageType),
    Presence(PresenceType),
    Iq(IqType),
}

impl Kind {
    /// `message`, `presence` or `iq`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Presence(_) => "presence",
            Self::Iq(_) => "iq",
        }
    }

    /// The value of `type`, or `None` where the attribute is left out: a normal message and
    /// available presence.
    #[must_use]
    pub const fn type_attribute(self) -> Option<&'static str> {
        match self {
            Self::Message(MessageType::Normal) => None,
            Self::Message(kind) => Some(kind.as_str()),
            Self::Presence(PresenceType::Available) => None,
            Self::Presence(kind) => Some(kind.as_str()),
            Self::Iq(kind) => Some(kind.as_str()),
        }
    }

    /// The kind of the error that may answer this stanza (RFC 6120 §8.3.1).
    #[must_use]
    pub const fn error(self) -> Option<Self> {
        match self {
            Self::Message(MessageType::Error)
            | Self::Presence(PresenceType::Error)
            | Self::Iq(IqType::Error | IqType::Result) => None,
            Self::Message(_) => Some(Self::Message(MessageType::Error)),
            Self::Presence(_) => Some(Self::Presence(PresenceType::Error)),
            Self::Iq(_) => Some(Self::Iq(IqType::Error)),
        }
    }
}

spelled! {
    /// RFC 6121 §5.2.2. An unknown value is to be read as `normal`.
    pub MessageType { Chat = "chat", Error = "error", Groupchat = "groupchat", Headline = "headline", Normal = "normal" }
}
spelled! {
    /// RFC 6121 §4.7.1. `Available` is the absence of the attribute.
    pub PresenceType {
        Available = "available", Error = "error", Probe = "probe", Subscribe = "subscribe", Subscribed = "subscribed",
        Unavailable = "unavailable", Unsubscribe = "unsubscribe", Unsubscribed = "unsubscribed",
    }
}
spelled! {
    /// RFC 6120 §8.2.3.
    pub IqType { Get = "get", Set = "set", Result = "result", Error = "error" }
}
