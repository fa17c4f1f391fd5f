//! Keeps the stream to the collector: connects, sends what is held, drops what is acknowledged, obeys commands, and
//! comes back after every failure.
//! Never makes entries, and never ends before the sink does, whatever the collector answers.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use leakline_core::{Command, CommandSender};
use leakline_proto::v1::agent_message::Body as Out;
use leakline_proto::v1::collector_client::CollectorClient;
use leakline_proto::v1::collector_message::Body as In;
use leakline_proto::{PROTOCOL_VERSION, limits, v1};
use prost::Message as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::backoff::Backoff;
use crate::buffer::{Buffer, FromTheFuture};
use crate::options::GrpcOptions;
use crate::socket::Socket;

/// Longest pause between attempts once the sink is being closed: the host waits for it.
const CLOSING_PAUSE: Duration = Duration::from_millis(200);

/// Messages between here and HTTP/2's own buffer. The flow control of HTTP/2 holds back the rest, in the buffer.
const IN_FLIGHT: usize = 2;

/// What the sink and its connection share. Locked for moments, never across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// There is more to send, or the sink is closing.
    pub(crate) changed: Notify,
    /// The collector acknowledged something, or an attempt failed.
    pub(crate) progress: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) buffer: Buffer,
    pub(crate) last_error: String,
    pub(crate) closing: bool,
    pub(crate) attempts_failed: u64,
    pub(crate) finished: bool,
}

impl Shared {
    pub(crate) fn new(buffer: Buffer) -> Self {
        let state =
            State { buffer, last_error: String::new(), closing: false, attempts_failed: 0, finished: false };
        Self { state: Mutex::new(state), changed: Notify::new(), progress: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that a connection needs.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) options: GrpcOptions,
    pub(crate) url: String,
    pub(crate) session: v1::Session,
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: CommandSender,
}

/// How a conversation gets its connection. See `socket` for why this is not tokio's own.
#[derive(Debug, Clone, Copy)]
struct Connector {
    patience: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Socket>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let patience = self.patience;
        Box::pin(async move {
            let host = address.host().unwrap_or_default();
            // `address::url` refuses one without a port.
            let port = address.port_u16().unwrap_or_default();
            Socket::connect(host, port, patience).await.map(TokioIo::new)
        })
    }
}

/// How a conversation ended.
enum Ended {
    /// The session is over and everything is acknowledged.
    Finished,
    /// Entries that were to be sent next are gone: the collector has to be told where it goes on.
    Overtaken,
    Failed(Failure),
}

struct Failure {
    message: String,
    /// Trying again soon will not help.
    lasting: bool,
}

