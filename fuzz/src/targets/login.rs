//! The login machine: whatever a client says, it is in only when a proof was right, and there is an end to its attempts.

use std::sync::LazyLock;

use comity::accounts::attempts::Judgement;
use comity::accounts::credentials::{Credentials, Decoy, Iterations, Password, Salts, ScramHash, Verdict};
use comity::accounts::directory::Standing;
use comity::accounts::sasl::channel_binding::{Bindings, Exporter};
use comity::accounts::sasl::scram::Nonce;
use comity::accounts::tokens::TokenKey;
use comity::clock::Timestamp;
use comity::jid::BareJid;
use comity::negotiation::features::{Confidentiality, Offer, PlainPolicy, TokenPolicy};
use comity::negotiation::login::{ATTEMPTS, Effect, Found, FoundToken, Login};
use comity::net::TlsVersion;
use comity::stanza::CLIENT_NS;

use crate::gate;
use crate::readers::written_alone;

static JULIET: LazyLock<Credentials> = LazyLock::new(|| {
    let salts = Salts { sha1: [1; 16], sha256: [2; 16], sha512: [3; 16] };
    Credentials::derive(&Password::prepare("pencil").expect("a password"), &salts, iterations())
});

fn iterations() -> Iterations {
    Iterations::new(Iterations::MIN).expect("as few as there may be")
}

/// Failures on one stream, and what may not fit beside them.
const MOST_ANSWERS: usize = 16;

pub(crate) fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let offer = Offer {
        confidentiality: if first & 1 == 0 { Confidentiality::Tls } else { Confidentiality::Waived },
        bindings: Bindings { exporter: Some(Exporter::new(|| Some([5; 32]))), end_point: Some(vec![6; 32]) },
        version: Some(TlsVersion::Tls13),
        plain: if first & 2 == 0 { PlainPolicy::Offered } else { PlainPolicy::Refused },
        hashes: if first & 4 == 0 { ScramHash::ALL } else { ScramHash::OLD },
        tokens: if first & 8 == 0 { TokenPolicy::Issued } else { TokenPolicy::None },
        certified: Vec::new(),
    };
    let domain = BareJid::of_domain("a.example").expect("a domain");
    let login = Login::new(domain, offer, Decoy::new(&[9; 32], iterations()));
    let mut client = Client { login, is_in: false, is_closed: false, failures: 0, proven: None };
    for element in gate::nonzas(rest).iter().take(MOST_ANSWERS) {
        let was_in = client.is_in;
        let effects = client.login.nonza(element);
        assert!(!effects.is_empty(), "nobody waits for ever");
        client.follow(effects);
        assert!(!was_in || client.is_closed, "who is in does not log in again");
        if client.is_closed {
            return;
        }
    }
}

struct Client {
    login: Login,
    is_in: bool,
    is_closed: bool,
    failures: usize,
    /// Whose proof was right.
    proven: Option<BareJid>,
}

impl Client {
    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.is_closed, "something behind the end");
            match effect {
                Effect::Send(element) => {
                    written_alone(&element.to_xml(CLIENT_NS), CLIENT_NS);
                }
                Effect::LookUp(account) => {
                    let found = match account.local() {
                        Some("juliet") => Found::Account(Box::new(JULIET.clone()), Standing::Active),
                        Some("nurse") => Found::Unavailable,
                        _ => Found::Unknown,
                    };
                    let effects = self.login.looked_up(found, &Nonce::new([8; 18]));
                    self.follow(effects);
                }
                Effect::Verify(verification) => {
                    let attempt = verification.run();
                    self.follow(vec![Effect::Judge(attempt)]);
                }
                Effect::Judge(attempt) => {
                    let judgement = match attempt.verdict {
                        Verdict::Right => Judgement::Admitted,
                        Verdict::Wrong => Judgement::Wrong,
                    };
                    self.proven = (attempt.verdict == Verdict::Right).then_some(attempt.account);
                    let effects = self.login.judged(judgement);
                    self.follow(effects);
                }
                Effect::LookUpToken(..) => {
                    let now = Timestamp::from_unix_ms(1_000_000_000_000);
                    let effects = self.login.token_found(FoundToken::Unknown, &TokenKey::new(&[7; 32]), now);
                    self.follow(effects);
                }
                Effect::Salt => {
                    let effects = self.login.salted([4; 16]);
                    self.follow(effects);
                }
                Effect::Keep(keys) => {
                    assert_eq!(self.proven.as_ref(), Some(&keys.account), "keys of somebody else");
                    let effects = self.login.kept::<()>(&Ok(()));
                    self.follow(effects);
                }
                Effect::Success { user } => self.enter(&user),
                Effect::Enter(entry) => {
                    self.enter(&entry.user);
                    written_alone(&entry.success("juliet@a.example/x", ""), CLIENT_NS);
                }
                Effect::Failure { .. } => {
                    self.failures += 1;
                    assert!(self.failures <= usize::from(ATTEMPTS), "a guess too many");
                }
                Effect::Close(error) => {
                    written_alone(&error.to_xml(), CLIENT_NS);
                    self.is_closed = true;
                }
            }
        }
    }

    fn enter(&mut self, user: &BareJid) {
        assert_eq!(self.proven.as_ref(), Some(user), "somebody is in who has proven nothing");
        assert_eq!(user.as_str(), "juliet@a.example");
        assert!(!self.is_in, "in twice");
        self.is_in = true;
    }
}
