//! A DNS server over UDP that knows the names it is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// A running server.
pub(crate) struct DnsServer {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl DnsServer {
    /// Answers with these addresses; other names do not exist.
    pub(crate) async fn start(names: &[(&str, &[&str])]) -> Self {
        let names: BTreeMap<String, Vec<IpAddr>> =
            names.iter().map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect())).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let writer = Arc::clone(&log);
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            loop {
                let (size, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let (question, reply) = answer(&buffer[..size], &names);
                writer.lock().unwrap().push(question);
                socket.send_to(&reply, peer).await.unwrap();
            }
        });
        Self { address, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The questions so far, sorted: A and AAAA are asked at once.
    pub(crate) fn questions(&self) -> Vec<String> {
        let mut questions = self.log.lock().unwrap().clone();
        questions.sort();
        questions
    }
}

/// RFC 1035 section 4: header, one question, answers that point back at its name.
fn answer(query: &[u8], names: &BTreeMap<String, Vec<IpAddr>>) -> (String, Vec<u8>) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let ips = names.get(&name);
    let records: Vec<Vec<u8>> = ips
        .into_iter()
        .flatten()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(v4), 1) => Some(v4.octets().to_vec()),
            (IpAddr::V6(v6), 28) => Some(v6.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let code = if ips.is_some() { 0x80 } else { 0x83 };
    let mut reply = vec![query[0], query[1], 0x81, code, 0, 1, count[0], count[1], 0, 0, 0, 0];
    reply.extend_from_slice(&query[12..at + 5]);
    for data in records {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        let kind = kind.to_be_bytes();
        reply.extend_from_slice(&[0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0, 0, length[0], length[1]]);
        reply.extend_from_slice(&data);
    }
    let kind = match kind {
        1 => "A".to_owned(),
        28 => "AAAA".to_owned(),
        other => other.to_string(),
    };
    (format!("{kind} {name}"), reply)
}
