//! What Comity counts of its memory when it is asked (`comity status --memory`).

use std::io;

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::servers::Server;

/// Some of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// What all strangers together may take.
    pub strangers: u64,
    /// What one other domain holds.
    pub domain: u64,
    /// What waits for the session for which most waits.
    pub session: u64,
}

impl Counted {
    /// Asks the server, about this other domain among others; whatever else is in this thread goes on meanwhile.
    pub async fn of(server: &Server, domain: &str) -> io::Result<Self> {
        let mut question = server.memory_question();
        let answer = spawn_blocking(move || question.output()).await.map_err(io::Error::other)??;
        if !answer.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&answer.stderr).into_owned()));
        }
        let all: Value = serde_json::from_slice(&answer.stdout)?;
        Self::read(&all, domain).ok_or_else(|| io::Error::other("the server counts something else"))
    }

    fn read(all: &Value, domain: &str) -> Option<Self> {
        let number = |path: &str| all.pointer(path)?.as_u64();
        let mut session = 0;
        for class in ["active", "inactive", "detached"] {
            session = session.max(number(&format!("/clients/{class}/largest"))?);
        }
        let domains = all.pointer("/servers/largest")?.as_array()?;
        // Whoever holds nothing is not there.
        let held = match domains.iter().find(|it| it["domain"] == domain) {
            Some(it) => it.get("queued")?.as_u64()? + it.get("budget")?.as_u64()?,
            None => 0,
        };
        Some(Self { strangers: number("/strangers/allowed")?, domain: held, session })
    }

    /// The larger of each.
    pub fn or(self, other: Self) -> Self {
        Self {
            strangers: self.strangers.max(other.strangers),
            domain: self.domain.max(other.domain),
            session: self.session.max(other.session),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Counted;

    #[test]
    fn what_the_server_says_is_read() {
        let class = |largest: u64| json!({"sessions": 1, "bytes": 9, "largest": largest});
        let all = json!({
            "strangers": {"connections": 2, "allowed": 65536, "bound": 268_435_456},
            "clients": {"active": class(3), "inactive": class(7), "detached": class(5)},
            "servers": {"largest": [{"domain": "a.example", "queued": 9, "budget": 1},
                                    {"domain": "b.example", "queued": 3, "budget": 1}]},
        });
        assert_eq!(Counted::read(&all, "b.example"), Some(Counted { strangers: 65536, domain: 4, session: 7 }));
        assert_eq!(Counted::read(&all, "c.example").map(|it| it.domain), Some(0));
        assert_eq!(Counted::read(&json!({"strangers": {"allowed": 1}}), "b.example"), None);
        let (one, other) =
            (Counted { strangers: 1, domain: 5, session: 2 }, Counted { strangers: 3, domain: 4, session: 2 });
        assert_eq!(one.or(other), Counted { strangers: 3, domain: 5, session: 2 });
    }
}
