//! Which kinds of things the host's descriptors are.
//! Never asks a file system, which may hang: the kernel's own names of the descriptors are enough, and the type of an
//! open file comes from what is cached.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsRawFd;

use leakline_core::{Gauge, names, own_descriptors};

use super::entries;
use crate::error::NativeError;
use crate::target::Target;

/// Protocols as the kernel names the sockets of another process, by how they begin.
const PROTOCOLS: &[(&[u8], &str)] = &[
    (b"TCP", "socket_tcp"),
    (b"MPTCP", "socket_tcp"),
    (b"UDP", "socket_udp"),
    (b"PING", "socket_udp"),
    (b"UNIX", "socket_unix"),
    (b"", "socket_other"),
];

/// What a link in `/proc/self/fd` begins with; the first that fits counts.
const LINKS: &[(&[u8], &str)] = &[
    (b"socket:", "socket"),
    (b"pipe:", "pipe"),
    (b"anon_inode:[eventfd", "eventfd"),
    (b"anon_inode:[eventpoll", "epoll"),
    (b"anon_inode:[timerfd", "timerfd"),
    (b"anon_inode:inotify", "inotify"),
    (b"anon_inode:[inotify", "inotify"),
    (b"anon_inode:dmabuf", "dmabuf"),
    (b"/dmabuf", "dmabuf"),
    (b"/memfd:", "memfd"),
    (b"/dev/ashmem", "ashmem"),
    (b"/dev/dri/", "dri"),
    (b"/dev/binder", "binder"),
    (b"/dev/hwbinder", "binder"),
    (b"/dev/vndbinder", "binder"),
    (b"/dev/shm/", "file"),
    (b"/dev/", "device"),
    (b"/", "file"),
    (b"", "other"),
];

/// One gauge for each kind that there is; `None` for more than `most` descriptors.
pub(super) fn by_kind(target: &Target, most: u32) -> Result<Option<Vec<Gauge>>, NativeError> {
    let mut folder = target.descriptors()?;
    // One that was kept open may have been read before.
    let begun = folder.rewind();
    let is_own = matches!(target, Target::Own);
    let mut counts: Vec<(&'static str, u64)> = Vec::with_capacity(24);
    let mut refused = None;
    let whole = begun.and_then(|()| {
        entries::each(&folder, most, |name| {
            let kind = match kind(&folder, name, is_own) {
                Ok(Some(kind)) => kind,
                Ok(None) => return,
                Err(error) => return refused = Some(error),
            };
            match counts.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((kind, 1)),
            }
        })
    });
    let whole = refused.map_or(whole, Err);
    let whole = whole.map_err(|source| NativeError::Read { source, path: target.path("fd") })?;
    let gauge = |(kind, count)| Gauge::count(format!("{}.{kind}", names::DESCRIPTORS), count);
    Ok(whole.then(|| counts.into_iter().map(gauge).collect()))
}

/// `None` for one that was closed meanwhile, and for leakline's own, the folder that is being read among them. An error where
/// this process may not look.
fn kind(folder: &File, name: &CStr, is_own: bool) -> io::Result<Option<&'static str>> {
    let Some(descriptor) = name.to_str().ok().and_then(|number| number.parse::<c_int>().ok()) else { return Ok(None) };
    if is_own && (descriptor == folder.as_raw_fd() || own_descriptors().any(|own| own == descriptor)) {
        return Ok(None);
    }
    let mut link = [0_u8; 64];
    // SAFETY: `name` ends with a NUL, `folder` is open, and the kernel writes at most the length given into `link`.
    let bytes =
        unsafe { libc::readlinkat(folder.as_raw_fd(), name.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    let Some(link) = usize::try_from(bytes).ok().and_then(|bytes| link.get(..bytes)) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::PermissionDenied { Err(error) } else { Ok(None) };
    };
    Ok(Some(match kind_of_link(link) {
        "socket" if is_own => socket(descriptor),
        "socket" => socket_of_other(folder, name),
        "file" if is_folder(folder, name) => "directory",
        other => other,
    }))
}

