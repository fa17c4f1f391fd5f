//! The socket to the collector: one descriptor, and no I/O driver that the host could pull away.
//!
//! A host may close every descriptor and then open files of its own, which get our number. tokio's driver panics when its
//! descriptors are gone, and it would go on reading from and writing to whatever has the number. So the socket is asked for
//! by its cookie, which the kernel gives to one socket only, before each use; one that is not ours any more is an error of
//! this connection, and is forgotten without being closed. (Between the question and the use a thread of the host could still
//! close and open: microseconds, against the whole life of the process.)
//!
//! Nothing tells when there is something to read, so it is looked for: a millisecond after something was sent or came, then
//! at pauses that double up to a second. A command of the collector waits so long at most while nothing else happens.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The pause before the first look after something was sent or came.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// The longest pause between two looks.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A socket whose peer is slow takes more after so long.
const FULL: Duration = Duration::from_millis(2);

/// No address of several is tried for less.
const SHORTEST_TRY: Duration = Duration::from_millis(500);

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: ManuallyDrop<TcpStream>,
    identity: Identity,
    read_pause: Duration,
    read_again: Pin<Box<Sleep>>,
    write_again: Pin<Box<Sleep>>,
}

impl Socket {
    /// Connects to `host`, trying its addresses one after the other, for at most `patience` together.
    pub(crate) async fn connect(host: &str, port: u16, patience: Duration) -> io::Result<Self> {
        let addresses = resolve(host, port).await?;
        let each = (patience / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1)).max(SHORTEST_TRY);
        let mut error = io::Error::new(io::ErrorKind::NotFound, "dns error: the name has no address");
        for address in addresses {
            match Self::connect_to(address, each).await {
                Ok(socket) => return Ok(socket),
                Err(because) => error = because,
            }
        }
        Err(error)
    }

    async fn connect_to(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let socket = begin_to_connect(address)?;
        let mut socket = Self::new(TcpStream::from(socket))?;
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        while !socket.is_connected()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {patience:?}"),
                ));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        socket.stream.set_nodelay(true)?;
        socket.expect_soon();
        Ok(socket)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        let identity = Identity::of(&stream)?;
        Ok(Self {
            stream: ManuallyDrop::new(stream),
            identity,
            read_pause: FIRST_LOOK,
            read_again: Box::pin(tokio::time::sleep(FIRST_LOOK)),
            write_again: Box::pin(tokio::time::sleep(FULL)),
        })
    }

    /// The stream, as long as its descriptor is ours.
    fn ours(&self) -> io::Result<&TcpStream> {
        if self.is_ours() { Ok(&self.stream) } else { Err(taken_away()) }
    }

    fn is_ours(&self) -> bool {
        Identity::of(&self.stream).is_ok_and(|now| now == self.identity)
    }

    fn is_connected(&self) -> io::Result<bool> {
        let stream = self.ours()?;
        let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid entry, and no waiting.
        if unsafe { libc::poll(&raw mut poll, 1, 0) } <= 0 {
            return Ok(false);
        }
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    /// Something was sent, so an answer is near.
    fn expect_soon(&mut self) {
        self.read_pause = FIRST_LOOK;
        let soon = Instant::now() + FIRST_LOOK;
        if self.read_again.deadline() > soon {
            self.read_again.as_mut().reset(soon);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another's descriptor is not ours to close.
        if self.is_ours() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.stream) };
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let room = into.initialize_unfilled();
            match io::Read::read(&mut self.ours()?, room) {
                Ok(bytes) => {
                    into.advance(bytes);
                    self.expect_soon();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) => {
                    std::task::ready!(self.read_again.as_mut().poll(cx));
                    self.read_pause = (self.read_pause * 2).min(LONGEST_LOOK);
                    let next = Instant::now() + self.read_pause;
                    self.read_again.as_mut().reset(next);
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match send(self.ours()?, bytes) {
                Ok(sent) => {
                    self.expect_soon();
                    // So that this task is woken for the answer: it may have asked when the next look was far.
                    if self.read_again.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) => {
                    std::task::ready!(self.write_again.as_mut().poll(cx));
                    self.write_again.as_mut().reset(Instant::now() + FULL);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.ours().and_then(|stream| stream.shutdown(std::net::Shutdown::Write)))
    }
}

/// What a descriptor stands for, whatever its number.
#[derive(Debug, PartialEq, Eq)]
struct Identity(u64);

impl Identity {
    /// The socket's cookie, which the kernel gives to one socket since boot.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn of(socket: &TcpStream) -> io::Result<Self> {
        /// As in asm-generic/socket.h; the crate libc lacks it for Android.
        const SO_COOKIE: libc::c_int = 57;
        let mut cookie = 0_u64;
        let mut bytes = size_of::<u64>() as libc::socklen_t;
        let into = (&raw mut cookie).cast();
        // SAFETY: the kernel writes at most `bytes` bytes to `cookie`.
        let failed = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_COOKIE, into, &raw mut bytes)
        };
        if failed == 0 { Ok(Self(cookie)) } else { Err(io::Error::last_os_error()) }
    }

    /// The inode, where there are no cookies.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn of(socket: &TcpStream) -> io::Result<Self> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the kernel fills `stat` when it answers 0.
        if unsafe { libc::fstat(socket.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: filled by the call above.
        Ok(Self(unsafe { stat.assume_init() }.st_ino as u64))
    }
}

