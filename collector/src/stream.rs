//! One host's stream: hello, entries to disk, acknowledgements back, commands to the host.
//! Never trusts the client: whatever it sends ends in an entry on disk or in a refusal that says why.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leakline_core::{Command, Session};
use leakline_proto::v1::agent_message::Body as In;
use leakline_proto::v1::collector_message::Body as Out;
use leakline_proto::v1::collector_server::Collector as Rpc;
use leakline_proto::v1::entry::Body;
use leakline_proto::{Event, PROTOCOL_VERSION, v1};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ask;
use crate::dump;
use crate::error::CollectorError;
use crate::event::{CollectorEvent, EndReason, Events};
use crate::options::CollectorOptions;
use crate::recording::{BadEntry, Recording};
use crate::registry::{NoPlace, Place, Registry, Stop, stop_reason};
use crate::store::Store;

/// A batch that has grown to this is synced, whatever the delay.
const BATCH_BYTES: usize = 1 << 20;

/// Answers between here and HTTP/2's own buffer.
const ANSWERS: usize = 16;

/// What all streams share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Events,
    pub(crate) options: Arc<CollectorOptions>,
    /// A permit for each heap dump that may be under way.
    pub(crate) dumps: Arc<Semaphore>,
}

type Incoming = Streaming<v1::AgentMessage>;
type Answers = mpsc::Sender<Result<v1::CollectorMessage, Status>>;

#[tonic::async_trait]
impl Rpc for Service {
    type RecordStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn record(&self, request: Request<Incoming>) -> Result<Response<Self::RecordStream>, Status> {
        let peer = request.remote_addr();
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let service = self.clone();
        tokio::spawn(async move { service.stream(peer, request.into_inner(), answers).await });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn ask(&self, request: Request<v1::AskRequest>) -> Result<Response<v1::AskReply>, Status> {
        ask::answer(&self.registry, request)
    }

    async fn dump(
        &self,
        request: Request<Streaming<v1::DumpPart>>,
    ) -> Result<Response<v1::DumpReply>, Status> {
        let peer = request.remote_addr();
        let taken = dump::take(self, request.into_inner()).await;
        if let Err(status) = &taken {
            self.events.refused(peer, status.message());
        }
        taken.map(Response::new)
    }
}

/// How a stream ended, besides by a refusal.
enum Ended {
    Finished,
    Disconnected(String),
    Stopped(Stop),
}

/// A session whose stream is under way.
struct Live {
    // Closed before the place is given back, by the order of the fields.
    recording: Arc<Mutex<Recording>>,
    place: Place,
    session: Session,
    commands: mpsc::Receiver<Command>,
    finished: bool,
}

impl Service {
    async fn stream(&self, peer: Option<SocketAddr>, mut incoming: Incoming, answers: Answers) {
        let mut live = match self.welcome(peer, &mut incoming, &answers).await {
            Ok(live) => live,
            Err(status) => return self.refuse(peer, status, &answers).await,
        };
        let id = live.session.id;
        let ended = self.follow(&mut live, &mut incoming, &answers).await;
        drop(live);
        let reason = match ended {
            Ok(Ended::Finished) => EndReason::Finished,
            Ok(Ended::Disconnected(reason)) => EndReason::Disconnected { reason },
            Ok(Ended::Stopped(stop)) => {
                let _ = timeout(self.options.keepalive_timeout, answers.send(Err(stopped(stop)))).await;
                match stop {
                    Stop::Superseded => EndReason::Superseded,
                    Stop::CollectorEnds => EndReason::CollectorEnds,
                }
            }
            Err(status) => {
                self.refuse(peer, status, &answers).await;
                EndReason::Refused
            }
        };
        self.events.tell(CollectorEvent::SessionEnded { session: id, reason });
    }

    async fn refuse(&self, peer: Option<SocketAddr>, status: Status, answers: &Answers) {
        self.events.refused(peer, status.message());
        let _ = timeout(self.options.keepalive_timeout, answers.send(Err(status))).await;
    }

    /// Hears who it is, opens the recording, and says which entry to begin with.
    async fn welcome(
        &self,
        peer: Option<SocketAddr>,
        incoming: &mut Incoming,
        answers: &Answers,
    ) -> Result<Live, Status> {
        let patience = self.options.hello_timeout;
        let first = timeout(patience, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no hello came within {patience:?}")))??;
        let hello = match first.and_then(|message| message.body) {
            Some(In::Hello(hello)) => hello,
            Some(In::Entry(_)) => {
                return Err(Status::invalid_argument("an entry came before hello: AgentMessage.entry"));
            }
            None => {
                return Err(Status::invalid_argument(
                    "the stream did not begin with hello: AgentMessage.body",
                ));
            }
        };
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(Status::failed_precondition(format!(
                "the agent speaks protocol version {}, this collector speaks {PROTOCOL_VERSION}: use the same leakline \
                 on both sides",
                hello.protocol_version
            )));
        }
        let session =
            hello.session.ok_or_else(|| Status::invalid_argument("a field is missing: Hello.session"))?;
        let session =
            Session::try_from(session).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let place = self.registry.enter(session.id).await.map_err(|no_place| match no_place {
            NoPlace::Full { max_sessions } => {
                Status::resource_exhausted(format!("the collector has {max_sessions} sessions, its limit"))
            }
            NoPlace::Stopped(stop) => stopped(stop),
        })?;
        let (store, for_store) = (Arc::clone(&self.store), session.clone());
        let mut recording = spawn_blocking(move || store.recording(&for_store))
            .await
            .map_err(|_| Status::unavailable("the collector is ending"))?
            .map_err(|error| refused_by_disk(&error))?;
        let next_entry = recording.next_number();
        recording.skip_to(hello.oldest_entry);
        let welcome = v1::Welcome { protocol_version: PROTOCOL_VERSION, next_entry };
        self.events.tell(CollectorEvent::SessionStarted {
            session: session.clone(),
            peer,
            path: recording.path().to_owned(),
            next_entry,
        });
        let commands = place.ready(&session, hello.capabilities);
        let _ = answers.try_send(Ok(v1::CollectorMessage { body: Some(Out::Welcome(welcome)) }));
        let recording = Arc::new(Mutex::new(recording));
        Ok(Live { recording, place, session, commands, finished: false })
    }