impl Connection {
    /// Runs until the sink is closed and everything is acknowledged; otherwise until it is dropped.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.options.backoff_min, self.options.backoff_max);
        let mut delivered = self.shared.lock().buffer.delivered();
        loop {
            let ended = self.converse().await;
            let now = self.shared.lock().buffer.delivered();
            if now != delivered {
                delivered = now;
                backoff.reset();
            }
            let pause = match ended {
                Ended::Finished => {
                    self.shared.lock().finished = true;
                    self.shared.progress.notify_one();
                    return;
                }
                Ended::Overtaken => backoff.next().min(CLOSING_PAUSE),
                Ended::Failed(failure) => {
                    self.report(failure.message);
                    if failure.lasting { backoff.longest() } else { backoff.next() }
                }
            };
            self.rest(pause).await;
        }
    }

    /// Sleeps, but not much longer than it takes to see that the sink is being closed.
    async fn rest(&self, pause: Duration) {
        let pause_over = sleep(pause);
        tokio::pin!(pause_over);
        loop {
            if self.shared.lock().closing {
                sleep(pause.min(CLOSING_PAUSE)).await;
                return;
            }
            tokio::select! {
                () = &mut pause_over => return,
                () = self.shared.changed.notified() => {}
            }
        }
    }

    fn report(&self, message: String) {
        let mut state = self.shared.lock();
        state.attempts_failed += 1;
        if state.last_error != message {
            tracing::warn!("{message}; it is tried again, and what is read meanwhile is kept");
            state.last_error = message;
        }
        drop(state);
        self.shared.progress.notify_one();
    }

    async fn converse(&self) -> Ended {
        match self.connect().await {
            Ok((sender, incoming, cursor)) => self.stream(sender, incoming, cursor).await,
            Err(failure) => Ended::Failed(failure),
        }
    }

    /// Opens the stream and agrees with the collector on the entry to begin with.
    async fn connect(
        &self,
    ) -> Result<(mpsc::Sender<v1::AgentMessage>, Streaming<v1::CollectorMessage>, u64), Failure> {
        let patience = self.options.connect_timeout;
        let endpoint = Endpoint::from_shared(self.url.clone())
            .map_err(|error| self.failure(&format!("this is no address: {}", chain(&error)), true))?
            .connect_timeout(patience)
            .http2_keep_alive_interval(self.options.keepalive_interval)
            .keep_alive_timeout(self.options.keepalive_timeout)
            .keep_alive_while_idle(true);
        // Resolving a name is not under the endpoint's own timeout.
        let connector = Connector { patience };
        let channel = timeout(2 * patience, endpoint.connect_with_connector(connector))
            .await
            .map_err(|_| self.failure(&format!("no connection within {:?}", 2 * patience), false))?
            .map_err(|error| self.unreachable(&error))?;
        let mut client = CollectorClient::new(channel).max_decoding_message_size(limits::MAX_ENTRY_BYTES);

        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            session: Some(self.session.clone()),
            oldest_entry: self.shared.lock().buffer.oldest(),
            capabilities: Command::NAMES.map(String::from).to_vec(),
        };
        // The channel is empty and its other end is here.
        let _ = sender.try_send(v1::AgentMessage { body: Some(Out::Hello(hello)) });
        let answer = async {
            let mut incoming = client.record(ReceiverStream::new(receiver)).await?.into_inner();
            let first = incoming.message().await?;
            Ok::<_, Status>((incoming, first))
        };
        let (incoming, first) = timeout(patience, answer)
            .await
            .map_err(|_| self.failure(&format!("the collector did not answer within {patience:?}"), false))?
            .map_err(|status| self.refused(&status))?;
        let welcome = match first.and_then(|message| message.body) {
            Some(In::Welcome(welcome)) => welcome,
            Some(In::Ack(_) | In::Command(_)) | None => {
                return Err(self.failure("the collector did not begin with a welcome", true));
            }
        };
        if welcome.protocol_version != PROTOCOL_VERSION {
            let version = welcome.protocol_version;
            let what = format!(
                "the collector speaks protocol version {version}, this agent speaks {PROTOCOL_VERSION}: use the same \
                 leakline on both sides"
            );
            return Err(self.failure(&what, true));
        }
        let mut state = self.shared.lock();
        let cursor = state.buffer.resume(welcome.next_entry).map_err(|error| self.never_made(error))?;
        if !state.last_error.is_empty() {
            tracing::info!("connected to the collector at {}", self.options.collector);
            state.last_error.clear();
        }
        drop(state);
        self.shared.progress.notify_one();
        Ok((sender, incoming, cursor))
    }

    /// Sends entries from `cursor` on, and takes what the collector answers, until one side ends.
    async fn stream(
        &self,
        sender: mpsc::Sender<v1::AgentMessage>,
        mut incoming: Streaming<v1::CollectorMessage>,
        mut cursor: u64,
    ) -> Ended {
        loop {
            let more = {
                let state = self.shared.lock();
                if cursor < state.buffer.oldest() {
                    return Ended::Overtaken;
                }
                if state.closing && state.buffer.is_empty() {
                    return Ended::Finished;
                }
                cursor < state.buffer.next()
            };
            tokio::select! {
                message = incoming.message() => {
                    if let Err(ended) = self.take(message, cursor) {
                        return ended;
                    }
                }
                permit = sender.reserve(), if more => {
                    let Ok(permit) = permit else {
                        // The stream is broken; `incoming` says how.
                        let message = incoming.message().await;
                        let gone = self.failure("the stream broke", false);
                        return self.take(message, cursor).err().unwrap_or(Ended::Failed(gone));
                    };
                    let encoded = self.shared.lock().buffer.get(cursor).map(|held| v1::Entry::decode(&*held.bytes));
                    match encoded {
                        Some(Ok(entry)) => permit.send(v1::AgentMessage { body: Some(Out::Entry(entry)) }),
                        // Gone since it was looked for: seen at the next turn.
                        None => continue,
                        // Cannot happen to what this sink encoded; not sending it shows as a gap.
                        Some(Err(_)) => {}
                    }
                    cursor += 1;
                }
                () = self.shared.changed.notified() => {}
            }
        }
    }

    fn take(&self, message: Result<Option<v1::CollectorMessage>, Status>, sent: u64) -> Result<(), Ended> {
        let failed = |what: &str, lasting| Err(Ended::Failed(self.failure(what, lasting)));
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return failed("the collector ended the stream", false),
            Err(status) => {
                if status.code() == Code::InvalidArgument {
                    // It will not take these entries next time either.
                    self.shared.lock().buffer.drop_oldest();
                }
                return Err(Ended::Failed(self.refused(&status)));
            }
        };
        match message.body {
            Some(In::Ack(ack)) if ack.next_entry > sent => {
                let error = FromTheFuture { asked: ack.next_entry, next: sent };
                Err(Ended::Failed(self.never_made(error)))
            }
            Some(In::Ack(ack)) => {
                let released = self.shared.lock().buffer.acknowledge(ack.next_entry);
                match released {
                    Ok(true) => self.shared.progress.notify_one(),
                    Ok(false) => {}
                    Err(error) => return Err(Ended::Failed(self.never_made(error))),
                }
                Ok(())
            }
            Some(In::Command(command)) => {
                self.obey(command);
                Ok(())
            }
            Some(In::Welcome(_)) => failed("the collector welcomed twice", true),
            // Something that only a newer collector says.
            None => Ok(()),
        }
    }

    fn obey(&self, command: v1::Command) {
        match Command::try_from(command) {
            Ok(command) => {
                if !self.commands.send(command) {
                    tracing::warn!("too many commands from the collector at once: one was not obeyed");
                }
            }
            Err(error) => tracing::warn!("a command from the collector was not understood: {error}"),
        }
    }

    fn failure(&self, what: &str, lasting: bool) -> Failure {
        Failure { message: format!("{what}: {}", self.options.collector), lasting }
    }

    fn never_made(&self, error: FromTheFuture) -> Failure {
        let FromTheFuture { asked, next } = error;
        self.failure(&format!("the collector asks for entry {asked}, but only {next} were made"), true)
    }

    fn unreachable(&self, error: &tonic::transport::Error) -> Failure {
        let chain = chain(error);
        if chain.contains("dns error") {
            let what = "the collector's name does not resolve; is it spelled right, and is there a network?";
            return self.failure(what, false);
        }
        let what = format!("cannot connect to the collector ({chain}); does `leakline collect` run there?");
        self.failure(&what, false)
    }

    fn refused(&self, status: &Status) -> Failure {
        let message = match status.source() {
            Some(source) => chain(source),
            None => status.message().to_owned(),
        };
        match status.code() {
            Code::Unimplemented | Code::NotFound => {
                self.failure("what answers there is not a leakline collector", true)
            }
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated | Code::Aborted => {
                self.failure(&format!("the collector refuses: {message}"), true)
            }
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => {
                self.failure(&format!("the connection to the collector broke ({message})"), false)
            }
            _ => self.failure(&format!("the collector refuses: {message}"), false),
        }
    }
}

/// An error and its causes on one line, the innermost last; what a cause repeats is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let word = error.to_string();
        if words.last().is_some_and(|last| *last != word) {
            words.push(word);
        }
        cause = error.source();
    }
    words.join(": ")
}
