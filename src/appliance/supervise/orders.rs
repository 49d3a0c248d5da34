//! Orders of the supervisor to its children over their standard input, one JSON object on each
//! line.
//!
//! The first line has the properties, including secrets: the environment and the arguments of a
//! process can be read by others. A core that serves TLS then gets `keys`, once before it is ready
//! and again whenever the files change, because only the supervisor may read them; the same holds
//! for `upstreams`, where these have files, and for `dkim`, which every core gets. A core whose
//! supervisor may not send it signals (a container without CAP_KILL) is stopped and ended by
//! orders, too. Limits: a line has at most [`LINE_LIMIT`] octets. The supervisor never waits for a
//! child that does not read: [`OrderWriter::say`] buffers up to [`PENDING_MAX`] octets and writes
//! them when the pipe accepts them.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ChildStdin;

/// Octets of one line with its end.
pub const LINE_LIMIT: usize = 2 << 20;

/// Octets that wait for a child to read them, at most.
pub const PENDING_MAX: usize = 2 * LINE_LIMIT;

/// The orders after the properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreOrder {
    /// The key pair to be used from now on.
    Keys(Keys),
    /// The content of the files of upstreams from now on.
    Upstreams(UpstreamFileMap),
    /// The DKIM keys of the key volume from now on: all of them.
    Dkim(Vec<DkimKeyFile>),
    /// A property has another value from now on.
    Property(ChangedProperty),
    /// Whether the file of property `smtp_users` can be used. What is wrong was logged.
    UsersFile {
        /// It cannot; what was read before stays.
        failing: bool,
    },
    /// Report the stacks of all threads.
    Stacks,
    /// Stop regularly, as at SIGTERM.
    Stop,
    /// End at once, as at SIGKILL.
    End,
}

/// A private key and its certificate chain as their files hold them (PEM).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The private key; never logged.
    pub private_key: String,
    /// The certificate and those that lead to its issuer.
    pub certificate_chain: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("certificate_chain", &self.certificate_chain)
            .finish_non_exhaustive()
    }
}

/// The content of the files of upstreams, by their names.
pub type UpstreamFileMap = BTreeMap<String, UpstreamFileContents>;

/// The content of one upstream's files; secrets are in it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamFileContents {
    /// The password; `None` when it is not in a file.
    pub password: Option<String>,
    /// The client secret of OAuth2; `None` when it is not in a file.
    pub client_secret: Option<String>,
    /// The refresh token; `None` when it is not in a file.
    pub refresh_token: Option<String>,
    /// Certificates of authorities (PEM).
    pub authorities: Option<String>,
    /// The chain of a client certificate, and its key (PEM).
    pub certificate: Option<(String, String)>,
}

impl UpstreamFileContents {
    /// Key and chain of the client certificate.
    pub fn pair(&self) -> Option<(&[u8], &[u8])> {
        let (chain, key) = self.certificate.as_ref()?;
        Some((key.as_bytes(), chain.as_bytes()))
    }
}

impl fmt::Debug for UpstreamFileContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamFileContents")
            .field("password", &self.password.is_some())
            .field("client_secret", &self.client_secret.is_some())
            .field("refresh_token", &self.refresh_token.is_some())
            .field("authorities", &self.authorities.is_some())
            .field("certificate", &self.certificate.is_some())
            .finish()
    }
}

/// A DKIM key file of the key volume.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKeyFile {
    /// The domain, in lower case.
    pub domain: String,
    /// The selector, in lower case.
    pub selector: String,
    /// The text of the file, never logged; or why it cannot be read.
    pub content: Result<String, String>,
}

impl fmt::Debug for DkimKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DkimKeyFile({}._domainkey.{})", self.selector, self.domain)
    }
}

/// A property that has changed in its file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedProperty {
    /// Its name.
    pub name: String,
    /// Its value as text; never logged.
    pub value: String,
}

impl fmt::Debug for ChangedProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedProperty").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The supervisor's side.
#[derive(Debug)]
pub struct OrderWriter {
    pipe: Option<ChildStdin>,
    pending: Vec<u8>,
}

