//! A small real gRPC server that does what its script says, and keeps what comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::thread;

use leakline_core::Snapshot;
use leakline_proto::v1::agent_message::Body as In;
use leakline_proto::v1::collector_message::Body as Out;
use leakline_proto::v1::collector_server::{Collector, CollectorServer};
use leakline_proto::{Decoder, Event, PROTOCOL_VERSION, recording, v1};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// What the collector does with one stream.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// What it should, then says these commands.
    Work(Vec<v1::Command>),
    /// Refuses hello.
    Refuse(Status),
    /// Welcomes with another protocol version.
    SpeakVersion(u32),
    /// Asks for entries from this number on.
    AskFor(u64),
    /// Acknowledges this, whatever came.
    Acknowledge(u64),
    /// Takes this many entries, keeps them, and breaks off without an acknowledgement.
    BreakAfter(usize),
    /// Refuses the entry after so many, as one that it will never take.
    Choke(usize),
    /// Welcomes, and reads no more.
    Stall,
    /// Does not even welcome.
    BeSilent,
}

/// What it does with each stream in turn; the last one again and again.
type Script = Arc<Mutex<VecDeque<Does>>>;

#[derive(Debug, Clone)]
struct Small {
    script: Script,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) hellos: Vec<v1::Hello>,
    pub(crate) entries: Vec<v1::Entry>,
    pub(crate) largest: u64,
}

#[tonic::async_trait]
impl Collector for Small {
    type RecordStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn ask(&self, _: Request<v1::AskRequest>) -> Result<Response<v1::AskReply>, Status> {
        Err(Status::unimplemented("nobody asks this one"))
    }

    async fn dump(&self, _: Request<Streaming<v1::DumpPart>>) -> Result<Response<v1::DumpReply>, Status> {
        Err(Status::unimplemented("nobody sends it a dump"))
    }

    async fn record(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::RecordStream>, Status> {
        let (answers, receiver) = mpsc::channel(64);
        let mut script = self.script.lock().unwrap();
        let does = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        drop(script);
        let (small, does) = (self.clone(), does.unwrap());
        tokio::spawn(async move {
            if let Err(status) = small.stream(request.into_inner(), &answers, does).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Small {
    async fn stream(
        &self,
        mut incoming: Streaming<v1::AgentMessage>,
        answers: &mpsc::Sender<Result<v1::CollectorMessage, Status>>,
        does: Does,
    ) -> Result<(), Status> {
        let say = async |body| {
            let _ = answers.send(Ok(v1::CollectorMessage { body: Some(body) })).await;
        };
        let Some(v1::AgentMessage { body: Some(In::Hello(hello)) }) = incoming.message().await? else {
            return Err(Status::invalid_argument("no hello"));
        };
        let mut next = {
            let mut kept = self.kept.lock().unwrap();
            kept.hellos.push(hello);
            kept.entries.last().map_or(0, |last| last.number + 1)
        };
        let mut protocol_version = PROTOCOL_VERSION;
        match &does {
            Does::Refuse(status) => return Err(status.clone()),
            Does::SpeakVersion(version) => protocol_version = *version,
            Does::AskFor(number) => next = *number,
            Does::BeSilent => return std::future::pending().await,
            _ => {}
        }
        say(Out::Welcome(v1::Welcome { protocol_version, next_entry: next })).await;
        match &does {
            Does::Work(commands) => {
                for command in commands {
                    say(Out::Command(*command)).await;
                }
            }
            Does::Acknowledge(next_entry) => say(Out::Ack(v1::Ack { next_entry: *next_entry })).await,
            Does::Stall => return std::future::pending().await,
            _ => {}
        }
        let mut count = 0;
        while let Some(message) = incoming.message().await? {
            let Some(In::Entry(entry)) = message.body else {
                return Err(Status::invalid_argument("no entry"));
            };
            if matches!(does, Does::Choke(after) if after == count) {
                return Err(Status::invalid_argument("it cannot be understood"));
            }
            count += 1;
            let next_entry = entry.number + 1;
            {
                let mut kept = self.kept.lock().unwrap();
                kept.largest = kept.largest.max(recording::len(&entry));
                kept.entries.push(entry);
            }
            match does {
                Does::BreakAfter(after) if after == count => return Err(Status::unavailable("broken off")),
                Does::BreakAfter(_) => {}
                _ => say(Out::Ack(v1::Ack { next_entry })).await,
            }
        }
        Ok(())
    }
}

/// The server in a runtime of its own, until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) end: Option<oneshot::Sender<()>>,
    pub(crate) thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(script: impl IntoIterator<Item = Does>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script, Arc::default())
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl IntoIterator<Item = Does>,
        kept: Arc<Mutex<Kept>>,
    ) -> Self {
        let script: Script = Arc::new(Mutex::new(script.into_iter().collect()));
        let small = Small { script, kept: Arc::clone(&kept) };
        let (told, bound) = std_mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let rpc = CollectorServer::new(small);
                let serve = Server::builder().serve_with_incoming_shutdown(
                    rpc,
                    TcpListenerStream::new(listener),
                    std::future::pending(),
                );
                tokio::select! {
                    served = serve => served.unwrap(),
                    _ = ended => {}
                }
            });
        };
        let thread = thread::Builder::new().name("collector".to_owned()).spawn(run).unwrap();
        Self { address: bound.recv().unwrap(), kept, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn hellos(&self) -> usize {
        self.kept.lock().unwrap().hellos.len()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let mut decoder = Decoder::new();
        let entries = self.kept.lock().unwrap().entries.clone();
        entries.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect()
    }

    /// The snapshots that arrived; panics where something came twice or is missing.
    pub(crate) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        let snapshot = |event| match event {
            Event::Snapshot { snapshot, .. } => Some(snapshot),
            Event::Gap { .. } | Event::Duplicate { .. } => panic!("{event:?}"),
            _ => None,
        };
        self.events().into_iter().filter_map(snapshot).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().unwrap().join();
    }
}
