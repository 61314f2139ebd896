//! Half-closed connections in the network namespace of this thread, from sock_diag or, if that fails, from
//! `/proc/net/tcp{,6}`.

use std::{
    fs::File,
    io::{self, BufReader},
    net::SocketAddr,
};

use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_FIN_WAIT2},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use procfs::{
    FromBufReadSI,
    net::{TcpNetEntries, TcpState},
};

use super::{HalfClosed, netlink};
use crate::sockets::State;

/// The half-closed connections, from the faster source that works.
pub(super) fn half_closed() -> io::Result<Vec<HalfClosed>> {
    by_sock_diag().or_else(|_| by_proc())
}

fn by_sock_diag() -> io::Result<Vec<HalfClosed>> {
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::CLOSE_WAIT | StateFlags::FIN_WAIT2,
            socket_id,
        });
        netlink::dump(NETLINK_SOCK_DIAG, request, |message| {
            let SockDiagMessage::InetResponse(response) = message else { return };
            let header = response.header;
            let state = match header.state {
                TCP_CLOSE_WAIT => State::CloseWait,
                TCP_FIN_WAIT2 => State::FinWait2,
                _ => return,
            };
            let id = header.socket_id;
            sockets.push(socket(
                state,
                SocketAddr::new(id.source_address, id.source_port),
                SocketAddr::new(id.destination_address, id.destination_port),
                header.uid,
                header.inode.into(),
            ));
        })?;
    }
    Ok(sockets)
}

fn by_proc() -> io::Result<Vec<HalfClosed>> {
    let mut sockets = Vec::new();
    for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let entries = match File::open(path) {
            // Kernels without IPv6 have no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('6') => continue,
            file => TcpNetEntries::from_buf_read(BufReader::new(file?), procfs::current_system_info())
                .map_err(io::Error::other)?,
        };
        sockets.extend(entries.0.into_iter().filter_map(|entry| {
            let state = match entry.state {
                TcpState::CloseWait => State::CloseWait,
                TcpState::FinWait2 => State::FinWait2,
                _ => return None,
            };
            Some(socket(state, entry.local_address, entry.remote_address, entry.uid, entry.inode))
        }));
    }
    Ok(sockets)
}

fn socket(state: State, local: SocketAddr, remote: SocketAddr, uid: u32, inode: u64) -> HalfClosed {
    HalfClosed { state, local: plain(local), remote: plain(remote), owner: None, uid, inode }
}

/// Converts IPv4-mapped addresses of dual-stack sockets into IPv4 addresses.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use super::*;

    /// Whether a source shows both ends of a connection; the kernel may take a moment to update the state of the
    /// client.
    fn sees(way: fn() -> io::Result<Vec<HalfClosed>>, ours: SocketAddr, theirs: SocketAddr) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = way().unwrap();
            let has = |state, local, remote| {
                found.iter().any(|it| it.state == state && it.local == local && it.remote == remote)
            };
            if has(State::FinWait2, ours, theirs) && has(State::CloseWait, theirs, ours) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
        }
    }

    /// The client has closed its side, and the server has not.
    #[test]
    fn both_ways_see_a_half_closed_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let (ours, theirs) = (client.local_addr().unwrap(), server.local_addr().unwrap());
            assert!(sees(by_sock_diag, ours, theirs), "sock_diag, {address}");
            assert!(sees(by_proc, ours, theirs), "/proc, {address}");
        }
    }
}
