//! Addresses: what is prepared stays as it is, has its parts within their bounds, and is made of them.

use comity::jid::{BareJid, Jid, a_labels, localpart, resourcepart};

/// Octets of a part (RFC 7622 §3.1).
const MOST: usize = 1023;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(jid) = Jid::parse(text) else { return };
    assert_eq!(Jid::parse(jid.as_str()).as_ref(), Ok(&jid), "prepared twice: {text:?}");
    let parts = [jid.local(), Some(jid.domain()), jid.resource()];
    assert!(parts.iter().flatten().all(|part| (1..=MOST).contains(&part.len())), "{jid}");
    let (local, resource) = (jid.local(), jid.resource());
    let whole: String = [local.unwrap_or_default(), if local.is_some() { "@" } else { "" }, jid.domain()].concat();
    assert_eq!(jid.bare_str(), whole);
    assert_eq!(jid.as_str(), resource.map_or(whole.clone(), |resource| format!("{whole}/{resource}")));
    assert_eq!(jid.is_bare(), resource.is_none());
    let bare = jid.to_bare();
    assert_eq!(BareJid::parse(&whole).as_ref(), Ok(&bare));
    if let Some(local) = local {
        assert_eq!(localpart(local).as_deref(), Ok(local));
        assert!(!local.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' ']), "RFC 7622 §3.3.1: {local}");
        if let Ok(account) = BareJid::account(local, jid.domain()) {
            assert_eq!(BareJid::parse(account.as_str()), Ok(account));
        }
    }
    match resource {
        Some(resource) => {
            assert_eq!(resourcepart(resource).as_deref(), Ok(resource));
            assert_eq!(bare.with_resource(resource), Ok(jid));
        }
        None => assert_eq!(*bare.as_jid(), jid),
    }
    if let Some(ascii) = a_labels(bare.domain()) {
        assert!(ascii.is_ascii(), "{ascii}");
        assert_eq!(BareJid::of_domain(&ascii).map(|jid| jid.domain().to_owned()), Ok(bare.domain().to_owned()));
    }
}
