//! Messages of SASL and the base64 around them: they are read or refused, and nobody is somebody else by them.

use comity::accounts::sasl::channel_binding::{BindingType, Bindings, Exporter};
use comity::accounts::sasl::hashed_token::Presented;
use comity::accounts::sasl::plain::Plain;
use comity::accounts::sasl::scram::ClientFirst;
use comity::accounts::sasl::{Mechanism, SASL_NS};
use comity::jid::BareJid;
use comity::negotiation::sasl_profile::{data, response};
use comity::xml::Element;

const DOMAIN: &str = "a.example";

pub(crate) fn run(bytes: &[u8]) {
    assert_eq!(data(&response(bytes)).map(Option::unwrap_or_default).as_deref(), Ok(bytes));
    if let Ok(text) = str::from_utf8(bytes) {
        // What is accepted is the one spelling of what it stands for (RFC 6120 §13.9.1).
        let element = Element::new("response", SASL_NS).with_text(text);
        if let Ok(Some(message)) = data(&element) {
            let again = response(&message).text();
            assert!(again == text || (message.is_empty() && text == "="), "{text:?} and {again:?}");
        }
    }
    let bindings = Bindings { exporter: Some(Exporter::new(|| Some([5; 32]))), end_point: Some(vec![6; 32]) };
    for bindings in [bindings, Bindings::NONE] {
        for mechanism in Mechanism::ALL {
            if let Some(account) = claimed(*mechanism, &bindings, bytes) {
                named(&account, bytes);
            }
        }
    }
}

/// Whose account a message is for.
fn claimed(mechanism: Mechanism, bindings: &Bindings, message: &[u8]) -> Option<BareJid> {
    match mechanism {
        // Certificates say it.
        Mechanism::External => None,
        Mechanism::Plain => Plain::parse(message, DOMAIN).ok().map(|plain| plain.account),
        Mechanism::Scram(hash, variant) => {
            let first = ClientFirst::parse((hash, variant), bindings, DOMAIN, message).ok()?;
            assert_eq!(first.hash(), hash);
            Some(first.account)
        }
        Mechanism::HashedToken(binding) => {
            let presented = Presented::parse(binding, bindings, DOMAIN, message).ok()?;
            assert!(binding.is_none_or(|kind: BindingType| bindings.has(kind)), "bound to what is not there");
            assert!(!presented.fits("a token that nobody has"));
            Some(presented.account)
        }
    }
}

/// It is an account here, and the message is of a size that people need.
fn named(account: &BareJid, message: &[u8]) {
    assert_eq!(account.domain(), DOMAIN);
    assert!(account.local().is_some(), "a domain logs in");
    assert_eq!(BareJid::parse(account.as_str()).as_ref(), Ok(account));
    assert!(message.len() <= 4096, "a message of {} octets", message.len());
}
