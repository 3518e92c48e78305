//! The one line that a failed login leaves, in a form that fail2ban can match.

use std::fmt;
use std::net::SocketAddr;

/// Logs that the peer at `address` failed to authenticate; exactly one line, never with a password.
///
/// The mechanism is what the peer asked for, so it is not trusted to be a name (RFC 6120 §6.3.3);
/// the reason is one of ours. A peer without address (in memory, a local socket) is shown as `-`.
pub fn authentication_failure(address: Option<SocketAddr>, mechanism: &str, reason: &'static str) {
    let address = Peer(address);
    let mechanism = Mechanism(mechanism);
    tracing::warn!(target: "comity::authentication", %address, %mechanism, reason = %reason, "authentication failure");
}

/// The address without port; an IPv4 address that arrived on an IPv6 socket as IPv4.
struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.ip().to_canonical().fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// At most twenty letters, digits, hyphens and underscores; whatever else was sent is not repeated.
struct Mechanism<'a>(&'a str);

impl fmt::Display for Mechanism<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=20).contains(&self.0.len()) && self.0.as_bytes().iter().all(allowed);
        f.write_str(if is_name { self.0 } else { "?" })
    }
}

#[cfg(test)]
mod tests {
    use super::authentication_failure;
    use crate::telemetry::subscriber::{Style, tests::captured};

    #[test]
    fn one_line_with_the_address() {
        let address = "[::ffff:192.0.2.7]:50000".parse().ok();
        let line = captured(Style::Journal, || authentication_failure(address, "SCRAM-SHA-256", "not-authorized"));
        assert_eq!(
            line,
            " WARN comity::authentication: authentication failure address=192.0.2.7 mechanism=SCRAM-SHA-256 \
             reason=not-authorized\n"
        );
    }

    #[test]
    fn what_the_peer_sent_cannot_forge_a_line() {
        let address = "[2001:db8::1]:50000".parse().ok();
        let line =
            captured(Style::Journal, || authentication_failure(address, "X\naddress=1.2.3.4", "invalid-mechanism"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains("address=2001:db8::1 mechanism=? reason=invalid-mechanism"), "{line}");
        assert!(!line.contains("1.2.3.4"));
    }
}
