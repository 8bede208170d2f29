//! A free port that stays the same from start to start: kubeconfigs and the addresses that peers know remain true when a
//! program is started again.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

/// What listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP, HTTPS.
    Tcp,
    /// QUIC.
    Udp,
}

/// `wanted` itself unless its port is 0. Then the port that `memory` holds, if it is still free, or else a free one, which
/// `memory` holds from now on.
///
/// The port is free when this returns; in the moment until it is taken, another program may be quicker. The program then
/// fails to listen, and finds another port at its next start.
///
/// # Errors
///
/// When the address is not this machine's, or `memory` cannot be written.
pub(crate) fn choose(memory: &Path, wanted: SocketAddr, protocol: Protocol) -> io::Result<SocketAddr> {
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    let remembered = fs::read_to_string(memory)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if let Some(port) = remembered
        && let Ok(address) = try_to_take(SocketAddr::new(wanted.ip(), port), protocol)
    {
        return Ok(address);
    }
    let address = try_to_take(wanted, protocol)?;
    if let Some(folder) = memory.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(memory, format!("{}\n", address.port()))?;
    Ok(address)
}

fn try_to_take(address: SocketAddr, protocol: Protocol) -> io::Result<SocketAddr> {
    match protocol {
        Protocol::Tcp => TcpListener::bind(address)?.local_addr(),
        Protocol::Udp => UdpSocket::bind(address)?.local_addr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_that_was_asked_for_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("port");
        let wanted = SocketAddr::new(ANY.ip(), 4711);
        assert_eq!(choose(&memory, wanted, Protocol::Tcp).unwrap(), wanted);
        assert!(!memory.exists());
    }

    #[test]
    fn a_free_port_is_remembered_and_another_is_found_when_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("below/port");
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = choose(&memory, ANY, protocol).unwrap();
            assert_eq!(choose(&memory, ANY, protocol).unwrap(), first);
            let _taken = (TcpListener::bind(first).unwrap(), UdpSocket::bind(first).unwrap());
            assert_ne!(choose(&memory, ANY, protocol).unwrap(), first);
        }
    }
}
