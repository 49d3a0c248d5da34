//! An input: the commands of a client.

/// The class of a client for both relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A program on the relay's own host.
    Own,
    /// A client of a network that may relay.
    Trusted,
    /// An untrusted client.
    Stranger,
}

/// One step of the client.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends octets in one piece, and expects so many replies.
    Send(Vec<u8>, usize),
    /// Sends octets as the content if the reply before was 354, and expects one reply.
    Content(Vec<u8>),
}

/// One session.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: String,
    pub who: Who,
    pub steps: Vec<Step>,
}

/// The recipient of mails unless an input needs another.
pub const BOX: &str = "RCPT TO:<box@there.example>";

/// A content with all fields that a server might add.
pub const WHOLE: &str = "From: sender@here.example\r\nTo: box@there.example\r\nDate: Thu, 26 Nov \
2026 12:00:00 +0000\r\n\
                         Message-ID: <whole@here.example>\r\nSubject: whole\r\n";

impl Input {
    /// An empty session.
    pub fn new(who: Who, name: impl Into<String>) -> Self {
        Self { name: name.into(), who, steps: Vec::new() }
    }

    /// A line, and its reply.
    pub fn say(self, line: impl AsRef<[u8]>) -> Self {
        self.send([line.as_ref(), b"\r\n"].concat(), 1)
    }

    /// Octets as they are, and so many replies.
    pub fn send(mut self, octets: impl Into<Vec<u8>>, replies: usize) -> Self {
        self.steps.push(Step::Send(octets.into(), replies));
        self
    }

    /// EHLO.
    pub fn greeted(self) -> Self {
        self.say("EHLO client.example")
    }

    /// MAIL and RCPT that every server accepts.
    pub fn enveloped(self) -> Self {
        self.greeted().say("MAIL FROM:<sender@here.example>").say(BOX)
    }

    /// DATA, and a content: it is dot-stuffed and its end appended.
    pub fn content(self, content: impl AsRef<[u8]>) -> Self {
        let mut wire = Vec::new();
        for line in content.as_ref().split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        self.wire(wire)
    }

    /// DATA, and a content with its own end.
    pub fn wire(self, wire: impl Into<Vec<u8>>) -> Self {
        let mut input = self.say("DATA");
        input.steps.push(Step::Content(wire.into()));
        input
    }

    /// An ordinary content.
    pub fn whole(self) -> Self {
        self.content(format!("{WHOLE}\r\nHello.\r\n"))
    }
}

/// A whole mail with this MAIL command; untrusted clients stop there.
pub fn from(who: Who, line: impl AsRef<[u8]>) -> Input {
    let input = Input::new(who, name(who, line.as_ref())).greeted().say(line);
    if who == Who::Stranger { input } else { input.say(BOX).whole() }
}

/// A whole mail with this RCPT command; untrusted clients stop there.
pub fn to(who: Who, line: impl AsRef<[u8]>) -> Input {
    let input = Input::new(who, name(who, line.as_ref()))
        .greeted()
        .say("MAIL FROM:<sender@here.example>")
        .say(line);
    if who == Who::Stranger { input } else { input.whole() }
}

/// A mail of this client with this content.
pub fn content(who: Who, name: &str, content: impl AsRef<[u8]>) -> Input {
    Input::new(who, name).enveloped().content(content)
}

/// A line as a name: escaped, shortened, and with a visible blank at its end.
pub fn named(line: &[u8]) -> String {
    let text = line.escape_ascii().to_string();
    match text.strip_suffix(' ') {
        _ if text.len() > 60 => format!("{}... of {}", &text[..50], text.len()),
        Some(text) => format!("{text}\\x20"),
        None => text,
    }
}

fn name(who: Who, line: &[u8]) -> String {
    let line = named(line);
    match who {
        Who::Own => line,
        Who::Trusted => format!("{line}, from a network that may relay"),
        Who::Stranger => format!("{line}, from a stranger"),
    }
}
