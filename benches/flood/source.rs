//! One process of the flood: half-open attempts of each kind, held as long as the server lets them.

use std::io::{self, BufRead, BufReader, Lines, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comity::stream::Limits;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::client::{DOMAIN, HEADER, SERVER_HEADER, Target, connect, open, secure, start_tls, tls, with_certificate};
use crate::server::words;

/// The first argument of a process that is a source.
pub(crate) const ROLE: &str = "source";

/// Attempts of one process that are on their way at the same time.
const AT_ONCE: usize = 64;

/// The most bytes of an element that the server takes from a stranger, and from another server.
const ELEMENT: usize = Limits::UNAUTHENTICATED.element;
const SERVER_ELEMENT: usize = Limits::UNAUTHENTICATED_SERVER.element;

/// Of a TLS handshake, a little less than the server takes from a stranger.
const HELLO: usize = 9 * 1024 - 64;

/// The same of TLS without content, after the handshake.
const RECORD: usize = 4 * 1024 - 64;

/// How an attempt stops half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Silent,
    Header,
    PartOfHeader,
    StartTls,
    PartOfHello,
    LongHello,
    Tls,
    PartOfAuth,
    PartOfRecord,
    SilentDirect,
    Direct,
    EndlessHeader,
    ServerHeader,
    ServerCertificates,
}

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Self::Silent,
        Self::Header,
        Self::PartOfHeader,
        Self::StartTls,
        Self::PartOfHello,
        Self::LongHello,
        Self::Tls,
        Self::PartOfAuth,
        Self::PartOfRecord,
        Self::SilentDirect,
        Self::Direct,
        Self::EndlessHeader,
        Self::ServerHeader,
        Self::ServerCertificates,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Silent => "connected, silence",
            Self::Header => "header, silence",
            Self::PartOfHeader => "part of a header",
            Self::StartTls => "starttls, silence",
            Self::PartOfHello => "part of a ClientHello",
            Self::LongHello => "9 KiB of a ClientHello",
            Self::Tls => "TLS done, silence",
            Self::PartOfAuth => "TLS, 8 KiB of an element",
            Self::PartOfRecord => "the same, 4 KiB of a record",
            Self::SilentDirect => "direct TLS port, silence",
            Self::Direct => "direct TLS done, silence",
            Self::EndlessHeader => "header without end",
            Self::ServerHeader => "server: header, silence",
            Self::ServerCertificates => "server: certificates, 4 + 4 KiB",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The address of a source by its number.
pub(crate) const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 100 + number))
}

/// What became of the attempts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// TCP connections that came about.
    pub(crate) connected: usize,
    /// Those that got as far as they wanted, and were held.
    pub(crate) held: usize,
    /// Attempts to which the server never answered.
    pub(crate) unheard: usize,
}

impl Counts {
    /// Adds what a source printed at its end.
    pub(crate) fn add(&mut self, line: &str) {
        let mut numbers = line.split_whitespace().filter_map(|it| it.parse::<usize>().ok());
        let mut next = || numbers.next().unwrap_or_default();
        self.connected += next();
        self.held += next();
        self.unheard += next();
    }
}

/// A source as its parent sees it.
pub(crate) struct Source {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Source {
    /// Starts a process that makes `count` attempts, of one kind or a mix of all.
    pub(crate) fn start(kind: Option<Kind>, count: usize, number: u8, target: &Target) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(words)?;
        let mut process = Command::new(this)
            .args([ROLE, kind.map_or("mix", Kind::name), &count.to_string(), &address(number).to_string()])
            .args([target.starttls, target.direct, target.server].map(|it| it.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(words)?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?).lines();
        Ok(Self { input: process.stdin.take(), process, output })
    }

