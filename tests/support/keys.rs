//! Keys and certificates, made by openssl as an operator would.

use super::program::{find, open_directory, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A certificate authority of the test: a root, which clients trust, and an intermediate, which
/// signs.
pub struct Authority {
    directory: TempDir,
}

/// A key that belongs to a certificate with its chain.
pub struct Issued {
    /// The private key's file.
    pub key: PathBuf,
    /// The file with the certificate, followed by the intermediate.
    pub chain: PathBuf,
}

/// The kinds of keys, as arguments of `openssl genpkey`.
pub const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
/// On the curve P-256.
pub const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// Of RFC 8410.
pub const ED25519: &[&str] = &["-algorithm", "ED25519"];

const CONFIG: &str = "\
[ca]
default_ca = one
[one]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
";

impl Authority {
    /// Makes it.
    pub fn new() -> Self {
        let authority = Self { directory: open_directory() };
        fs::write(authority.path("conf"), CONFIG).unwrap();
        fs::write(authority.path("index"), "").unwrap();
        authority.make_key("root.key", EC);
        authority.openssl(&[
            "req",
            "-x509",
            "-new",
            "-config",
            "conf",
            "-extensions",
            "authority",
            "-key",
            "root.key",
            "-subj",
            "/CN=Test Root",
            "-days",
            "30",
            "-out",
            "root.pem",
        ]);
        authority.make_key("intermediate.key", EC);
        authority.request("intermediate", "Test Intermediate", "");
        authority.sign("root", "intermediate", "authority", "20200101000000Z", "20490101000000Z");
        authority
    }

    /// The root's certificate, for clients that verify.
    pub fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// A key of one of the kinds above in `FILE.key`, and its certificate for a DNS name and
    /// 127.0.0.1 in `FILE.pem`.
    pub fn issue(&self, file: &str, kind: &[&str], name: &str) -> Issued {
        self.issue_for(file, kind, name, "20200101000000Z", "20490101000000Z")
    }

    /// The same with the days of the certificate, in the form `YYYYMMDDHHMMSSZ`.
    pub fn issue_for(
        &self,
        file: &str,
        kind: &[&str],
        name: &str,
        from: &str,
        until: &str,
    ) -> Issued {
        self.make_key(&format!("{file}.key"), kind);
        self.request(file, name, &format!("subjectAltName=DNS:{name},IP:127.0.0.1"));
        self.sign("intermediate", file, "server", from, until);
        let chain = [self.read(&format!("{file}.pem")), self.read("intermediate.pem")].concat();
        fs::write(self.path(&format!("{file}.pem")), chain).unwrap();
        Issued { key: self.path(&format!("{file}.key")), chain: self.path(&format!("{file}.pem")) }
    }

    /// Makes a private key in PKCS#8 form.
    pub fn make_key(&self, file: &str, kind: &[&str]) {
        self.openssl(&[&["genpkey", "-out", file][..], kind].concat());
    }

    /// Runs openssl in its directory.
    pub fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(find("openssl"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
    }

    /// A place in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is in a file of its directory.
    pub fn read(&self, name: &str) -> Vec<u8> {
        read(&self.path(name))
    }

    fn request(&self, file: &str, name: &str, extension: &str) {
        let (key, request, subject) =
            (format!("{file}.key"), format!("{file}.csr"), format!("/CN={name}"));
        let mut arguments = vec![
            "req", "-new", "-config", "conf", "-key", &key, "-subj", &subject, "-out", &request,
        ];
        if !extension.is_empty() {
            arguments.extend(["-addext", extension]);
        }
        self.openssl(&arguments);
    }

    fn sign(&self, by: &str, file: &str, extensions: &str, from: &str, until: &str) {
        let (cert, key) = (format!("{by}.pem"), format!("{by}.key"));
        let (request, out) = (format!("{file}.csr"), format!("{file}.pem"));
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "conf",
            "-extensions",
            extensions,
            "-cert",
            &cert,
            "-keyfile",
            &key,
            "-in",
            &request,
            "-startdate",
            from,
            "-enddate",
            until,
            "-out",
            &out,
        ]);
    }
}

/// What is in a file.
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
