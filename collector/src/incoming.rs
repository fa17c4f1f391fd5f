//! Takes connections, looks whether they speak HTTP/2, and hands those that do to the server.
//! A client that says nothing, or something else, costs one slot for a bounded time and is told what this is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::event::Events;

/// What every HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Said to browsers and the like.
const NOT_HTTP_1: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    This is a leakline collector. It takes sessions from leakline's agents over gRPC (HTTP/2).\n";

/// Pause after the system could not give a connection (no file descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a client that has sent only a part of the preface is looked at again.
const PEEK_PAUSE: Duration = Duration::from_millis(20);

/// Connections that speak HTTP/2.
#[derive(Debug)]
pub(crate) struct Incoming {
    connections: mpsc::Receiver<Connection>,
    accepting: JoinHandle<()>,
}

/// A connection that gives its slot back when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl Incoming {
    pub(crate) fn new(
        listener: TcpListener,
        max_connections: usize,
        patience: Duration,
        events: Events,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let (sender, connections) = mpsc::channel(16);
        let accepting = tokio::spawn(accept(listener, slots, patience, events, sender));
        Self { connections, accepting }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

async fn accept(
    listener: TcpListener,
    slots: Arc<Semaphore>,
    patience: Duration,
    events: Events,
    sender: mpsc::Sender<Connection>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            events.refused(Some(peer), "there are too many connections");
            continue;
        };
        let (events, sender) = (events.clone(), sender.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut connection = Connection { stream, _slot: slot };
            let why = match timeout(patience, speaks_http_2(&connection.stream)).await {
                Ok(Ok(Spoken::Http2)) => {
                    // Fails when the server is ending.
                    let _ = sender.send(connection).await;
                    return;
                }
                Ok(Ok(Spoken::Nothing)) => return,
                Ok(Ok(Spoken::Http1)) => {
                    let _ = timeout(patience, connection.stream.write_all(NOT_HTTP_1.as_bytes())).await;
                    "it speaks HTTP/1, a collector speaks gRPC (HTTP/2)".to_owned()
                }
                Ok(Ok(Spoken::Other)) => "it does not speak gRPC (HTTP/2)".to_owned(),
                Ok(Err(error)) => format!("the connection broke: {error}"),
                Err(_) => format!("it said nothing that is gRPC (HTTP/2) within {patience:?}"),
            };
            events.refused(Some(peer), why);
        });
    }
}

/// What a client speaks.
enum Spoken {
    Http2,
    Http1,
    Other,
    /// It left without a word, as port scanners and health checks do.
    Nothing,
}

/// Looks at the first bytes without taking them.
async fn speaks_http_2(stream: &TcpStream) -> io::Result<Spoken> {
    let mut first = [0; PREFACE.len()];
    let mut seen = 0;
    loop {
        let count = stream.peek(&mut first).await?;
        let begin = &first[..count];
        if begin == PREFACE {
            return Ok(Spoken::Http2);
        }
        if count == 0 {
            return Ok(if seen == 0 { Spoken::Nothing } else { Spoken::Other });
        }
        if !PREFACE.starts_with(begin) {
            let methods = [&b"GET "[..], b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE"];
            let http_1 = methods.iter().any(|method| begin.starts_with(method));
            return Ok(if http_1 { Spoken::Http1 } else { Spoken::Other });
        }
        seen = count;
        sleep(PEEK_PAUSE).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
