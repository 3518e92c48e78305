//! The lines that are exchanged.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::hooks::operation::OperationError;

/// The longest request.
pub(super) const REQUEST_LIMIT: u64 = 64 << 10;

/// The longest response: a list of a million accounts fits.
pub(super) const RESPONSE_LIMIT: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub operation: String,
    #[serde(default = "nothing")]
    pub arguments: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Response {
    Done(Value),
    Refused(OperationError),
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// One line without its end; none at the end of the stream.
///
/// # Errors
/// The line is longer than `limit`, or the stream broke, or ended within a line.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(from: &mut R, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if from.take(limit).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        _ if u64::try_from(line.len()).is_ok_and(|length| length + 1 >= limit) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"))
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `value` as one line; JSON text has no raw line ends.
pub(super) fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
