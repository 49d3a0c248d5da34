//! The client's side of TLS, which trusts a single certificate or authority; and a generated pair
//! for servers.

use postern::ground::clock;
use postern::ground::tls::{KeyPair, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// The name in every certificate here.
pub const NAME: &str = "mail.example";

/// A certificate for [`NAME`], signed by itself, and its key; both in PEM.
pub fn self_signed() -> (String, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    (made.signing_key.serialize_pem(), made.cert.pem())
}

/// The same as a pair for a server, and a client that trusts it.
pub fn pair() -> (KeyPair, Arc<ClientConfig>) {
    let (key, certificate) = self_signed();
    let pair = KeyPair::from_pem(key.as_bytes(), certificate.as_bytes(), clock::now()).unwrap();
    (pair, believing(certificate.as_bytes()))
}

/// A client that trusts this certificate (PEM) and what it has signed.
pub fn believing(certificate: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A client's connection, plain or TLS.
pub enum Channel {
    /// In plain text.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Channel {
    /// Does the handshake to its end.
    ///
    /// # Errors
    /// The server's certificate is not trusted, or it has no TLS.
    pub fn secure(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<Self> {
        let session = ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The TCP connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Whether it is a resumed session.
    pub fn resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => {
                stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            }
        }
    }

    /// The certificate that the server showed, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        match self {
            Self::Plain(_) => panic!("no TLS"),
            Self::Tls(stream) => stream.conn.peer_certificates().unwrap()[0].to_vec(),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
