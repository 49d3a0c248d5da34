//! The mechanisms and their names.

use std::fmt;

/// A way to log in. The order is that in which a client prefers those that need a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaslMechanism {
    /// RFC 7677: the password never leaves the client, and the server proves that it has its key.
    ScramSha256,
    /// RFC 5802: the same with SHA-1.
    ScramSha1,
    /// RFC 2195: the password never leaves the client; the server must keep it in plain text.
    CramMd5,
    /// RFC 4616: name and password in one message.
    Plain,
    /// Name and password in two messages.
    Login,
    /// An OAuth2 token, as Google and Microsoft take it.
    XOauth2,
    /// An OAuth2 token, RFC 7628.
    OAuthBearer,
    /// RFC 4422 appendix A: the client certificate of the connection.
    External,
}

impl SaslMechanism {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ScramSha256,
        Self::ScramSha1,
        Self::CramMd5,
        Self::Plain,
        Self::Login,
        Self::XOauth2,
        Self::OAuthBearer,
        Self::External,
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOauth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::External => "EXTERNAL",
        }
    }

    /// The mechanism of this name, in capitals or not; `None`: it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether the server proves in it that it knows the account.
    pub fn has_proof(self) -> bool {
        matches!(self, Self::ScramSha256 | Self::ScramSha1)
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
