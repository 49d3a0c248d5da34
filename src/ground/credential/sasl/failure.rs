//! Why a login did not come about.

/// What ended an exchange. No text contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslFailure {
    /// A line is longer than [`super::LINE_MAX`].
    #[error("the line is too long")]
    TooLong,
    /// A line is not base 64.
    #[error("the line is not base 64")]
    NotBase64,
    /// The client gave up (`*`).
    #[error("the client gave up")]
    Cancelled,
    /// A message does not follow the mechanism's grammar, or came at the wrong time.
    #[error("{0}")]
    Malformed(&'static str),
    /// The client asks for SCRAM with channel binding, which was not offered.
    #[error("channel binding is not supported")]
    ChannelBinding,
    /// The client wants to act for another identity than its own.
    #[error("the client asks to act for another identity")]
    OtherIdentity,
    /// Wrong name, password, token or certificate: which one is told to nobody.
    #[error("the credentials are not correct")]
    Wrong,
    /// The server did not show that it knows our keys: it is not the server that it claims to be.
    #[error("the server did not prove that it knows this account")]
    ServerNotProved,
    /// The server asks for too little or too much work.
    #[error("the server asks for {0} iterations, which is outside what we do")]
    Iterations(u32),
    /// What the server says about a token that it does not take, or about a SCRAM message:
    /// printable ASCII, at most [`super::encoding::SERVER_TEXT_MAX`] octets.
    #[error("the server says: {0}")]
    ServerError(String),
}
