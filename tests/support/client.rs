//! A raw SMTP client: it sends exactly what the test gives, octet by octet.

use super::tls::Channel;
use rustls::ClientConfig;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;

/// One connection. Every wait ends after twenty seconds with a panic.
pub struct Client {
    reader: BufReader<Channel>,
}

impl Client {
    /// Connects and sends nothing.
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).expect("a connection"))
    }

    /// Connects from this address of this machine and sends nothing.
    pub fn connect_from(local: &str, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            };
            let socket = socket.unwrap();
            socket.bind(SocketAddr::new(local.parse().unwrap(), 0)).unwrap();
            socket.connect(address).await.expect("a connection").into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Self::of(stream)
    }

    /// The same, reads the greeting and sends EHLO.
    pub fn hello_from(local: &str, address: SocketAddr) -> Self {
        let mut client = Self::connect_from(local, address);
        client.expect("220 ");
        client.ask("EHLO client.example", "250 ");
        client
    }

    /// Uses an existing connection.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(Channel::Plain(stream)) }
    }

    /// Connects and does the handshake of TLS (SMTPS).
    pub fn connect_inside_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::connect(address).secure(config)
    }

    /// Does the TLS handshake. Unread input before it is an error: the server sent something too
    /// early.
    pub fn secure(self, config: &Arc<ClientConfig>) -> Self {
        assert_eq!(self.reader.buffer(), b"", "plain text that nobody asked for");
        let Channel::Plain(stream) = self.reader.into_inner() else { panic!("TLS inside TLS") };
        Self {
            reader: BufReader::new(Channel::secure(stream, config.clone()).expect("a handshake")),
        }
    }

    /// EHLO, STARTTLS, the handshake, and EHLO again.
    pub fn hello_inside_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut client = Self::hello(address);
        client.ask("STARTTLS", "220 2.0.0");
        let mut client = client.secure(config);
        client.ask("EHLO client.example", "250 ");
        client
    }

    /// The TCP connection below, for octets that are not TLS.
    pub fn tcp(&self) -> &TcpStream {
        self.reader.get_ref().tcp()
    }

    /// Whether the handshake succeeds.
    pub fn can_secure(self, config: &Arc<ClientConfig>) -> bool {
        let Channel::Plain(stream) = self.reader.into_inner() else { panic!("TLS inside TLS") };
        Channel::secure(stream, config.clone()).is_ok()
    }

    /// Whether this TLS session is a resumed one.
    pub fn resumed(&self) -> bool {
        self.reader.get_ref().resumed()
    }

    /// The certificate that the server showed, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.reader.get_ref().certificate()
    }

    /// Connects, reads the greeting and sends EHLO.
    pub fn hello(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.expect("220 ");
        client.ask("EHLO client.example", "250 ");
        client
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        let channel = self.reader.get_mut();
        channel
            .write_all(octets.as_ref())
            .and_then(|()| channel.flush())
            .expect("the server reads");
    }

    /// Sends octets, or finds that the server has closed.
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        let channel = self.reader.get_mut();
        channel.write_all(octets.as_ref()).and_then(|()| channel.flush()).is_ok()
    }

    /// The next line without CR LF; `None` when the server has closed.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                let line = String::from_utf8(line).expect("replies are UTF-8");
                Some(line.strip_suffix("\r\n").expect("replies end with CR LF").to_owned())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// The last line of the next reply, which must begin with `start`.
    pub fn expect(&mut self, start: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("closed instead of {start:?}"));
            if line.as_bytes().get(3) != Some(&b'-') {
                assert!(line.starts_with(start), "{line:?} instead of {start:?}");
                return line;
            }
        }
    }

    /// Sends a line and expects a reply.
    pub fn ask(&mut self, line: &str, start: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(start)
    }

    /// MAIL, RCPT and DATA, so that content may follow.
    pub fn begin(&mut self) {
        self.ask("MAIL FROM:<sender@client.example>", "250 2.1.0");
        self.ask("RCPT TO:<recipient@there.example>", "250 2.1.5");
        self.ask("DATA", "354 ");
    }

    /// Sends a whole mail, dot-stuffed, and gives back the last reply, which must be a 250.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &[u8]) -> String {
        let extension = if content.is_ascii() { "" } else { " BODY=8BITMIME" };
        let to: String = to.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n")).collect();
        self.send(format!("MAIL FROM:<{from}>{extension}\r\n{to}DATA\r\n"));
        self.expect("250 2.1.0");
        to.lines().for_each(|_| drop(self.expect("250 2.1.5")));
        self.expect("354 ");
        self.send(stuffed(content));
        self.expect("250 ")
    }

    /// The server has closed and sent nothing more.
    pub fn expect_close(&mut self) {
        assert_eq!(self.line(), None, "the server should have closed");
    }

    /// Everything that the server still sends, until it closes.
    pub fn rest(&mut self) -> String {
        String::from_utf8(self.octets()).expect("replies are UTF-8")
    }

    /// The same if it may not be text.
    pub fn octets(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server neither speaks nor closes: {error}"),
        }
        rest
    }

    /// Closes the sending half.
    pub fn finish(&mut self) {
        self.reader.get_ref().tcp().shutdown(Shutdown::Write).unwrap();
    }
}

/// Content on the wire: dot-stuffed, with its end (RFC 5321 §4.5.2). Its last line has a line end.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    let mut start = true;
    for octet in content {
        if start && *octet == b'.' {
            wire.push(b'.');
        }
        start = *octet == b'\n';
        wire.push(*octet);
    }
    assert!(start, "the last line has no end");
    wire.extend_from_slice(b".\r\n");
    wire
}
