//! EXTERNAL (RFC 4422 appendix A, XEP-0178): the certificate proves, this checks for whom.

use crate::jid::BareJid;

use super::error::{SaslCondition, SaslError};

/// The longest authorization identity of a server: a domainpart at its limit.
const MAX_MESSAGE: usize = 1023;

/// That of a client: a localpart at its limit besides, before it is prepared.
const MAX_ADDRESS: usize = 4096;

/// The account that a client is authorized as whose certificate stands for those in `certified`.
///
/// `stream_from` is who the client has said to be in the header of its stream (RFC 6120 §13.7.2.2.1).
///
/// # Errors
/// `malformed-request`; `invalid-authzid` for whom the certificate does not name, and where it names several and nothing
/// says which of them is meant.
pub fn authorize_client(
    message: &[u8],
    certified: &[BareJid],
    stream_from: Option<&BareJid>,
) -> Result<BareJid, SaslError> {
    if message.len() > MAX_ADDRESS {
        return Err(SaslError::malformed("the authorization identity is too long"));
    }
    let authzid = str::from_utf8(message).map_err(|_| SaslError::malformed("the message is not UTF-8"))?;
    let refused = |text| SaslError::new(SaslCondition::InvalidAuthzid, text);
    if authzid.is_empty() {
        return match (certified, stream_from) {
            ([only], _) => Ok(only.clone()),
            (several, Some(from)) if several.contains(from) => Ok(from.clone()),
            _ => Err(refused("the certificate has several addresses, say which one is meant")),
        };
    }
    let account = BareJid::parse(authzid).map_err(|_| refused("the identity is no bare JID"))?;
    if certified.contains(&account) { Ok(account) } else { Err(refused("the certificate does not name this address")) }
}

/// The domain that the peer is authorized as.
///
/// `stream_from` is the `from` of its stream header, prepared; `proves` says whether its certificate stands for a
/// domain.
///
/// # Errors
/// `malformed-request`; `invalid-authzid` if the identity is no domain, differs from the header, or if neither is
/// given; `not-authorized` if the certificate does not prove it.
pub fn authorize(
    message: &[u8],
    stream_from: Option<&BareJid>,
    proves: impl FnOnce(&str) -> bool,
) -> Result<BareJid, SaslError> {
    if message.len() > MAX_MESSAGE {
        return Err(SaslError::malformed("the authorization identity is too long"));
    }
    let authzid = str::from_utf8(message).map_err(|_| SaslError::malformed("the message is not UTF-8"))?;
    let refused = |text| SaslError::new(SaslCondition::InvalidAuthzid, text);
    let domain = match (authzid, stream_from) {
        ("", Some(from)) => from.clone(),
        ("", None) => return Err(refused("the stream header names no domain")),
        (authzid, from) => {
            let domain = BareJid::of_domain(authzid).map_err(|_| refused("the identity is no domain"))?;
            if from.is_some_and(|from| *from != domain) {
                return Err(refused("the identity is not the domain of the stream header"));
            }
            domain
        }
    };
    if domain.local().is_some() {
        return Err(refused("a server is a domain"));
    }
    if proves(domain.domain()) {
        Ok(domain)
    } else {
        Err(SaslError::new(SaslCondition::NotAuthorized, "the certificate does not prove this domain"))
    }
}
