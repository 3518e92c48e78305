//! The extension API: what an extension declares, and the points of the server's life at which it
//! may act.
//!
//! Knows no concrete extension, no session and no router: those sit above and below it.

mod acknowledgement;
mod attention;
mod catalogue;
mod command;
mod companion;
pub mod discovery;
mod extension;
pub mod form;
mod inline_feature;
mod interest;
mod iq;
mod lifecycle;
mod notice;
pub mod operation;
mod outbound;
pub mod paging;
mod peer_change;
mod registrar;
mod stage;
mod stream_feature;
mod visit;

pub use acknowledgement::{Acknowledgement, Heard, Said, TooHigh, Wish};
pub use attention::{Attention, ClientState, Urgency};
pub use catalogue::{ArchiveSettings, Bound, Catalogue, PushSettings, RegistrationSettings, RoomSettings, Settings};
pub use command::{Ask, Asked, COMMANDS_NS, Command, Done, Note, Run};
pub use companion::{Companion, Passage, There};
pub use extension::{Entity, Extension, Spec};
pub use inline_feature::{InlineFeatures, InlineOffers};
pub use interest::{Interest, Interests, Wanted};
pub use iq::{Answer, Call, Relation, Request, Verb, answering};
pub use lifecycle::{Backlog, Delayed};
pub use notice::Notice;
pub use outbound::{Hosted, Outbound, Reply, Seated, Unblocked};
pub use peer_change::PeerChange;
pub use registrar::{Hooks, House, InstallError, Registrar};
pub use stage::{Duplicate, Original, Passing, Place, Readers, Retraction, Shelf, Stages, Verdict};
pub use stream_feature::{Peer, StreamFeatures, StreamState};
pub use visit::{Strangers, Visit};