    /// The rest of the line that begins with `word`, which must be the next.
    pub(crate) fn line(&mut self, word: &str) -> Result<String, String> {
        let line = tokio::task::block_in_place(|| self.output.next());
        let line = line.ok_or("a source has ended")?.map_err(words)?;
        line.strip_prefix(word).map(str::to_owned).ok_or_else(|| format!("a source said {line}"))
    }
}

/// Ends it, and with it the connections that it holds.
impl Drop for Source {
    fn drop(&mut self) {
        // Its standard input ends; should it have ended before, all the better.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// As many descriptors as are allowed.
pub(crate) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the limit that there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The process itself: says `ready` when all attempts are made, `over` and the counts when the
/// server has closed the last, and ends with its standard input.
pub(crate) async fn run(arguments: &[String]) -> Result<(), String> {
    let [_, kind, count, from, starttls, direct, server] = arguments else {
        return Err("seven arguments".to_owned());
    };
    let kind = Kind::named(kind);
    let count: usize = count.parse().map_err(words)?;
    let from: IpAddr = from.parse().map_err(words)?;
    let address = |text: &str| text.parse::<SocketAddr>().map_err(words);
    let target = Target { starttls: address(starttls)?, direct: address(direct)?, server: address(server)? };
    let tls = tls().map_err(words)?;
    let certificates = with_certificate(&tls)?;
    let attempt = Arc::new(Attempt { from, target, tls, certificates, counts: Default::default() });
    std::thread::spawn(|| {
        // Whatever the reason why no more can be read: nobody is interested any more.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        // Not one by one: the process takes its connections with it.
        std::process::exit(0)
    });
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut attempts = JoinSet::new();
    for number in 0..count {
        let permit = Arc::clone(&room).acquire_owned().await.map_err(words)?;
        let kind = kind.unwrap_or(Kind::ALL[number % Kind::ALL.len()]);
        let attempt = Arc::clone(&attempt);
        attempts.spawn(async move {
            let held = attempt.make(kind).await;
            drop(permit);
            attempt.hold(held, kind).await;
        });
    }
    let at_once = u32::try_from(AT_ONCE).map_err(words)?;
    drop(room.acquire_many(at_once).await.map_err(words)?);
    println!("ready");
    while attempts.join_next().await.is_some() {}
    let [connected, held, unheard] = attempt.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!("over {connected} {held} {unheard}");
    std::future::pending().await
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

struct Attempt {
    from: IpAddr,
    target: Target,
    tls: Arc<ClientConfig>,
    /// The same, but with as long a certificate as the server takes.
    certificates: Arc<ClientConfig>,
    /// Connected, held, unheard.
    counts: [AtomicUsize; 3],
}

impl Attempt {
    async fn make(&self, kind: Kind) -> io::Result<Box<dyn Io>> {
        let [connected, held, unheard] = &self.counts;
        let to = match kind {
            Kind::SilentDirect | Kind::Direct => self.target.direct,
            Kind::ServerHeader | Kind::ServerCertificates => self.target.server,
            _ => self.target.starttls,
        };
        let io = connect(self.from, to).await.inspect_err(|_| _ = unheard.fetch_add(1, Ordering::Relaxed))?;
        connected.fetch_add(1, Ordering::Relaxed);
        let made = self.advance(kind, io).await;
        if made.is_ok() {
            held.fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    /// As far as the kind goes.
    async fn advance(&self, kind: Kind, mut io: TcpStream) -> io::Result<Box<dyn Io>> {
        match kind {
            Kind::Silent | Kind::SilentDirect => {}
            Kind::Header => open(&mut io, HEADER).await?,
            Kind::ServerHeader => open(&mut io, SERVER_HEADER).await?,
            Kind::PartOfHeader => io.write_all(&HEADER.as_bytes()[..HEADER.len() / 2]).await?,
            Kind::EndlessHeader => {
                let long = format!("{} a='{}", HEADER.trim_end_matches('>'), "x".repeat(3000));
                io.write_all(long.as_bytes()).await?;
            }
            Kind::StartTls => start_tls(&mut io, HEADER).await?,
            Kind::PartOfHello => {
                start_tls(&mut io, HEADER).await?;
                let hello = self.hello()?;
                io.write_all(&hello[..hello.len() / 2]).await?;
            }
            Kind::LongHello => {
                start_tls(&mut io, HEADER).await?;
                // One record of handshake, in it a ClientHello, both far longer than what comes.
                let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
                hello.resize(HELLO, 3);
                io.write_all(&hello).await?;
            }
            Kind::Tls | Kind::PartOfAuth | Kind::PartOfRecord => {
                start_tls(&mut io, HEADER).await?;
                let mut io = secure(io, &self.tls).await?;
                open(&mut io, HEADER).await?;
                if kind != Kind::Tls {
                    part_of_element(&mut io, ELEMENT).await?;
                }
                if kind == Kind::PartOfRecord {
                    part_of_record(&mut io).await?;
                }
                return Ok(Box::new(io));
            }
            Kind::ServerCertificates => {
                start_tls(&mut io, SERVER_HEADER).await?;
                let mut io = secure(io, &self.certificates).await?;
                open(&mut io, SERVER_HEADER).await?;
                part_of_element(&mut io, SERVER_ELEMENT).await?;
                part_of_record(&mut io).await?;
                return Ok(Box::new(io));
            }
            Kind::Direct => return Ok(Box::new(secure(io, &self.tls).await?)),
        }
        Ok(Box::new(io))
    }

    fn hello(&self) -> io::Result<Vec<u8>> {
        let name = ServerName::try_from(DOMAIN).map_err(io::Error::other)?;
        let mut client = rustls::ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// Until the server closes.
    async fn hold(&self, made: io::Result<Box<dyn Io>>, kind: Kind) {
        let Ok(io) = made else { return };
        let (mut read, mut write): (ReadHalf<_>, WriteHalf<_>) = tokio::io::split(io);
        let endless = async {
            while kind == Kind::EndlessHeader && write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut buffer = [0; 256];
        let closed = async { while read.read(&mut buffer).await.is_ok_and(|n| n > 0) {} };
        tokio::select! {
            () = endless => {}
            () = closed => {}
        }
    }
}

/// One byte less than the server would refuse, in pieces that make a buffer grow unluckily.
async fn part_of_element(io: &mut (impl AsyncWrite + Unpin), length: usize) -> io::Result<()> {
    let mut auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>".to_vec();
    auth.resize(length - 1, b'A');
    for piece in auth.chunks(2500) {
        io.write_all(piece).await?;
        io.flush().await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn part_of_record(io: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut record = vec![23, 3, 3, 0x40, 0];
    record.resize(RECORD, 0);
    io.get_mut().0.write_all(&record).await
}
