//! The servers under test: one file per make writes its configuration, its accounts and its command line.

mod comity;
mod ejabberd;
mod prosody;

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Site;
use crate::population::Population;
use crate::tls::{Authority, Certificate};

/// A server that does not listen after this time is broken.
const START: Duration = Duration::from_secs(120);

/// What a server is told to stop, before it is ended.
const STOP: Duration = Duration::from_secs(20);

/// The makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Make {
    Comity,
    Prosody,
    Ejabberd,
    /// Relay and fan-out writer: no XMPP at all.
    Floor,
}

impl Make {
    pub const ALL: [Self; 4] = [Self::Comity, Self::Prosody, Self::Ejabberd, Self::Floor];

    pub fn name(self) -> &'static str {
        match self {
            Self::Comity => "comity",
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
            Self::Floor => "floor",
        }
    }

    /// Whether it is another XMPP server.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Prosody | Self::Ejabberd)
    }

    /// The system user that Debian made for it, whom only root can become.
    fn user(self) -> Option<&'static str> {
        let user = match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
            Self::Comity | Self::Floor => return None,
        };
        rustix::process::geteuid().is_root().then_some(user)
    }
}

/// How a server is made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Kill,
    Terminate,
}

impl Ending {
    pub const ALL: [Self; 2] = [Self::Kill, Self::Terminate];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
        }
    }
}

/// One server: its directory, its addresses and, while it runs, its process.
pub struct Server {
    pub make: Make,
    pub site: Site,
    pub s2s: SocketAddr,
    /// Whether every message goes into the archives of both accounts.
    pub archive: bool,
    /// The DNS server it asks for other domains.
    dns: SocketAddr,
    directory: PathBuf,
    certificate: Certificate,
    root: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Lays out a server with these accounts under `directory`. Accounts that take a running server are made later,
    /// by [`crate::population::befriend`].
    pub fn prepare(
        make: Make,
        directory: &Path,
        domain: &str,
        authority: &Authority,
        population: &Population,
        archive: bool,
    ) -> io::Result<Self> {
        let ports = free_ports(3)?;
        let server = Self {
            make,
            site: Site { domain: domain.to_owned(), start_tls: ports[0], direct_tls: ports[1], from: None },
            s2s: ports[2],
            archive,
            dns: population.dns,
            directory: directory.join(domain),
            certificate: authority.issue(domain)?,
            root: authority.root.clone(),
            child: None,
        };
        fs::create_dir_all(server.directory.join("data"))?;
        for (from, to) in
            [(&server.certificate.chain, "chain.pem"), (&server.certificate.key, "key.pem"), (&server.root, "root.pem")]
        {
            fs::copy(from, server.directory.join(to))?;
        }
        match make {
            Make::Comity => comity::prepare(&server, population)?,
            Make::Prosody => prosody::prepare(&server, population)?,
            Make::Ejabberd => ejabberd::prepare(&server, population)?,
            Make::Floor => {}
        }
        server.give_away()?;
        Ok(server)
    }

    /// Has Comity take of others what it takes of them without being told anything.
    pub fn keep_default_limits(&self) -> io::Result<()> {
        if self.make == Make::Comity { comity::keep_default_limits(self) } else { Ok(()) }
    }

    /// Whether there are rooms, at `rooms.DOMAIN`: such a server is called so.
    fn has_rooms(&self) -> bool {
        self.site.domain.starts_with("rooms-")
    }

    /// Starts these servers, all at once, and waits until they listen.
    pub fn start(servers: &mut [Self]) -> io::Result<()> {
        for server in &mut *servers {
            let command = match server.make {
                Make::Comity => comity::command(server),
                Make::Prosody => prosody::command(server),
                Make::Ejabberd => ejabberd::command(server),
                Make::Floor => server.floor()?,
            };
            server.child = Some(server.launch(command, "server.log")?);
        }
        let started = Instant::now();
        servers.iter_mut().try_for_each(|server| server.listens(started))
    }

    fn listens(&mut self, started: Instant) -> io::Result<()> {
        let wanted: &[SocketAddr] = match self.make {
            Make::Floor => &[self.site.direct_tls],
            _ => &[self.site.start_tls, self.site.direct_tls, self.s2s],
        };
        for address in wanted {
            while TcpStream::connect(address).is_err() {
                let child = self.child.as_mut().ok_or(io::ErrorKind::NotFound)?;
                if child.try_wait()?.is_some() || started.elapsed() > START {
                    return Err(io::Error::other(format!("{} did not start", self.make.name())));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Ends this server with a signal to all of its processes, and waits until it is gone.
    pub fn end(&mut self, ending: Ending) -> io::Result<()> {
        if ending == Ending::Terminate {
            return Self::stop(std::slice::from_mut(self));
        }
        let Some(mut child) = self.child.take() else { return Ok(()) };
        for pid in crate::process::tree(child.id())? {
            if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap_or(0)) {
                // One of its children may have gone already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        child.wait().map(drop)
    }

    /// Ends these servers in order, all at once.
    pub fn stop(servers: &mut [Self]) -> io::Result<()> {
        for child in servers.iter().filter_map(|server| server.child.as_ref()) {
            if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
        }
        let asked = Instant::now();
        for mut child in servers.iter_mut().filter_map(|server| server.child.take()) {
            while child.try_wait()?.is_none() {
                if asked.elapsed() > STOP {
                    child.kill()?;
                    child.wait()?;
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Asks Comity, while it runs, what it holds in memory and for whom.
    pub fn memory_question(&self) -> Command {
        comity::memory_question(self)
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The end of what the server wrote to its log.
    pub fn log(&self) -> String {
        let log = fs::read(self.path("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    /// Where the floor archives.
    pub fn archive_log(&self) -> PathBuf {
        self.path("archive.log")
    }

    /// Where the server keeps what it must not forget.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Deletes all that the server has; it must have been stopped.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn floor(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").arg(self.site.direct_tls.port().to_string());
        command.arg(self.path("chain.pem")).arg(self.path("key.pem")).arg(self.archive_log());
        Ok(command)
    }

    /// Runs a command as the server's user; it ends with this process, however that ends.
    fn launch(&self, command: Command, log: &str) -> io::Result<Child> {
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL"]);
        if let Some(user) = self.make.user() {
            wrapped.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--init-groups");
        }
        wrapped.arg("--").arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log = File::options().create(true).append(true).open(self.path(log))?;
        wrapped.current_dir(&self.directory).env("HOME", &self.directory);
        wrapped.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Runs a command to its end.
    fn run(&self, command: Command) -> io::Result<()> {
        let status = self.launch(command, "prepare.log")?.wait()?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.path("prepare.log"))?;
        Err(io::Error::other(format!("preparing {}: {status}: {log}", self.make.name())))
    }

    /// Makes the server's user the owner of its files.
    fn give_away(&self) -> io::Result<()> {
        let Some(user) = self.make.user() else { return Ok(()) };
        let status = Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(&self.directory).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("chown failed")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Ports of the loopback address that nobody listens on; all are different.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    held?.iter().map(TcpListener::local_addr).collect()
}
