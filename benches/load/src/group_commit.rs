//! The archive of the floor: every message is appended twice, once for each of both accounts, and what has gathered
//! within 20 ms is made durable at once.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long messages gather.
const GATHER: Duration = Duration::from_millis(20);

/// What the relays hand their messages to.
#[derive(Debug, Clone)]
pub struct Archive(Sender<Vec<u8>>);

impl Archive {
    /// Opens the file and starts the thread that writes it, which ends when nobody can send any more.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            if let Err(error) = write(file, &receiver) {
                eprintln!("the archive cannot be written: {error}");
                std::process::exit(1);
            }
        });
        Ok(Self(sender))
    }

    pub fn append(&self, messages: &[u8]) {
        // The thread ends only with the process.
        let _ = self.0.send(messages.to_vec());
    }
}

fn write(mut file: File, receiver: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut group = Vec::new();
    while let Ok(first) = receiver.recv() {
        thread::sleep(GATHER);
        for messages in std::iter::once(first).chain(receiver.try_iter()) {
            group.extend_from_slice(&messages);
            group.extend_from_slice(&messages);
        }
        file.write_all(&group)?;
        file.sync_data()?;
        group.clear();
    }
    Ok(())
}