/// The kernel names a socket's protocol to whoever may look at the process's descriptors; nothing else is asked of it.
fn socket_of_other(folder: &File, name: &CStr) -> &'static str {
    let path = [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name.to_bytes_with_nul()].concat();
    let mut protocol = [0_u8; 32];
    // SAFETY: path and name end with a NUL, and the kernel writes at most the length given into `protocol`.
    let bytes = unsafe {
        libc::getxattr(
            path.as_ptr().cast(),
            c"system.sockprotoname".as_ptr(),
            protocol.as_mut_ptr().cast(),
            protocol.len(),
        )
    };
    let protocol = usize::try_from(bytes).ok().and_then(|bytes| protocol.get(..bytes)).unwrap_or_default();
    PROTOCOLS.iter().find(|(begin, _)| protocol.starts_with(begin)).map_or("socket_other", |(_, kind)| kind)
}

fn kind_of_link(link: &[u8]) -> &'static str {
    // The files of /proc that leakline keeps open are a thread's.
    if link.starts_with(b"/proc/") && link.windows(6).any(|part| part == b"/task/") {
        return "leakline";
    }
    LINKS.iter().find(|(begin, _)| link.starts_with(begin)).map_or("other", |(_, kind)| kind)
}

/// By family and type; a descriptor that was reused meanwhile is counted as what it was or is.
fn socket(descriptor: c_int) -> &'static str {
    match (option(descriptor, libc::SO_DOMAIN), option(descriptor, libc::SO_TYPE)) {
        (Some(libc::AF_INET | libc::AF_INET6), Some(libc::SOCK_STREAM)) => "socket_tcp",
        (Some(libc::AF_INET | libc::AF_INET6), Some(libc::SOCK_DGRAM)) => "socket_udp",
        (Some(libc::AF_UNIX), _) => "socket_unix",
        _ => "socket_other",
    }
}

fn option(descriptor: c_int, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`, and the descriptor need not be a socket.
    let outcome = unsafe {
        libc::getsockopt(descriptor, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    };
    (outcome == 0).then_some(value)
}

/// From what the kernel has in its cache: a network file system is not asked.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_folder(folder: &File, name: &CStr) -> bool {
    let mut status = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the name ends with a NUL, the folder is open, and the kernel writes one `statx` into ours.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_statx,
            folder.as_raw_fd(),
            name.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_TYPE,
            status.as_mut_ptr(),
        )
    };
    // SAFETY: all zeros is a valid `statx`.
    let status = unsafe { status.assume_init() };
    outcome == 0 && u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFDIR
}

/// Some systems' filters end a process that asks: there a folder is a file.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn is_folder(_: &File, _: &CStr) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_its_kind() {
        for (link, kind) in [
            ("socket:[12]", "socket"),
            ("pipe:[3]", "pipe"),
            ("anon_inode:[eventfd]", "eventfd"),
            ("anon_inode:[eventpoll]", "epoll"),
            ("anon_inode:inotify", "inotify"),
            ("/memfd:x (deleted)", "memfd"),
            ("/dev/dri/card0", "dri"),
            ("/dev/null", "device"),
            ("/dev/shm/x", "file"),
            ("/proc/1/task/2/statm", "leakline"),
            ("/tmp/x", "file"),
            ("anon_inode:[perf_event]", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of_link(link.as_bytes()), kind, "{link}");
        }
    }

    fn count(gauges: &[Gauge], kind: &str) -> f64 {
        let name = format!("process.descriptors.{kind}");
        gauges.iter().find(|gauge| gauge.name == name).map_or(0.0, |gauge| gauge.value)
    }

    #[test]
    fn what_is_opened_is_counted_under_its_kind() {
        let before = by_kind(&Target::Own, 20_000).unwrap().unwrap();
        let udp: Vec<_> = (0..50).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let unix: Vec<_> = (0..30).map(|_| std::os::unix::net::UnixDatagram::unbound().unwrap()).collect();
        let folders: Vec<_> = (0..20).map(|_| File::open("/").unwrap()).collect();
        let after = by_kind(&Target::Own, 20_000).unwrap().unwrap();
        for (kind, opened) in [("socket_udp", 50.0), ("socket_unix", 30.0), ("directory", 20.0)] {
            let grown = count(&after, kind) - count(&before, kind);
            // Other tests open files meanwhile.
            assert!((grown - opened).abs() <= 5.0, "{kind}: {grown}");
        }
        drop((udp, unix, folders));
        assert_eq!(by_kind(&Target::Own, 2).unwrap(), None);
    }
}
