//! The server's end of the socket.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::admin::SOCKET;
use crate::admin::protocol::{REQUEST_LIMIT, Request, Response, line, read_line};
use crate::hooks::operation::{OperationError, Operations, Role};

/// How many commands may be connected at once.
const CONNECTIONS: usize = 32;

/// The socket, removed when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Opens the socket in `data_dir`, for this user alone; one that a dead server left is replaced.
    ///
    /// # Errors
    /// A server answers there already, or the socket cannot be made.
    pub fn bind(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET);
        if BlockingStream::connect(&path).is_ok() {
            let reason = format!("another server uses {}", data_dir.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
        }
        // The socket is made where nobody else can reach it and moved when its permissions are right,
        // so that there is no moment at which others could connect.
        let private = data_dir.join("admin.new");
        let _ = std::fs::remove_dir_all(&private);
        DirBuilder::new().mode(0o700).create(&private)?;
        let made = private.join("s");
        let socket = UnixListener::bind(&made).and_then(|socket| {
            std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
            std::fs::rename(&made, &path)?;
            Ok(socket)
        });
        std::fs::remove_dir_all(&private)?;
        Ok(Self { socket: socket?, path })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing is lost when it stays: the next server replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves operations until dropped.
pub async fn serve(listener: Listener, operations: Arc<Operations>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(attend(stream, Arc::clone(&operations)));
                }
                Err(error) => {
                    tracing::warn!(%error, "admin socket does not accept");
                    // Out of descriptors, most likely: there is no sense in asking again at once.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an operation ended badly");
                }
            }
        }
    }
}

async fn attend(stream: UnixStream, operations: Arc<Operations>) {
    if let Err(error) = converse(stream, &operations).await {
        tracing::debug!(%error, "admin connection broke");
    }
}

async fn converse(mut stream: UnixStream, operations: &Operations) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        let request = match read_line(&mut read, REQUEST_LIMIT).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let refused = Response::Refused(OperationError::Usage(error.to_string()));
                return write.write_all(&line(&refused)?).await;
            }
            Err(error) => return Err(error),
        };
        let response = match serde_json::from_slice::<Request>(&request) {
            Ok(request) => match operations.run(&request.operation, Role::Operator, request.arguments).await {
                Ok(output) => Response::Done(output),
                Err(error) => Response::Refused(error),
            },
            Err(error) => Response::Refused(OperationError::Usage(format!("no request: {error}"))),
        };
        write.write_all(&line(&response)?).await?;
    }
}
