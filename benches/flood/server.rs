//! The real server in a process of its own, watched through /proc.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::{DOMAIN, PASSWORD, Target, USER};

/// A running `comity serve` with one account.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    proc: PathBuf,
    pub(crate) target: Target,
}

/// Looks at the server's process.
pub(crate) struct Watcher {
    proc: PathBuf,
}

/// The most that was seen.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    pub(crate) memory: usize,
    pub(crate) descriptors: usize,
}

impl Server {
    pub(crate) fn start(deadline: Option<u64>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("comity-flood-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).map_err(words)?;
        let ports = free_ports().map_err(words)?;
        let [c2s, c2s_tls, s2s, s2s_tls] = ports.map(|port| format!("127.0.0.1:{port}"));
        let deadline = deadline.map(|it| format!("authentication_deadline = \"{it}s\"\n")).unwrap_or_default();
        let config = format!(
            "domain = \"{DOMAIN}\"\ndata_dir = \"data\"\n[listen]\nc2s = \"{c2s}\"\nc2s_tls = \"{c2s_tls}\"\n\
             s2s = \"{s2s}\"\ns2s_tls = \"{s2s_tls}\"\n[log]\nlevel = \"error\"\n\
             [limits]\nserver_connects_per_minute = 0\n{deadline}"
        );
        let file = directory.join("comity.toml");
        fs::write(&file, config).map_err(words)?;
        add_account(&file)?;
        let mut process = command(&file).arg("serve").stdout(Stdio::piped()).spawn().map_err(words)?;
        let out = process.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).map_err(words)?;
        if line != "ready\n" {
            return Err(format!("instead of ready, the server said {line:?}"));
        }
        let proc = Path::new("/proc").join(process.id().to_string());
        let [starttls, direct, server, _] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Self { process, directory, proc, target: Target { starttls, direct, server } })
    }

    pub(crate) fn watcher(&self) -> Watcher {
        Watcher { proc: self.proc.clone() }
    }

    /// Bytes of memory that are the server's own (proportional set size).
    pub(crate) fn memory(&self) -> Result<usize, String> {
        self.watcher().memory()
    }

    pub(crate) fn descriptors(&self) -> Result<usize, String> {
        self.watcher().descriptors()
    }

    /// Waits until no more than `most` is in use, at most half a minute, and says how long it took.
    pub(crate) async fn settle(&self, most: usize) -> Result<Duration, String> {
        let started = Instant::now();
        while self.memory()? > most && started.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(started.elapsed())
    }

    /// The limit of descriptors under which it runs.
    pub(crate) fn descriptors_allowed(&self) -> Result<usize, String> {
        let limits = fs::read_to_string(self.proc.join("limits")).map_err(words)?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).ok_or("no such limit")?;
        line.split_whitespace().nth(3).and_then(|it| it.parse().ok()).ok_or_else(|| format!("not understood: {line}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Neither can fail in a way that somebody could do something about.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Watcher {
    fn memory(&self) -> Result<usize, String> {
        let text = fs::read_to_string(self.proc.join("smaps_rollup")).map_err(words)?;
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no PSS")?;
        let kilobytes: usize = pss.trim().trim_end_matches(" kB").parse().map_err(words)?;
        Ok(kilobytes * 1024)
    }

    fn descriptors(&self) -> Result<usize, String> {
        Ok(fs::read_dir(self.proc.join("fd")).map_err(words)?.count())
    }

    /// Looks ten times a second until it is over.
    pub(crate) fn peaks(&self, over: &AtomicBool) -> Result<Peaks, String> {
        let mut peaks = Peaks::default();
        while !over.load(Ordering::Relaxed) {
            peaks.memory = peaks.memory.max(self.memory()?);
            peaks.descriptors = peaks.descriptors.max(self.descriptors()?);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(peaks)
    }
}

fn command(config: &Path) -> Command {
    // Another program may be named, to measure one that is built otherwise.
    let program = std::env::var_os("COMITY").unwrap_or_else(|| env!("CARGO_BIN_EXE_comity").into());
    let mut command = Command::new(program);
    command.arg("--config").arg(config);
    command
}

fn add_account(config: &Path) -> Result<(), String> {
    let mut adding = command(config)
        .args(["account", "add", &format!("{USER}@{DOMAIN}"), "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(words)?;
    if let Some(mut input) = adding.stdin.take() {
        input.write_all(format!("{PASSWORD}\n").as_bytes()).map_err(words)?;
    }
    let status = adding.wait().map_err(words)?;
    if status.success() { Ok(()) } else { Err(format!("account add: {status}")) }
}

/// Ports that nobody listens on, all found before any is given back.
fn free_ports() -> io::Result<[u16; 4]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?, bind()?];
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
