//! A netlink dump: sends a request and reads messages until the kernel reports the end.

use std::{io, mem, os::fd::AsFd, time::Duration};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

/// The timeout of a dump; a dump of 100,000 sockets takes less than a second.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The kernel returns at most 32 KiB for a read (`NLMSG_GOODSIZE`, `netlink_dump`).
const READ_SIZE: usize = 32 << 10;

/// Requests a dump and passes each message to `take`.
pub(super) fn dump<M>(protocol: isize, request: M, mut take: impl FnMut(M)) -> io::Result<()>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    let mut socket = Socket::new(protocol)?;
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Recv, Some(MAX_WAIT))?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut read = Vec::with_capacity(READ_SIZE);
    loop {
        read.clear();
        socket.recv(&mut read, 0)?;
        let mut rest = read.as_slice();
        while rest.len() >= mem::size_of::<[u32; 4]>() {
            let length = NetlinkBuffer::new_checked(&rest).map_err(invalid_data)?.length() as usize;
            let message = NetlinkMessage::<M>::deserialize(rest).map_err(invalid_data)?;
            match message.payload {
                NetlinkPayload::InnerMessage(message) => take(message),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) => {}
                _ => {}
            }
            // Messages are aligned to four bytes (`NLMSG_ALIGNTO`).
            rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
        }
    }
}

fn invalid_data(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the kernel's response is not valid: {error}"))
}
