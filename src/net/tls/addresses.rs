//! Which XMPP addresses a trusted authority vouches for in the certificate of a client (RFC 6120 §13.7.2.2).

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Trust;
use super::names::{Presented, presented};
use super::path::{end_of, is_name_constrained};

/// What a certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// As they are written there.
    pub addresses: Vec<String>,
    /// When the first certificate of the path ends.
    pub until: SystemTime,
}

/// The addresses in the certificate of a client, if a path leads from it to an authority in `trust` at this time.
///
/// # Errors
/// Why it proves nothing.
pub fn vouched(chain: &[CertificateDer<'_>], now: SystemTime, trust: &Trust) -> Result<Vouched, String> {
    let (leaf, intermediates) = chain.split_first().ok_or("no certificate was shown")?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let end_entity = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let (anchors, usage) = (trust.anchors(), KeyUsage::client_auth());
    let path = end_entity
        .verify_for_usage(ALL_VERIFICATION_ALGS, anchors, intermediates, now, usage, None, None)
        .map_err(|error| error.to_string())?;
    if is_name_constrained(&path) {
        return Err("an authority in the path is limited to some names, which says nothing about addresses".to_owned());
    }
    let address = |name: Presented| match name {
        Presented::XmppAddr(address) => Some(address),
        Presented::Dns(_) | Presented::Srv(_) => None,
    };
    let addresses = presented(&parsed).into_iter().filter_map(address).collect();
    Ok(Vouched { addresses, until: end_of(&path, &parsed) })
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    use super::*;
    use crate::net::tls::mint::{Authority, Name, Wish, self_signed};

    // Proves: RFC 6120 §13.7.2.2
    #[test]
    fn only_what_a_trusted_authority_says_of_a_client_counts() {
        let root = Authority::root("ours");
        let mut trust = Trust::nobody();
        trust.add(&root.certificate).unwrap();
        let names = [Name::Xmpp("juliet@example.org"), Name::Dns("example.org"), Name::Xmpp("julia@example.org")];
        let wish = Wish { usages: vec![ClientAuth], ..Wish::names(&names) };
        let found = |chain: &[CertificateDer<'_>], trust: &Trust| {
            vouched(chain, SystemTime::now(), trust).map(|vouched| vouched.addresses).ok()
        };
        let both = Some(vec!["juliet@example.org".to_owned(), "julia@example.org".to_owned()]);
        let good = root.mint(&wish).chain;
        assert_eq!(found(&good, &trust), both);
        assert_eq!(found(&root.below("below", 2040, None).mint(&wish).chain, &trust), both);
        assert_eq!(found(&root.mint(&Wish::names(&[Name::Dns("example.org")])).chain, &trust), Some(Vec::new()));
        assert_eq!(vouched(&good, SystemTime::now(), &trust).unwrap().until, {
            let (_, parsed) = X509Certificate::from_der(&good[0]).unwrap();
            UNIX_EPOCH + std::time::Duration::from_secs(parsed.validity().not_after.timestamp().unsigned_abs())
        });
        // Nobody, somebody unknown, itself, for servers, of another time, and from an authority for others.
        assert_eq!(found(&[], &trust), None);
        assert_eq!(found(&good, &Trust::nobody()), None);
        assert_eq!(found(&Authority::root("others").mint(&wish).chain, &trust), None);
        assert_eq!(found(&self_signed(&wish).chain, &trust), None);
        assert_eq!(found(&root.mint(&Wish { usages: vec![ServerAuth], ..wish.clone() }).chain, &trust), None);
        assert_eq!(found(&root.mint(&Wish { years: (2020, 2021), ..wish.clone() }).chain, &trust), None);
        assert_eq!(found(&root.mint(&Wish { years: (2038, 2040), ..wish.clone() }).chain, &trust), None);
        let limited = root.below("limited", 2040, Some("example.org"));
        assert_eq!(found(&limited.mint(&wish).chain, &trust), None);
    }
}
