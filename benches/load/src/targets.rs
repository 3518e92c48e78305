//! The rows of the table and what Comity must reach in each.

use std::fmt;

use crate::servers::Make;

/// What a figure of Comity is held against, round by round.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// So many times the floor.
    Floor(f64),
    /// The so-manieth part of the better peer.
    Peer(f64),
    /// So many times what Comity takes in another scenario, and what that is called.
    Own(f64, &'static str, &'static str),
    /// Bytes.
    Bytes(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor(times) => write!(f, "{times} x floor"),
            Self::Peer(part) => write!(f, "1/{part} of the better peer"),
            Self::Own(times, _, what) => write!(f, "{times} x {what}"),
            Self::Bytes(bytes) if *bytes >= 1e6 => write!(f, "{} MB", bytes / 1e6),
            Self::Bytes(bytes) => write!(f, "{} kB", bytes / 1e3),
        }
    }
}

/// One row.
#[derive(Debug)]
pub struct Target {
    pub scenario: &'static str,
    pub title: &'static str,
    pub bounds: &'static [Bound],
    /// Whether the floor's figure means anything here.
    pub floor: bool,
    /// Whether the latency is held against that of the floor.
    pub latency: bool,
}

impl Target {
    /// Whether the figure is memory.
    pub fn in_bytes(&self) -> bool {
        matches!(self.scenario, "idle" | "empty")
    }
}

const fn row(scenario: &'static str, title: &'static str, bounds: &'static [Bound]) -> Target {
    Target { scenario, title, bounds, floor: true, latency: false }
}

pub const TARGETS: &[Target] = &[
    row("chat-saturated", "CPU per 1:1 message, saturated", &[Bound::Floor(2.5)]),
    Target { latency: true, ..row("chat-2000", "CPU per 1:1 message at 2,000/s", &[Bound::Floor(1.6)]) },
    Target { latency: true, ..row("chat-500", "CPU per 1:1 message at 500/s", &[Bound::Floor(1.6)]) },
    row("presence-200", "CPU per delivered presence, 200 contacts", &[Bound::Floor(1.5), Bound::Peer(8.0)]),
    row("presence-2000", "CPU per delivered presence, 2,000 contacts", &[]),
    row("s2s", "CPU per message between servers, both together; floor: two relays", &[Bound::Peer(15.0)]),
    row(
        "archived-saturated",
        "CPU per archived 1:1 message, both archives, acknowledged, saturated",
        &[Bound::Peer(40.0)],
    ),
    row("archived-2000", "CPU per archived 1:1 message at 2,000/s", &[Bound::Own(3.0, "chat-2000", "not archived")]),
    row("login-starttls", "CPU per login, STARTTLS, SCRAM; floor: TLS handshake alone", &[Bound::Peer(8.0)]),
    row("login-direct", "CPU per login, direct TLS, SCRAM", &[]),
    row("login-resumed", "CPU per login, STARTTLS with a TLS ticket, SCRAM", &[]),
    Target {
        floor: false,
        ..row(
            "login-fast",
            "CPU per login, direct TLS with a TLS ticket, SASL2 with a token, Bind 2",
            &[Bound::Own(0.5, "login-starttls", "STARTTLS, SCRAM")],
        )
    },
    row("storm", "CPU per login when everybody comes at once, with roster and presence to neighbours", &[]),
    row("idle", "memory per idle session, TLS, available, roster of 20", &[Bound::Bytes(10_500.0)]),
    Target { floor: false, ..row("empty", "memory of the empty server", &[Bound::Bytes(16e6)]) },
];

/// Whether a server takes part in a scenario in this round. Peers, which are slow, come every time where Comity is held
/// against them, and otherwise every second time.
pub fn joins(make: Make, scenario: &str, round: usize) -> bool {
    // At this rate peers would fall behind more and more.
    if make.is_peer() && scenario == "archived-2000" {
        return false;
    }
    // They have no tokens; what they would save is no matter of comparison.
    if make != Make::Comity && scenario == "login-fast" {
        return false;
    }
    let judged = TARGETS.iter().filter(|target| target.scenario == scenario).flat_map(|target| target.bounds);
    let judged = judged.into_iter().any(|bound| matches!(bound, Bound::Peer(_)));
    !make.is_peer() || judged || !round.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::joins;
    use crate::servers::Make;

    #[test]
    fn peers_come_where_they_are_compared_with() {
        let rounds = |make, scenario| (1..=5).filter(|round| joins(make, scenario, *round)).count();
        assert_eq!(rounds(Make::Ejabberd, "presence-200"), 5);
        assert_eq!(rounds(Make::Prosody, "login-direct"), 3);
        assert_eq!(rounds(Make::Floor, "login-direct"), 5);
        assert_eq!(rounds(Make::Ejabberd, "archived-saturated"), 5);
        assert_eq!(rounds(Make::Ejabberd, "archived-2000"), 0);
        assert_eq!((rounds(Make::Comity, "login-fast"), rounds(Make::Floor, "login-fast")), (5, 0));
    }
}
