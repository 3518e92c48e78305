//! How much has been compared: a part of what is tried is refused by the gate, and nobody else is asked about that.

use std::sync::atomic::{AtomicU64, Ordering};

static TRIED: AtomicU64 = AtomicU64::new(0);
static COMPARED: AtomicU64 = AtomicU64::new(0);

/// Inputs after which it is told how far it has come.
const EVERY: u64 = 1000;

/// The gate has let in something of an input, and all readers have found the same in it.
pub(crate) fn compared() {
    COMPARED.fetch_add(1, Ordering::Relaxed);
}

/// An input was tried; now and then what has come of all of them, where the target compares.
pub fn tried() -> Option<String> {
    let tried = TRIED.fetch_add(1, Ordering::Relaxed) + 1;
    let compared = COMPARED.load(Ordering::Relaxed);
    // `tools/fuzz` reads it.
    (compared > 0 && tried.is_multiple_of(EVERY)).then(|| format!("compared {compared} of {tried}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    /// No other test of this program compares anything.
    #[test]
    fn only_what_the_gate_lets_in_is_counted() {
        let target = Target::called("differential").expect("the target that compares");
        let counted = |input: &str| {
            let before = COMPARED.load(Ordering::Relaxed);
            (target.run)(input.as_bytes());
            COMPARED.load(Ordering::Relaxed) - before
        };
        for input in [
            "c<message/>",
            "c<message/><message/>",
            "c<message/><",
            "c<x xmlns='y'/>",
            "s<iq type='get' id='1'><x xmlns='y'/></iq>",
        ] {
            assert_eq!(counted(input), 1, "{input}");
        }
        for input in
            ["", "c", "x<message/>", "c<message>", "c<message></presence>", "c<!-- -->", "c</stream:stream>", "c<iq/>"]
        {
            assert_eq!(counted(input), 0, "{input}");
        }
        let told: Vec<String> = (0..EVERY).filter_map(|_| tried()).collect();
        assert_eq!(told, ["compared 5 of 1000"]);
    }
}
