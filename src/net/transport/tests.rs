use std::sync::Mutex;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::allowance::Allowance;
use super::*;
use crate::net::tls::development::DevelopmentCa;
use crate::net::tls::{ClientCertificate, ClientTls, Identities, Identity, Incoming, Outgoing, ServerTls, server_name};

fn identities() -> Arc<Identities> {
    let issued = DevelopmentCa::generate().unwrap().issue(&["example.org"]).unwrap();
    Arc::new(Identities::new(Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap()))
}

fn client_config() -> Arc<ClientConfig> {
    ClientTls::new(identities()).unwrap().config("example.org", Outgoing::StartTls, ClientCertificate::Shown)
}

fn server_config(incoming: Incoming) -> Arc<ServerConfig> {
    Arc::clone(ServerTls::new(identities()).unwrap().acceptor(incoming, None).config())
}

fn name() -> ServerName<'static> {
    server_name("example.org").unwrap()
}

/// One for each implementation of TLS.
const BOTH: [Incoming; 2] = [Incoming::ClientStartTls, Incoming::ServerStartTls];

async fn accept(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, incoming: Incoming) -> io::Result<Transport> {
    let (plain, config) = (Transport::plain(io, None), server_config(incoming));
    match incoming {
        Incoming::ClientStartTls | Incoming::ClientDirect => plain.accept_client_tls(config).await,
        Incoming::ServerStartTls | Incoming::ServerDirect => plain.accept_tls(config).await,
    }
}

