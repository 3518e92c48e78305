//! What a stanza is: its name and its `type` attribute, the wire spelling in one table each.

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

macro_rules! types {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every value, in the order of the RFC.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The wire spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value that is spelt `text`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

types! {
    /// RFC 6121 §5.2.2. An unknown value is to be read as `normal`.
    MessageType { Chat = "chat", Error = "error", Groupchat = "groupchat", Headline = "headline", Normal = "normal" }
}
types! {
    /// RFC 6121 §4.7.1. `Available` is the absence of the attribute.
    PresenceType {
        Available = "available", Error = "error", Probe = "probe", Subscribe = "subscribe", Subscribed = "subscribed",
        Unavailable = "unavailable", Unsubscribe = "unsubscribe", Unsubscribed = "unsubscribed",
    }
}
types! {
    /// RFC 6120 §8.2.3.
    IqType { Get = "get", Set = "set", Result = "result", Error = "error" }
}
