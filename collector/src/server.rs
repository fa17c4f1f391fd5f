//! The collector as a whole: an address, a folder, and the server between them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use leakline_proto::v1::collector_server::CollectorServer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tonic::transport::Server;

use crate::error::CollectorError;
use crate::event::{CollectorEvent, Events};
use crate::incoming::Incoming;
use crate::options::CollectorOptions;
use crate::registry::{Handle, Registry};
use crate::store::Store;
use crate::stream::{FAREWELL, Service};

/// Messages above this are refused before they are read; entries are far smaller.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// HTTP/2's window per stream: a whole entry may be under way while another is synced.
const WINDOW_BYTES: u32 = 1 << 20;

/// Streams per connection. An agent needs one.
const STREAMS_PER_CONNECTION: u32 = 16;

/// Receives sessions and keeps them. Begins with [`Collector::bind`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Collector {}

/// A collector that has its address and its folder, and does not serve yet: connections wait.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    service: Service,
    events: Option<mpsc::Receiver<CollectorEvent>>,
}

impl Collector {
    /// Listens on `address` (`HOST:PORT`; port 0: any that is free) and looks through `folder`, which is made where it
    /// is missing. Called in a tokio runtime with I/O and time.
    pub async fn bind(
        address: &str,
        folder: &Path,
        options: CollectorOptions,
    ) -> Result<Bound, CollectorError> {
        let store = Store::open(folder, options.max_recording_bytes)?;
        let error = |source| CollectorError::Bind { source, address: address.to_owned() };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        let (events, receiver) = Events::new(options.event_capacity);
        let registry = Registry::new(options.max_sessions);
        let dumps = Arc::new(Semaphore::new(options.max_dumps));
        let service = Service { store: Arc::new(store), registry, events, options: Arc::new(options), dumps };
        Ok(Bound { listener, address: bound, service, events: Some(receiver) })
    }
}

impl Bound {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// To send commands to hosts, also while it serves.
    pub fn handle(&self) -> Handle {
        self.service.registry.handle()
    }

    /// What happens from now on; `None` the second time. Whoever reads too slowly misses events, and nothing waits.
    pub fn events(&mut self) -> Option<mpsc::Receiver<CollectorEvent>> {
        self.events.take()
    }

    /// Serves until `shutdown` is ready; then ends all streams, with everything on disk that was acknowledged.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), CollectorError> {
        let Self { listener, address: _, service, events } = self;
        // Nobody took them: nobody wants them.
        drop(events);
        let options = Arc::clone(&service.options);
        let registry = Arc::clone(&service.registry);
        let incoming =
            Incoming::new(listener, options.max_connections, options.hello_timeout, service.events.clone());
        let rpc = CollectorServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (end, ended) = oneshot::channel();
        let server = Server::builder()
            .http2_keepalive_interval(Some(options.keepalive_interval))
            .http2_keepalive_timeout(Some(options.keepalive_timeout))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .serve_with_incoming_shutdown(rpc, incoming, async { drop(ended.await) });
        tokio::pin!(server);
        tokio::select! {
            served = &mut server => return served.map_err(|source| CollectorError::Serve { source }),
            () = shutdown => {}
        }
        registry.end();
        let _ = end.send(());
        match timeout(FAREWELL, server).await {
            Ok(served) => served.map_err(|source| CollectorError::Serve { source }),
            // A client that does not let go of its connection does not keep the collector.
            Err(_) => Ok(()),
        }
    }
}
