//! The command's end of the socket.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::admin::SOCKET;
use crate::admin::protocol::{RESPONSE_LIMIT, Request, Response, line, read_line};
use crate::hooks::operation::{Operation, OperationError};

/// A connection to a running server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum CallError {
    /// The server answered that it could not be done.
    Refused(OperationError),
    /// The server could not be reached, or the connection broke.
    Connection(io::Error),
}

impl Client {
    /// Connects to the server that uses `data_dir`; none when no server runs there.
    ///
    /// # Errors
    /// There is a socket that cannot be opened, for want of rights for example.
    pub async fn connect(data_dir: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(data_dir.join(SOCKET)).await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream) })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the server do `operation`.
    ///
    /// # Errors
    /// It refused, or the connection broke.
    pub async fn call<A, O>(&mut self, operation: &Operation<A, O>, arguments: A) -> Result<O, CallError>
    where
        A: Serialize,
        O: DeserializeOwned,
    {
        match self.exchange(operation.name(), arguments).await.map_err(CallError::Connection)? {
            Response::Done(output) => {
                serde_json::from_value(output).map_err(|error| CallError::Connection(error.into()))
            }
            Response::Refused(error) => Err(CallError::Refused(error)),
        }
    }

    async fn exchange<A: Serialize>(&mut self, operation: &str, arguments: A) -> io::Result<Response> {
        let request = Request { operation: operation.to_owned(), arguments: serde_json::to_value(arguments)? };
        self.stream.get_mut().write_all(&line(&request)?).await?;
        let response = read_line(&mut self.stream, RESPONSE_LIMIT).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&response)?)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Connection(error) => write!(f, "the connection to the running server broke: {error}"),
        }
    }
}

impl std::error::Error for CallError {}
