use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{CallError, Client, Listener, SOCKET, serve};
use crate::hooks::operation::{Operation, OperationError, Operations, Role};

const DOUBLE: Operation<i64, i64> = Operation::new("test.double", Role::Operator);
const MISSING: Operation<i64, i64> = Operation::new("test.missing", Role::Operator);

/// A directory of one test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("comity-admin-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(directory: &Directory) -> tokio::task::JoinHandle<()> {
    let mut operations = Operations::default();
    operations.register(&DOUBLE, |number| async move { Ok(number * 2) }).unwrap();
    tokio::spawn(serve(Listener::bind(&directory.0).unwrap(), Arc::new(operations)))
}

#[tokio::test]
async fn calls_over_the_socket() {
    let directory = Directory::new("calls");
    let server = start(&directory);
    let mut client = Client::connect(&directory.0).await.unwrap().unwrap();
    assert_eq!(client.call(&DOUBLE, 21).await.unwrap(), 42);
    assert_eq!(client.call(&DOUBLE, 1).await.unwrap(), 2);
    let refused = client.call(&MISSING, 1).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(OperationError::Usage(_))), "{refused}");
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(Client::connect(&directory.0).await.unwrap().is_none());
}

#[tokio::test]
async fn only_this_user_may_open_it() {
    let directory = Directory::new("rights");
    let _server = start(&directory);
    let mode = std::fs::metadata(directory.0.join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [SOCKET]);
}

#[tokio::test]
async fn a_second_server_is_refused_and_a_dead_one_replaced() {
    let directory = Directory::new("second");
    drop(std::os::unix::net::UnixListener::bind(directory.0.join(SOCKET)).unwrap());
    let _server = start(&directory);
    let error = Listener::bind(&directory.0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn nonsense_is_answered_and_too_much_ends_the_connection() {
    let directory = Directory::new("nonsense");
    let _server = start(&directory);
    let mut stream = BufReader::new(UnixStream::connect(directory.0.join(SOCKET)).await.unwrap());
    let mut response = String::new();
    for nonsense in ["hello\n", "{}\n", "{\"operation\":\"test.double\",\"arguments\":\"x\"}\n", "\u{0}\n"] {
        stream.get_mut().write_all(nonsense.as_bytes()).await.unwrap();
        response.clear();
        stream.read_line(&mut response).await.unwrap();
        assert!(response.starts_with("{\"refused\":{\"kind\":\"usage\""), "{response}");
    }
    // The server closes without reading the rest, so the write may fail as well.
    let _ = stream.get_mut().write_all(&vec![b'x'; 65 << 10]).await;
    response.clear();
    let ended = stream.read_line(&mut response).await;
    assert!(ended.is_err() || response.contains("too long"), "{response}");
}
