//! SASL (RFC 4422): who are you, and how do you show it?
//!
//! Purpose: the mechanisms by which one side logs in to the other, for both sides, as state
//! machines without input or output. In: the octets that SMTP, IMAP and POP3 carry in base 64,
//! without the words around them. Out: on the client's side the next line, on the server's side the
//! next challenge or a question about an account. Limits: a line has at most [`LINE_MAX`] octets
//! (RFC 4954 §4), a name [`NAME_MAX`], a password [`PASSWORD_MAX`]; SCRAM has between
//! [`scram::ITERATIONS_MIN`] and [`scram::ITERATIONS_MAX`] iterations. Security: everything that
//! comes in is hostile. A client that used SCRAM knows at the end that the server has its keys. One
//! identity may not act for another one. Sources: RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5), RFC 5802
//! and RFC 7677 (SCRAM, without channel binding), RFC 7628 (OAUTHBEARER), RFC 4422 appendix A
//! (EXTERNAL); LOGIN and XOAUTH2 have no RFC and are done as servers and clients of the field do
//! them.
//!
//! [`mechanism`] has the names. [`client`] chooses one of those that a server offers and answers
//! its challenges; [`server`] asks the client, and the caller about accounts. Each mechanism of
//! more than one message has a file: `cram_md5`, `token`, `scram` with its two sides.

pub mod client;
pub mod cram_md5;
mod encoding;
pub mod failure;
pub mod mechanism;
pub mod scram;
mod scram_client;
mod scram_message;
mod scram_server;
pub mod server;
mod token;

#[cfg(test)]
mod tests;

pub use client::{ClientCredentials, SaslClient, choose_mechanism};
pub use encoding::{LINE_MAX, NAME_MAX, PASSWORD_MAX, nonce as nobodys_password};
pub use failure::SaslFailure;
pub use mechanism::SaslMechanism;
pub use scram::{ScramHash, ScramKeys};
pub use server::{CredentialAnswer, CredentialQuestion, SaslServer, ServerStep};
