//! Extensions: one file is one XEP. Adding one means its file, its `mod` line and its entry in
//! [`ALL`].

mod rfc_3921_session;
mod xep_0012_last_activity;
mod xep_0030_service_discovery;
mod xep_0045_muc;
mod xep_0049_private_storage;
mod xep_0050_commands;
mod xep_0054_vcard;
mod xep_0077_registration;
mod xep_0092_version;
mod xep_0115_capabilities;
mod xep_0133_administration;
mod xep_0157_contact;
mod xep_0160_offline;
mod xep_0191_blocking;
mod xep_0198_stream_management;
mod xep_0199_ping;
mod xep_0202_entity_time;
mod xep_0280_carbons;
mod xep_0313_archive;
mod xep_0352_client_state;
mod xep_0357_push;
mod xep_0359_stanza_ids;
mod xep_0377_reports;
mod xep_0390_capabilities;
mod xep_0410_self_ping;
mod xep_0421_occupant_ids;
mod xep_0424_retraction;
mod xep_0425_moderation;
mod xep_0433_channel_search;
mod xep_0441_preferences;
mod xep_0478_stream_limits;
mod xep_0486_avatars;
mod xep_0494_client_access;

use crate::hooks::Extension;
#[cfg(feature = "testing")]
pub use xep_0045_muc::play;
pub use xep_0045_muc::{Memory as RoomMemory, Rooms};
pub use xep_0160_offline::delay;
pub use xep_0199_ping::NS as PING_NS;

/// XEP-0334: what its sender says may be done with a message, for all who keep or copy some.
const HINTS_NS: &str = "urn:xmpp:hints";

/// XEP-0085, whose notifications alone are nothing that somebody wants later.
const CHAT_STATES_NS: &str = "http://jabber.org/protocol/chatstates";

/// XEP-0045: whoever enters a room says so in this namespace, for all who recognise that.
const MUC_NS: &str = "http://jabber.org/protocol/muc";

/// XEP-0045: what a room says to one of its occupants, and the mark of messages between two of them, which both have the
/// bare JID of the room.
const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";

/// Everything that is built in, in the order of the `mod` lines.
pub const ALL: &[Extension] = &[
    rfc_3921_session::EXTENSION,
    xep_0012_last_activity::EXTENSION,
    xep_0030_service_discovery::EXTENSION,
    xep_0045_muc::EXTENSION,
    xep_0049_private_storage::EXTENSION,
    xep_0050_commands::EXTENSION,
    xep_0054_vcard::EXTENSION,
    xep_0077_registration::EXTENSION,
    xep_0092_version::EXTENSION,
    xep_0115_capabilities::EXTENSION,
    xep_0133_administration::EXTENSION,
    xep_0157_contact::EXTENSION,
    xep_0160_offline::EXTENSION,
    xep_0191_blocking::EXTENSION,
    xep_0198_stream_management::EXTENSION,
    xep_0199_ping::EXTENSION,
    xep_0202_entity_time::EXTENSION,
    xep_0280_carbons::EXTENSION,
    xep_0313_archive::EXTENSION,
    xep_0352_client_state::EXTENSION,
    xep_0357_push::EXTENSION,
    xep_0359_stanza_ids::EXTENSION,
    xep_0377_reports::EXTENSION,
    xep_0390_capabilities::EXTENSION,
    xep_0410_self_ping::EXTENSION,
    xep_0421_occupant_ids::EXTENSION,
    xep_0424_retraction::EXTENSION,
    xep_0425_moderation::EXTENSION,
    xep_0433_channel_search::EXTENSION,
    xep_0441_preferences::EXTENSION,
    xep_0478_stream_limits::EXTENSION,
    xep_0486_avatars::EXTENSION,
    xep_0494_client_access::EXTENSION,
];
