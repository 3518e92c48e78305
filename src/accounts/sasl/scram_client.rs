//! SCRAM, client side (RFC 5802), for the demo, the doctor and the tests.

use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::accounts::credentials::{Iterations, Password, ScramHash};

use super::channel_binding::BindingType;

/// What the client says about channel binding (RFC 5802 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientBinding {
    /// This client cannot.
    Unsupported,
    /// This client could, but was offered none.
    NotOffered,
    /// Of this type, with the data of this connection.
    Bound(BindingType, Vec<u8>),
}

/// Why the client gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMisbehaved {
    /// Its message does not follow the syntax.
    Malformed,
    /// Its nonce does not begin with ours.
    Nonce,
    /// It asks for so few or so many iterations that the password would be at risk or the client stalled.
    Iterations,
    /// It does not know the keys of the account.
    Signature,
}

impl std::fmt::Display for ServerMisbehaved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the server's SCRAM message is malformed",
            Self::Nonce => "the server's nonce does not continue ours",
            Self::Iterations => "the server's iteration count is not acceptable",
            Self::Signature => "the server could not prove that it knows the account",
        })
    }
}

impl std::error::Error for ServerMisbehaved {}

/// One login attempt.
pub struct ScramClient {
    hash: ScramHash,
    password: Password,
    nonce: String,
    gs2_header: String,
    binding: Vec<u8>,
    bare: String,
}

impl ScramClient {
    /// An attempt as `user` (a localpart) with a fresh `nonce` of printable characters without comma.
    #[must_use]
    pub fn new(hash: ScramHash, user: &str, password: Password, binding: ClientBinding, nonce: &str) -> Self {
        let (gs2_header, binding) = match binding {
            ClientBinding::Unsupported => ("n,,".to_owned(), Vec::new()),
            ClientBinding::NotOffered => ("y,,".to_owned(), Vec::new()),
            ClientBinding::Bound(kind, data) => (format!("p={},,", kind.as_str()), data),
        };
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Self { hash, password, nonce: nonce.to_owned(), gs2_header, binding, bare }
    }

    /// The client-first-message.
    #[must_use]
    pub fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.bare)
    }

    /// The client-final-message for a challenge, and the server-final-message that must follow.
    ///
    /// # Errors
    /// [`ServerMisbehaved`].
    pub fn respond(&self, challenge: &[u8]) -> Result<(String, Expected), ServerMisbehaved> {
        let challenge = str::from_utf8(challenge).map_err(|_| ServerMisbehaved::Malformed)?;
        let mut attributes = challenge.split(',');
        let mut value = |name: &str| {
            attributes.next().and_then(|attribute| attribute.strip_prefix(name)).ok_or(ServerMisbehaved::Malformed)
        };
        let (nonce, salt, count) = (value("r=")?, value("s=")?, value("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ServerMisbehaved::Nonce);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ServerMisbehaved::Malformed)?;
        let count: u32 = count.parse().map_err(|_| ServerMisbehaved::Malformed)?;
        let iterations = Iterations::new(count).ok_or(ServerMisbehaved::Iterations)?;
        let hash = self.hash;
        let mut bound = self.gs2_header.clone().into_bytes();
        bound.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(bound));
        let transcript = format!("{},{challenge},{without_proof}", self.bare);
        let salted = hash.salted(&self.password, &salt, iterations.count());
        let client_key = hash.hmac(&salted, b"Client Key");
        let signature = hash.hmac(&hash.digest(&client_key), transcript.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, mask)| key ^ mask).collect();
        let server_key = hash.hmac(&salted, b"Server Key");
        let expected = format!("v={}", STANDARD.encode(hash.hmac(&server_key, transcript.as_bytes())));
        Ok((format!("{without_proof},p={}", STANDARD.encode(proof)), Expected(expected)))
    }
}

/// The server-final-message that only a server with the account's keys can send.
pub struct Expected(String);

impl Expected {
    /// Checks it.
    ///
    /// # Errors
    /// [`ServerMisbehaved::Signature`].
    pub fn verify(&self, message: &[u8]) -> Result<(), ServerMisbehaved> {
        constant_time::verify_slices_are_equal(message, self.0.as_bytes()).map_err(|_| ServerMisbehaved::Signature)
    }
}
