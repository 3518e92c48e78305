//! Unpredictable octets and text, from the operating system's generator.

use aws_lc_rs::rand;

use crate::hexadecimal;
use crate::nonces;

/// Random octets, which may become a key.
///
/// # Errors
/// The generator of the operating system failed: nothing that needs secrecy may go on.
pub fn octets<const N: usize>() -> Result<[u8; N], Exhausted> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Exhausted)?;
    Ok(bytes)
}

/// The operating system gives no random octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gives no random octets")
    }
}

impl std::error::Error for Exhausted {}

/// Random octets that everybody may see.
///
/// # Errors
/// Those of [`octets`].
pub fn nonce<const N: usize>() -> Result<[u8; N], Exhausted> {
    let mut bytes = [0; N];
    nonces::fill(&mut bytes).map_err(|nonces::Exhausted| Exhausted)?;
    Ok(bytes)
}

/// `octets` random octets that everybody may see, in hexadecimal.
///
/// A machine whose generator fails cannot run a server: the text is empty then, which no caller
/// accepts as an identifier.
#[must_use]
pub fn token(octets: usize) -> String {
    let mut bytes = vec![0; octets];
    if nonces::fill(&mut bytes).is_err() {
        return String::new();
    }
    hexadecimal::text(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: RFC 6120 §4.7.3
    #[test]
    fn two_tokens_differ() {
        assert_eq!(token(16).len(), 32);
        assert_ne!(token(16), token(16));
    }
}