fn taken_away() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the program closed leakline's descriptor")
}

/// Without a signal to the host when the other side is gone.
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: reads as many bytes as there are.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        // std sets SO_NOSIGPIPE where there is no such flag.
        let mut socket = socket;
        io::Write::write(&mut socket, bytes)
    }
}

/// A socket that is on its way to `address`, without waiting for it.
fn begin_to_connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let kind = libc::SOCK_STREAM;
    // SAFETY: takes no pointers.
    let descriptor = unsafe { libc::socket(family, kind, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let socket = {
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        OwnedFd::from(stream)
    };
    let (storage, bytes) = raw_address(address);
    // SAFETY: the address is `bytes` long and outlives the call.
    let failed = unsafe { libc::connect(socket.as_raw_fd(), (&raw const storage).cast(), bytes) } != 0;
    match failed.then(io::Error::last_os_error) {
        Some(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// `address` as the kernel takes it.
fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros are a valid address of no family.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let bytes = match address {
        SocketAddr::V4(address) => {
            // SAFETY: all zeros are valid.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr = libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) };
            // SAFETY: the storage is larger than any address, and aligned for each.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: all zeros are valid.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr = libc::in6_addr { s6_addr: address.ip().octets() };
            raw.sin6_scope_id = address.scope_id();
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, bytes as libc::socklen_t)
}

/// The addresses of `host`; a name is resolved on a thread of its own, because that may take long.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = bare.to_owned();
    let found =
        tokio::task::spawn_blocking(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect));
    match found.await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("dns error: {error}"))),
        Err(_) => Err(io::Error::other("dns error: the lookup was given up")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// As a lane's.
    fn on_a_lane<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = Socket::connect("localhost", port, Duration::from_secs(5)).await;
        // Where the name is an IPv6 address first, nobody listens there.
        (socket.unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_sent_arrives_and_what_comes_is_read() {
        on_a_lane(async {
            let (mut socket, mut peer) = pair().await;
            socket.write_all(b"hello").await.unwrap();
            let mut five = [0; 5];
            io::Read::read_exact(&mut peer, &mut five).unwrap();
            assert_eq!(&five, b"hello");
            peer.write_all(b"world").unwrap();
            socket.read_exact(&mut five).await.unwrap();
            assert_eq!(&five, b"world");
            drop(peer);
            assert_eq!(socket.read(&mut five).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_descriptor_that_became_a_file_is_neither_written_nor_closed() {
        on_a_lane(async {
            let (mut socket, _peer) = pair().await;
            let number = socket.stream.as_raw_fd();
            let file = tempfile::tempfile().unwrap();
            // What a host does that closes all and opens its own.
            // SAFETY: both are open.
            assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
            let told = socket.write_all(b"hello").await.unwrap_err().to_string();
            assert_eq!(told, "the program closed leakline's descriptor");
            assert_eq!(socket.read(&mut [0]).await.unwrap_err().to_string(), told);
            drop(socket);
            assert_eq!(file.metadata().unwrap().len(), 0);
            // SAFETY: only asks.
            assert!(unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0, "it is still open");
            // SAFETY: it is this test's now.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        });
    }

    #[test]
    fn another_socket_under_its_number_is_not_taken_for_it() {
        on_a_lane(async {
            let (mut socket, _peer) = pair().await;
            let (other, mut others_peer) = pair().await;
            let number = socket.stream.as_raw_fd();
            // SAFETY: both are open.
            assert_eq!(unsafe { libc::dup2(other.stream.as_raw_fd(), number) }, number);
            assert!(socket.write_all(b"hello").await.is_err());
            drop(socket);
            // SAFETY: it is this test's now, the last one on that connection but `other`.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            drop(other);
            let mut nothing = Vec::new();
            io::Read::read_to_end(&mut others_peer, &mut nothing).unwrap();
            assert!(nothing.is_empty());
        });
    }

    #[test]
    fn a_descriptor_that_is_closed_is_an_error_of_this_connection() {
        on_a_lane(async {
            let (mut socket, _peer) = pair().await;
            let number = socket.stream.as_raw_fd();
            // SAFETY: it is open, and the socket does not use it once it is closed.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            assert!(socket.write_all(b"hello").await.is_err());
        });
    }

    #[test]
    fn nobody_listens_and_no_such_name_are_told_apart() {
        on_a_lane(async {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let refused = Socket::connect("127.0.0.1", port, Duration::from_secs(5)).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let unknown = Socket::connect("no-such-host.invalid", port, Duration::from_secs(5)).await;
            assert!(unknown.unwrap_err().to_string().starts_with("dns error: "));
        });
    }
}