/// Both ends of a stream after the handshake: client, server.
async fn pair(room: usize, incoming: Incoming) -> (Transport, Transport) {
    let (near, far) = duplex(room);
    let connect = Transport::plain(near, None).connect_tls(client_config(), name());
    let (client, server) = tokio::join!(connect, accept(far, incoming));
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn plain_bytes_pass_and_end() {
    let (near, far) = duplex(64);
    let (mut near, mut far) = (Transport::plain(near, None), Transport::plain(far, None));
    let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let send = async {
        near.write_all(&long).await.unwrap();
        near.finish(&[]).await.unwrap();
    };
    let receive = async {
        let mut all = Vec::new();
        while far.drain(&mut all).await.unwrap() > 0 {}
        all
    };
    let ((), all) = tokio::join!(send, receive);
    assert_eq!(all, long);
    assert_eq!((near.tls(), near.exporter(), near.peer_certificates().len()), (None, None, 0));
}

#[tokio::test]
async fn encrypted_bytes_pass_and_end() {
    for incoming in BOTH {
        // A pipe that is far smaller than a record, so that both directions have to wait.
        let (mut client, mut server) = pair(2048, incoming).await;
        server.trust_peer();
        let long: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let send = async {
            client.write_all(&long).await.unwrap();
            client.finish(&[]).await.unwrap();
        };
        let receive = async {
            let mut all = Vec::new();
            while server.drain(&mut all).await.unwrap() > 0 {}
            all
        };
        let ((), all) = tokio::join!(send, receive);
        assert_eq!(all, long);
        server.write_all(b"bye").await.unwrap();
        let mut rest = Vec::new();
        client.drain(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
    }
}

#[tokio::test]
async fn one_call_is_bounded_and_nothing_is_lost() {
    for encrypted in [None, Some(Incoming::ClientStartTls), Some(Incoming::ServerStartTls)] {
        let (mut near, mut far) = if let Some(incoming) = encrypted {
            let (near, mut far) = pair(1 << 20, incoming).await;
            far.trust_peer();
            (near, far)
        } else {
            let (near, far) = duplex(1 << 20);
            (Transport::plain(near, None), Transport::plain(far, None))
        };
        near.write_all(&[7; 50_000]).await.unwrap();
        let mut all = Vec::new();
        while all.len() < 50_000 {
            assert!((1..=DRAIN).contains(&far.drain(&mut all).await.unwrap()));
        }
        assert_eq!(all, [7; 50_000]);
    }
}

#[tokio::test]
async fn content_that_came_with_the_handshake_is_seen_at_once() {
    for incoming in BOTH {
        let (near, far) = duplex(1 << 16);
        let client = async {
            let mut client = Transport::plain(near, None).connect_tls(client_config(), name()).await.unwrap();
            client.write_all(b"early").await.unwrap();
            client
        };
        // The client has written all before the server reads its last part of the handshake.
        let server = accept(far, incoming);
        let (_client, server) = tokio::join!(client, server);
        let mut all = Vec::new();
        assert_eq!(server.unwrap().drain(&mut all).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn a_cut_connection_ends_like_a_closed_one() {
    for incoming in BOTH {
        let (client, mut server) = pair(1 << 16, incoming).await;
        drop(client);
        assert_eq!(server.drain(&mut Vec::new()).await.unwrap(), 0);
        assert_eq!(server.drain(&mut Vec::new()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn plain_text_before_the_handshake_fails_it() {
    for incoming in BOTH {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(b"<stream:stream to='example.org'><iq type='set'/>").await.unwrap();
        let accepted = accept(far, incoming).await;
        assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn tls_inside_tls_is_refused() {
    for incoming in BOTH {
        let (client, server) = pair(1 << 16, incoming).await;
        let again = server.accept_tls(server_config(Incoming::ClientStartTls)).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let again = client.connect_tls(client_config(), name()).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

/// A record that claims to hold the beginning of a `ClientHello` of 60,000 bytes, and more of it.
fn endless_hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    for at in 0..20 {
        bytes.extend_from_slice(&[22, 3, 1, 0x08, 0]);
        let mut part = vec![0; 0x800];
        if at == 0 {
            part[..4].copy_from_slice(&[1, 0, 0xea, 0x60]);
        }
        bytes.extend_from_slice(&part);
    }
    bytes
}

#[tokio::test]
async fn a_stranger_cannot_fill_the_memory_with_a_handshake() {
    for incoming in BOTH {
        let (mut near, far) = duplex(1 << 20);
        near.write_all(&endless_hello()).await.unwrap();
        let accepted = accept(far, incoming).await;
        let error = accepted.unwrap_err();
        assert!(error.to_string().contains("without content"), "{error}");
        // All beyond the limit was left unread.
        drop(near);
    }
}

#[tokio::test]
async fn content_renews_the_allowance_and_trust_raises_it() {
    for incoming in BOTH {
        let (mut client, mut server) = pair(1 << 20, incoming).await;
        let left = |server: &Transport| match &server.stream {
            Stream::Buffered(tls) => tls.stream.get_ref().0.allowance,
            Stream::Lean(tls) => tls.allowance,
            Stream::Plain(_) => unreachable!(),
        };
        let (mut stranger, trusted) = (Allowance::for_a_stranger(), Allowance::for_a_trusted_peer());
        // The handshake is over.
        stranger.renew(0);
        assert_eq!(left(&server), stranger);
        for _ in 0..10 {
            client.write_all(&[1; 4000]).await.unwrap();
            let mut all = Vec::new();
            while all.len() < 4000 {
                server.drain(&mut all).await.unwrap();
            }
        }
        assert_eq!(left(&server), stranger);
        server.trust_peer();
        assert_eq!(left(&server), trusted);
        client.write_all(&[1; 16_384]).await.unwrap();
        let mut all = Vec::new();
        while all.len() < 16_384 {
            server.drain(&mut all).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_stranger_cannot_park_a_large_record() {
    for incoming in BOTH {
        let (mut client, mut server) = pair(1 << 20, incoming).await;
        client.write_all(&[1; 8192]).await.unwrap();
        let error = server.drain(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        // The peer can still be told why.
        server.write_all(b"no").await.unwrap();
        let mut told = Vec::new();
        client.drain(&mut told).await.unwrap();
        assert_eq!(told, b"no");
    }
}

/// A pipe that gives out some rubbish once nothing else is there.
struct Spoilt {
    pipe: DuplexStream,
    rubbish: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Spoilt {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.pipe).poll_read(cx, buf);
        let mut rubbish = self.rubbish.lock().unwrap();
        if read.is_pending() && !rubbish.is_empty() {
            buf.put_slice(&std::mem::take(&mut *rubbish));
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for Spoilt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn an_error_behind_content_is_not_lost() {
    for incoming in BOTH {
        let (near, pipe) = duplex(1 << 16);
        let rubbish = Arc::new(Mutex::new(Vec::new()));
        let far = Spoilt { pipe, rubbish: Arc::clone(&rubbish) };
        let (client, server) =
            tokio::join!(Transport::plain(near, None).connect_tls(client_config(), name()), accept(far, incoming),);
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        client.write_all(b"x").await.unwrap();
        // A record of 20 bytes that decrypts to nothing.
        let mut record = vec![23, 3, 3, 0, 20];
        record.resize(25, 0);
        *rubbish.lock().unwrap() = record;
        let mut all = Vec::new();
        assert_eq!(server.drain(&mut all).await.unwrap(), 1);
        assert_eq!(server.drain(&mut all).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn sizes() {
    // What a task holds for a stream, and what lies behind the pointer.
    assert!(size_of::<Transport>() <= 72, "{}", size_of::<Transport>());
    assert!(size_of::<Buffered>() <= 1400, "{}", size_of::<Buffered>());
    assert!(size_of::<Lean>() <= 1400, "{}", size_of::<Lean>());
    let (_, far) = duplex(64);
    let accept = Transport::plain(far, None).accept_tls(server_config(Incoming::ServerStartTls));
    assert!(size_of_val(&accept) <= 256, "{}", size_of_val(&accept));
    let (_, far) = duplex(64);
    let accept = Transport::plain(far, None).accept_client_tls(server_config(Incoming::ClientStartTls));
    assert!(size_of_val(&accept) <= 256, "{}", size_of_val(&accept));
    let (_, far) = duplex(64);
    let acceptor = ServerTls::new(identities()).unwrap().acceptor(Incoming::ClientStartTls, None);
    let accept = acceptor.accept(Transport::plain(far, None));
    assert!(size_of_val(&accept) <= 512, "{}", size_of_val(&accept));
}
