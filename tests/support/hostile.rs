//! Hundreds of next hops on port 25 that make a relay wait.

use super::program::{own_address, raise_descriptors};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The behaviour of such a host.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// It accepts connections and sends nothing.
    Silent,
    /// It sends the first part of a greeting and no more.
    HalfGreeting,
    /// It sends its greeting one octet at a time, for ever.
    Drip,
    /// It answers normally until a line begins so, and sends nothing more.
    Until(&'static str),
}

/// The hosts; they go with the test.
pub struct Hostile {
    pub addresses: Vec<Ipv4Addr>,
    _kept: Vec<TcpListener>,
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Hostile {
    /// So many hosts, each with an address of its own.
    pub fn start(count: u32, way: Way) -> Self {
        raise_descriptors();
        // A network for this process: other tests have addresses of 127/8 whose second octet is
        // below 252.
        let first =
            0x7ffc_0000 | (std::process::id() % 256) << 10 | u32::from(own_address()) << 9 & 0x200;
        let addresses: Vec<Ipv4Addr> = (0..count).map(|n| Ipv4Addr::from(first + n)).collect();
        let bind =
            |address: &Ipv4Addr| TcpListener::bind(SocketAddr::from((*address, 25))).unwrap();
        let listeners: Vec<TcpListener> = addresses.iter().map(bind).collect();
        if matches!(way, Way::Silent) {
            // The kernel accepts the connections, and no program handles them.
            return Self { addresses, _kept: listeners, _runtime: None };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        for listener in listeners {
            listener.set_nonblocking(true).unwrap();
            let _in = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let _ = serve(stream, way).await;
                    });
                }
            });
        }
        Self { addresses, _kept: Vec::new(), _runtime: Some(runtime) }
    }
}

async fn serve(mut stream: TcpStream, way: Way) -> std::io::Result<()> {
    match way {
        Way::Silent => {}
        Way::HalfGreeting => stream.write_all(b"220-wait a mo").await?,
        Way::Drip => loop {
            stream.write_all(b"220-more\r\n").await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        },
        Way::Until(last) => {
            stream.write_all(b"220 well\r\n").await?;
            let mut lines = BufReader::new(&mut stream);
            let (mut line, mut content) = (String::new(), false);
            while lines.read_line(&mut line).await? > 0 {
                if line.starts_with(last) && (last == ".") == content {
                    break;
                }
                let reply = match (content, line.as_str()) {
                    (true, ".\r\n") => "250 taken\r\n",
                    (true, _) => "",
                    (false, "DATA\r\n") => "354 go on\r\n",
                    (false, _) => "250 well\r\n",
                };
                content = (content && line != ".\r\n") || reply.starts_with("354");
                lines.get_mut().write_all(reply.as_bytes()).await?;
                line.clear();
            }
        }
    }
    std::future::pending().await
}
