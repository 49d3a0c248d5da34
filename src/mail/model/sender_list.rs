//! Who may send as whom: a list of addresses and domains.

use super::Address;

/// Senders that are permitted: addresses, or domains for all of their addresses; in lower case.
/// An empty list permits every sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderList(Vec<String>);

impl SenderList {
    /// Of addresses, and of domains without `@`.
    pub fn new(senders: Vec<String>) -> Self {
        Self(senders)
    }

    /// Whether it permits every sender.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it permits this address. The case does not count; a domain does not include those
    /// below it.
    pub fn permits(&self, sender: &Address) -> bool {
        if self.is_empty() {
            return true;
        }
        let text = sender.to_string().to_lowercase();
        let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.0.iter().any(|one| *one == text || *one == domain)
    }
}
