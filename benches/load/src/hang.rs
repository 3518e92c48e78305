//! A way to a server that can become silent: connections stay open, and nothing goes through them any more.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;

/// Where to connect in place of the server.
pub struct Way {
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

/// How it is, and which connections belong to it: those of an earlier number are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    silent: bool,
    number: u64,
}

impl Way {
    /// A way to `server`, open at first.
    pub async fn new(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State::default());
        spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                spawn_local(carry(near, server, states.clone()));
            }
        });
        Ok(Self { address, state })
    }

    /// Nothing goes through any more.
    pub fn hang(&self) {
        self.state.send_modify(|state| state.silent = true);
    }

    /// Those who hang are cut, and everybody else gets through.
    pub fn open(&self) {
        self.state.send_modify(|state| *state = State { silent: false, number: state.number + 1 });
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, mut states: watch::Receiver<State>) {
    let number = states.borrow().number;
    let through = async {
        let mut far = TcpStream::connect(server).await?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    };
    let mut silence = states.clone();
    tokio::select! {
        biased;
        // Until then the near side stays open, whatever becomes of the other.
        _ = states.wait_for(|state| state.number != number) => {}
        _ = async {
            tokio::select! {
                biased;
                _ = silence.wait_for(|state| state.silent) => {}
                _ = through => return,
            }
            std::future::pending::<()>().await;
        } => {}
    }
}