impl OrderWriter {
    /// Writes to the standard input of a child.
    ///
    /// # Errors
    /// The pipe cannot be made non-blocking.
    pub fn new(pipe: ChildStdin) -> io::Result<Self> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: Some(pipe), pending: Vec::new() })
    }

    /// Sends the properties: the first line.
    pub fn properties(&mut self, json: &str) {
        self.line(json);
    }

    /// Sends an order. A child that does not read earlier ones does not get it.
    pub fn say(&mut self, order: &CoreOrder) {
        // Strings in an enumeration: they can always be written as JSON.
        if let Ok(line) = serde_json::to_string(order) {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        if self.pending.len() + line.len() < PENDING_MAX {
            self.pending.extend_from_slice(line.as_bytes());
            self.pending.push(b'\n');
        }
        self.flush();
    }

    /// Writes as much as the pipe accepts. A child that has ended is noticed when it is reaped.
    pub fn flush(&mut self) {
        while let Some(pipe) = &self.pipe
            && !self.pending.is_empty()
        {
            match nix::unistd::write(pipe, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// The descriptor to poll for writing while something waits.
    pub fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref()?;
        (!self.pending.is_empty()).then(|| pipe.as_fd())
    }
}

/// The child's side.
#[derive(Debug)]
pub struct OrderReader<R = Stdin>(BufReader<R>);

impl OrderReader {
    /// Reads standard input.
    pub fn stdin() -> Self {
        Self(BufReader::new(io::stdin()))
    }
}

impl<R: Read> OrderReader<R> {
    /// The first line.
    ///
    /// # Errors
    /// The supervisor has ended, or the line is too long.
    pub fn properties(&mut self) -> io::Result<String> {
        self.line()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let mut bounded = self.0.by_ref().take(LINE_LIMIT as u64);
        match bounded.read_line(&mut line)? {
            0 => Ok(None),
            _ if line.ends_with('\n') => Ok(Some(line)),
            LINE_LIMIT => Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long")),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The orders that follow; waits for each. It ends when the supervisor has ended.
impl<R: Read> Iterator for OrderReader<R> {
    /// A line that is too long or not an order is an error.
    type Item = io::Result<CoreOrder>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.line().transpose()?;
        let no_order = |_| io::Error::new(io::ErrorKind::InvalidData, "not an order");
        Some(line.and_then(|line| serde_json::from_str(&line).map_err(no_order)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn keys(size: usize) -> Keys {
        Keys { private_key: "k".repeat(size), certificate_chain: "c\n".to_owned() }
    }

    #[test]
    fn a_key_is_in_no_log() {
        assert!(!format!("{:?}", CoreOrder::Keys(keys(3))).contains("kkk"));
    }

    #[test]
    fn what_is_said_is_heard_even_by_a_child_that_is_slow_to_read() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 0.3; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut speaker = OrderWriter::new(child.stdin.take().unwrap()).unwrap();
        speaker.properties("{}");
        // More than a pipe's buffer, so that a part must wait.
        speaker.say(&CoreOrder::Keys(keys(200_000)));
        assert!(speaker.waits_on().is_some());
        let mut listener = OrderReader(BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(listener.properties().unwrap(), "{}\n");
        let heard = std::thread::spawn(move || listener.map(Result::unwrap).collect::<Vec<_>>());
        while speaker.waits_on().is_some() {
            speaker.flush();
            std::thread::yield_now();
        }
        drop(speaker);
        assert_eq!(heard.join().unwrap(), [CoreOrder::Keys(keys(200_000))]);
        child.wait().unwrap();
    }

    #[test]
    fn nonsense_and_endless_lines_are_no_orders() {
        assert!(OrderReader(BufReader::new(&b"{\"open\":1}\n"[..])).next().unwrap().is_err());
        assert!(OrderReader(BufReader::new(&b"{\"keys\""[..])).next().unwrap().is_err());
        assert!(OrderReader(BufReader::new(io::repeat(b'x'))).properties().is_err());
        assert!(OrderReader(BufReader::new(io::empty())).next().is_none());
    }
}
