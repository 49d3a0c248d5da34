//! What became of one target in one try.

use super::{Class, Reply, Target};

/// The end of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// 2xx delivered, 4xx later, 5xx never. Failures on our side of the wire (no route, no
    /// connection, a timeout) are worded as replies too, with the enhanced code of RFC 3463 §3.5.
    pub reply: Reply,
    /// Whether the reply was spoken by the next hop; otherwise it is our own word.
    pub remote: bool,
}

impl Outcome {
    /// The next hop said so.
    pub fn said(reply: Reply) -> Self {
        Self { reply, remote: true }
    }

    /// We say so.
    pub fn own(reply: Reply) -> Self {
        Self { reply, remote: false }
    }

    /// What happened, for people: a reply with its codes, or our own words alone. So whatever
    /// begins with a code was spoken by a next hop.
    pub fn words(&self) -> String {
        if self.remote { self.reply.to_string() } else { self.reply.text.to_string() }
    }

    /// What it means for the mail.
    pub fn class(&self) -> Class {
        self.reply.class()
    }
}

/// One transaction's outcomes, and how the connection fared.
#[derive(Debug, Clone)]
pub struct Report {
    /// One outcome for each target that was asked for, in the same order.
    pub outcomes: Vec<(Target, Outcome)>,
    /// The host that was spoken to last, `name[address]:port`; empty when none was reached.
    pub relay: String,
    /// Whether TLS covered the transaction.
    pub tls: bool,
    /// The protocol's version and its cipher suite; empty in plain text.
    pub security: String,
    /// Commands and replies, a line each, where something went wrong: ours behind `>`, theirs
    /// behind `<`, remarks behind `*`. Hostile text of bounded length; empty where all went well.
    pub transcript: String,
    /// Whether the connection can carry another message.
    pub reusable: bool,
    /// Targets that failed because the content is in 8 bits, as it seems: in 7 bits the next hop
    /// may take it.
    pub eight_bit_refused: Vec<Target>,
    /// Whether another host may be asked at once about recipients with a temporary outcome (RFC
    /// 5321 §5.1). Not where the host may have taken the content, or where the cause is on our
    /// side.
    pub elsewhere: bool,
    /// In which words the next hop refused us, whatever the mail; `None` where it did not.
    pub refused_us: Option<String>,
}

impl Report {
    /// The targets that another host may be asked about at once.
    pub fn put_off(&self) -> Vec<Target> {
        let put_off = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| self.elsewhere && outcome.class() == Class::Temporary);
        put_off.map(|(target, _)| *target).collect()
    }
}