    async fn follow(
        &self,
        live: &mut Live,
        incoming: &mut Incoming,
        answers: &Answers,
    ) -> Result<Ended, Status> {
        loop {
            let ended = tokio::select! {
                biased;
                stop = stop_reason(&mut live.place.stop) => Some(Ended::Stopped(stop)),
                Some(command) = live.commands.recv() => {
                    self.answer(live, answers, Some(Out::Command((&command).into()))).await
                }
                message = incoming.message() => self.batch(live, message, incoming, answers).await?,
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Takes `message` and what follows it closely, syncs all of it to disk, and acknowledges it.
    async fn batch(
        &self,
        live: &mut Live,
        mut message: Result<Option<v1::AgentMessage>, Status>,
        incoming: &mut Incoming,
        answers: &Answers,
    ) -> Result<Option<Ended>, Status> {
        let until = Instant::now() + self.options.sync_delay;
        let mut events = Vec::new();
        let ended = loop {
            match message {
                Ok(Some(message)) => {
                    if let Err(status) = live.take(message, &mut events) {
                        break Some(Err(status));
                    }
                }
                Ok(None) => break Some(Ok(live.left("the stream ended before the session did".to_owned()))),
                Err(status) if is_disconnect(&status) => {
                    break Some(Ok(live.left(status.message().to_owned())));
                }
                Err(status) => break Some(Err(status)),
            }
            if live.recording().batch_bytes() >= BATCH_BYTES || live.finished {
                break None;
            }
            match timeout_at(until, incoming.message()).await {
                Ok(next) => message = next,
                Err(_) => break None,
            }
        };
        if live.recording().batch_bytes() > 0 {
            self.sync(live).await?;
            for event in events {
                self.events.decoded(live.session.id, event);
            }
            let ack = v1::Ack { next_entry: live.recording().next_number() };
            if let Some(gone) = self.answer(live, answers, Some(Out::Ack(ack))).await {
                return Ok(Some(gone));
            }
        }
        ended.transpose()
    }

    async fn sync(&self, live: &mut Live) -> Result<(), Status> {
        let recording = Arc::clone(&live.recording);
        let result = spawn_blocking(move || lock(&recording).sync())
            .await
            .map_err(|_| Status::unavailable("the collector is ending"))?;
        result.map_err(|error| refused_by_disk(&error))
    }

    /// Sends an answer; what ended the stream where that was not possible.
    async fn answer(&self, live: &mut Live, answers: &Answers, body: Option<Out>) -> Option<Ended> {
        let sent = timeout(self.options.keepalive_timeout, answers.send(Ok(v1::CollectorMessage { body })));
        tokio::select! {
            sent = sent => match sent {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(live.left("the host left".to_owned())),
                Err(_) => Some(live.left("the host does not read its acknowledgements".to_owned())),
            },
            stop = stop_reason(&mut live.place.stop) => Some(Ended::Stopped(stop)),
        }
    }
}

fn lock(recording: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    // After a panic while it was written, what was not synced was not acknowledged.
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        lock(&self.recording)
    }

    fn take(&mut self, message: v1::AgentMessage, events: &mut Vec<Event>) -> Result<(), Status> {
        let entry = match message.body {
            Some(In::Entry(entry)) => entry,
            Some(In::Hello(_)) => {
                return Err(Status::invalid_argument("hello came twice: AgentMessage.hello"));
            }
            None => return Err(Status::invalid_argument("an empty message: AgentMessage.body")),
        };
        let ends = matches!(entry.body, Some(Body::End(_)));
        let told = self.recording().add(entry).map_err(|bad| match bad {
            BadEntry::OutOfOrder { number, expected } => Status::out_of_range(format!(
                "entry {number} came where {expected} was expected: Entry.number"
            )),
            BadEntry::Invalid { number, reason } => {
                Status::invalid_argument(format!("entry {number}: {reason}"))
            }
        })?;
        self.finished |= ends;
        events.extend(told);
        Ok(())
    }

    fn left(&self, reason: String) -> Ended {
        if self.finished { Ended::Finished } else { Ended::Disconnected(reason) }
    }
}

fn stopped(stop: Stop) -> Status {
    match stop {
        Stop::Superseded => Status::aborted("the same session opened a newer stream"),
        Stop::CollectorEnds => Status::unavailable("the collector is ending"),
    }
}

/// Whether the client is simply gone, rather than wrong.
fn is_disconnect(status: &Status) -> bool {
    use tonic::Code::{Cancelled, Internal, Unavailable, Unknown};
    // What tonic makes of a connection that broke carries its cause; what a client sent does not.
    matches!(status.code(), Cancelled | Unavailable)
        || (matches!(status.code(), Unknown | Internal) && std::error::Error::source(status).is_some())
}

fn refused_by_disk(error: &CollectorError) -> Status {
    let full = match error {
        CollectorError::Write { source, .. } => {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }
        _ => false,
    };
    let message = format!("the collector {error}");
    if full { Status::resource_exhausted(message) } else { Status::unavailable(message) }
}

/// How long streams that are told to end may take to say so.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);
