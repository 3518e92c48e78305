//! A process of this program that attacks a server, as the one that measures sees it: what an attack costs whoever makes it is
//! not to be measured with the rest.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, Stdio};

use tokio::task::spawn_blocking;

/// Ends with this.
pub struct Attacker {
    process: Child,
}

impl Attacker {
    /// Starts it with these arguments, the first of which is its role.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> io::Result<Self> {
        let process = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
        Ok(Self { process })
    }

    /// Waits for its end; gives what it has said. Whoever else has something to do here goes on: honest people who do not read
    /// are cut off like any others.
    pub async fn end(mut self) -> io::Result<String> {
        let ending = spawn_blocking(move || {
            let out = self.process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let said = io::read_to_string(out)?;
            self.process.wait()?;
            Ok(said)
        });
        ending.await.map_err(io::Error::other)?
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
