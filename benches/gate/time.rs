//! Nanoseconds for one message.

use std::error::Error;
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::workload::{Way, Workload, documents};

const ROUNDS: usize = 401;
/// Messages of one round.
const MESSAGES: u32 = 500;

/// Measures all kinds of messages on all ways and prints a table.
pub(crate) fn tell(runtime: &Runtime) -> Result<(), Box<dyn Error>> {
    println!("{:<12} {:>8} {:>12} {:>16} {:>12}", "message", "bytes", "gate ns", "gate, 2 pieces", "routed ns");
    let mut figures = Vec::new();
    for document in documents() {
        let mut medians = Vec::new();
        for way in Way::ALL {
            let mut workload = runtime.block_on(Workload::new(way, &document.text))?;
            medians.push(median(|| {
                let started = Instant::now();
                runtime.block_on(workload.run(MESSAGES))?;
                Ok(started.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES))
            })?);
        }
        let [whole, pieces, routed] = *medians.as_slice() else { return Err("three ways".into()) };
        let (name, bytes) = (document.name, document.text.len());
        println!("{name:<12} {bytes:>8} {whole:>12.0} {pieces:>16.0} {routed:>12.0}");
        figures.push(serde_json::json!({
            "message": name, "bytes": bytes, "gate_ns": whole, "gate_two_pieces_ns": pieces, "routed_ns": routed,
        }));
    }
    println!("\n{}", serde_json::json!({ "gate": figures }));
    Ok(())
}

/// The median of the rounds, in nanoseconds per message.
fn median(mut round: impl FnMut() -> Result<f64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut times = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    times.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".into())
}
