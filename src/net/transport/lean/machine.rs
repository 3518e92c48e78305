//! The unbuffered connection of rustls as one step: bytes of TLS in, content and bytes of TLS out.
//!
//! A pure state machine; it reads and writes nothing.

use std::io;

use rustls::CommonState;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus, WriteTraffic,
};

use crate::erasure;

/// The writing side of an established connection.
pub(super) type Sealer<'c> = WriteTraffic<'c, ServerConnectionData>;

/// More than a record of any version adds to its content.
const RECORD_OVERHEAD: usize = 40;
/// Room for what is said in a handshake, with a chain of certificates that is not long: it is written record by record.
const FLIGHT: usize = 2 * 1024;
/// The most content of one record.
const RECORD: usize = 16 * 1024;

/// A connection and what it has to send.
pub(super) struct Machine {
    connection: UnbufferedServerConnection,
    /// What is to be sent; whoever sends it takes it.
    pub(super) out: Vec<u8>,
    /// Whether the peer said that it sends nothing more.
    pub(super) peer_closed: bool,
    /// Whether nothing of the content may stay where it was: the peer has not authenticated, and there may be a password in it.
    pub(super) secret: bool,
}

/// Where a connection stands when all that can be done is done.
pub(super) enum Standing<R> {
    /// Content may be sent, and this came of it.
    Open(R),
    /// The handshake needs more bytes.
    Handshake,
    /// Both sides have said goodbye.
    Closed,
}

impl Machine {
    pub(super) const fn new(connection: UnbufferedServerConnection) -> Self {
        Self { connection, out: Vec::new(), peer_closed: false, secret: true }
    }

    pub(super) fn state(&self) -> &CommonState {
        &self.connection
    }

    /// Works through all complete records of `incoming`, appends their content, and says how many
    /// bytes of the front are done with. The others must come again, as they are left, in front of
    /// what arrives next, in every call: parts of a handshake message lie there decrypted.
    ///
    /// `then` is called at the end if the connection stands open. After an error only
    /// [`Machine::give_up`] may be called.
    pub(super) fn advance<R>(
        &mut self,
        incoming: &mut [u8],
        content: &mut Vec<u8>,
        then: impl FnOnce(&mut Sealer<'_>, &mut Vec<u8>) -> io::Result<R>,
    ) -> (usize, io::Result<Standing<R>>) {
        let mut done = 0;
        loop {
            let rest = incoming.get_mut(done..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            let result = match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => match read(&mut records, content, self.secret) {
                    Ok(more) => {
                        discard += more;
                        None
                    }
                    Err(error) => Some(Err(error)),
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.out).err().map(Err),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It is in the output, in front of everything later.
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    None
                }
                Ok(ConnectionState::WriteTraffic(mut sealer)) => {
                    return (done + discard, then(&mut sealer, &mut self.out).map(Standing::Open));
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Standing::Handshake)),
                Ok(ConnectionState::Closed) => Some(Ok(Standing::Closed)),
                // Early data is not on offer, and rustls 0.23 knows no other state.
                Ok(_) => Some(Err(io::ErrorKind::InvalidData.into())),
                Err(error) => Some(Err(invalid(error))),
            };
            done += discard;
            if let Some(result) = result {
                return (done, result);
            }
        }
    }

    /// After an error: collects the alert that tells the peer of it. `rest` is what was left.
    pub(super) fn give_up(&mut self, rest: &mut [u8]) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.connection.process_tls_records(rest)
            else {
                return;
            };
            if encode(&mut data, &mut self.out).is_err() {
                return;
            }
        }
    }
}

/// Appends the content of all records that are decrypted, and says how many bytes of the front are done with besides.
///
/// rustls holds each on the heap until the next one is asked for, and then lets it go as it is.
fn read(
    records: &mut ReadTraffic<'_, '_, ServerConnectionData>,
    content: &mut Vec<u8>,
    secret: bool,
) -> io::Result<usize> {
    let (mut done, mut let_go) = (0, 0);
    loop {
        let record = records.next_record();
        if secret {
            erasure::overwrite_freed(let_go);
        }
        let Some(record) = record else { return Ok(done) };
        let record = record.map_err(invalid)?;
        let_go = record.payload.len();
        if secret {
            erasure::reserve(content, let_go);
        }
        content.extend_from_slice(record.payload);
        done += record.discard;
    }
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        out.reserve(FLIGHT);
    }
    append(out, 0, |room| match data.encode(room) {
        Ok(written) => Ok(written),
        Err(EncodeError::InsufficientSize(short)) => Err(Short::By(short.required_size)),
        Err(error) => Err(Short::Failed(io::Error::other(error))),
    })
}

/// Encrypts `bytes` as one record, or several if they are too many for one.
pub(super) fn seal(sealer: &mut Sealer<'_>, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let size = bytes.len() + bytes.len().div_ceil(RECORD) * RECORD_OVERHEAD;
    append(out, size, |room| sealer.encrypt(bytes, room).map_err(Short::from))
}

/// Encrypts `close_notify`.
pub(super) fn say_goodbye(sealer: &mut Sealer<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    append(out, 2 + RECORD_OVERHEAD, |room| sealer.queue_close_notify(room).map_err(Short::from))
}

/// Why nothing was written.
enum Short {
    /// This many bytes of room are needed.
    By(usize),
    Failed(io::Error),
}

impl From<EncryptError> for Short {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(short) => Self::By(short.required_size),
            error @ EncryptError::EncryptExhausted => Self::Failed(io::Error::other(error)),
        }
    }
}

/// Appends what `write` writes into the room that it is given, which is `size` or what it asks for.
fn append(
    out: &mut Vec<u8>,
    mut size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>,
) -> io::Result<()> {
    let before = out.len();
    loop {
        out.resize(before + size, 0);
        match write(out.get_mut(before..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            Err(Short::By(needed)) if needed > size => size = needed,
            Err(short) => {
                out.truncate(before);
                return Err(match short {
                    Short::Failed(error) => error,
                    Short::By(_) => io::ErrorKind::WriteZero.into(),
                });
            }
        }
    }
}

/// What rustls objects to, as tokio-rustls reports it.
pub(super) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
