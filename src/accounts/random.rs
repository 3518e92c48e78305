//! Unpredictable text, from the operating system's generator.

use aws_lc_rs::rand;

/// `octets` random octets in hexadecimal.
///
/// A machine whose generator fails cannot run a server: the text is empty then, which no caller
/// accepts as an identifier.
#[must_use]
pub fn token(octets: usize) -> String {
    let mut bytes = vec![0; octets];
    if rand::fill(&mut bytes).is_err() {
        return String::new();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_differ() {
        assert_eq!(token(16).len(), 32);
        assert_ne!(token(16), token(16));
    }
}
