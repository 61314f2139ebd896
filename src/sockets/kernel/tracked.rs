//! The close-wait timeout and the conntrack entries in CLOSE_WAIT of the network namespace of this thread.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple},
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Tracked, netlink};
use crate::base::names::CLOSE_WAIT_FILE;

/// Linux `include/uapi/linux/netfilter/nf_conntrack_tcp.h`: `TCP_CONNTRACK_CLOSE_WAIT`.
const CLOSE_WAIT: u8 = 5;

/// The close-wait timeout in seconds.
pub(super) fn timeout() -> Result<u32, String> {
    let text = fs::read_to_string(CLOSE_WAIT_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the kernel module nf_conntrack is not loaded".to_owned(),
        _ => format!("{CLOSE_WAIT_FILE}: {error}"),
    })?;
    text.trim().parse().map_err(|_| format!("{CLOSE_WAIT_FILE} does not contain a number"))
}

/// The number of entries in any state; the kernel counts them for each namespace.
pub(super) fn entries() -> Option<u32> {
    number("/proc/sys/net/netfilter/nf_conntrack_count")
}

/// The maximum number of entries for each namespace. It is the same for all, and only the initial namespace can set it.
pub(super) fn max() -> Option<u32> {
    number("/proc/sys/net/netfilter/nf_conntrack_max")
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The entries in CLOSE_WAIT.
pub(super) fn close_wait() -> Result<Vec<Tracked>, String> {
    let mut tracked = Vec::new();
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let request = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    let dumped = netlink::dump(NETLINK_NETFILTER, request, |message: NetfilterMessage| {
        if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner {
            tracked.extend(entry(&attributes));
        }
    });
    match dumped {
        Ok(()) => Ok(tracked),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err("reading conntrack entries needs CAP_NET_ADMIN".to_owned())
        }
        Err(error) => Err(format!("conntrack entries cannot be read: {error}")),
    }
}

fn entry(attributes: &[ConntrackAttribute]) -> Option<Tracked> {
    let mut remaining = None;
    let mut original = None;
    let mut waits = false;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTimeout(seconds) => remaining = Some(*seconds),
            ConntrackAttribute::CtaTupleOrig(tuples) => original = addresses(tuples),
            ConntrackAttribute::CtaProtoInfo(infos) => {
                waits = infos.iter().any(|info| {
                    matches!(info, ProtoInfo::TCP(fields) if fields.contains(&ProtoInfoTCP::State(CLOSE_WAIT)))
                });
            }
            _ => {}
        }
    }
    let (source, destination) = original.filter(|_| waits)?;
    Some(Tracked { source, destination, remaining: remaining.unwrap_or(0) })
}

fn addresses(tuples: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut source, mut destination) = (None::<IpAddr>, None::<IpAddr>);
    let (mut from, mut to) = (0, 0);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => source = Some(*address),
                        IPTuple::DestinationAddress(address) => destination = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::SourcePort(port) => from = *port,
                        ProtoTuple::DestinationPort(port) => to = *port,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((SocketAddr::new(source?, from), SocketAddr::new(destination?, to)))
}
