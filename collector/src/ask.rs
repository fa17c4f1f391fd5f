//! Commands from the collector's own machine to a host that is connected: both ends of that call.
//! Never obeys another machine: whoever can send readings from afar must not be able to slow hosts down.

use std::time::Duration;

use leakline_core::Command;
use leakline_proto::v1;
use leakline_proto::v1::collector_client::CollectorClient;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use crate::error::CollectorError;
use crate::registry::Registry;

/// A collector on this machine that does not answer within this will not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has the collector at `address` (`HOST:PORT`) hand `command` on to the host that `session` means: an id or its
/// beginning, a host's name, or nothing for the only one that is connected. Gives that host's name.
pub async fn ask(address: &str, session: &str, command: &Command) -> Result<String, CollectorError> {
    let failed = |reason: String| CollectorError::Ask { reason, address: address.to_owned() };
    let asking = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| failed("this is no address".to_owned()))?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|_| failed("nobody answers; does `leakline collect` run there?".to_owned()))?;
        let request = v1::AskRequest { session: session.to_owned(), command: Some(command.into()) };
        let reply = CollectorClient::new(channel).ask(request).await;
        reply.map(|reply| reply.into_inner().host).map_err(|status| failed(status.message().to_owned()))
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(failed("it does not answer".to_owned())))
}

/// The collector's end.
pub(crate) fn answer(
    registry: &Registry,
    request: Request<v1::AskRequest>,
) -> Result<Response<v1::AskReply>, Status> {
    if request.remote_addr().is_none_or(|peer| !peer.ip().to_canonical().is_loopback()) {
        return Err(Status::permission_denied("it obeys commands from its own machine only"));
    }
    let v1::AskRequest { session, command } = request.into_inner();
    let command =
        command.ok_or_else(|| Status::invalid_argument("a field is missing: AskRequest.command"))?;
    let command = Command::try_from(command).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let refused = |error: CollectorError| Status::failed_precondition(error.to_string());
    let session = registry.meant(&session).map_err(refused)?;
    registry.send(session.id, &command).map_err(refused)?;
    Ok(Response::new(v1::AskReply { session: session.id.to_string(), host: session.host.name }))
}
