//! Accounts of programs: `name:hash[;senders=…;networks=…;rate=…]`, one a line or between blanks.
//!
//! In: the text of a property such as `api_tokens` or `smtp_users`. Out: its accounts. Limits:
//! [`ACCOUNTS_MAX`] accounts of programs, [`USERS_MAX`] users. Security: error texts never contain
//! what follows the name.

use super::network;
use super::secret::Secret;
use super::to_text::Written;
use super::value::{self, ValueError};
use crate::ground::credential::password::Password;
use crate::ground::token_bucket::Rate;
use ipnet::IpNet;
use std::collections::HashSet;
use std::fmt;

/// Accounts of programs that send by HTTP, at most.
pub const ACCOUNTS_MAX: usize = 200;

/// Users that log in by SMTP, at most.
pub const USERS_MAX: usize = 5000;

/// Characters of a name, at most.
const NAME_MAX: usize = 64;

/// An account with its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Letters, digits and `.-_@+`.
    pub name: String,
    /// What [`Password::stored`] takes.
    pub hash: Secret,
    /// Reverse-paths that it may use: an address, or a domain for all of its addresses. Empty =
    /// any.
    pub senders: Vec<String>,
    /// Networks from which it may connect; empty = any.
    pub networks: Vec<IpNet>,
    /// How many mails it may send; `None` = no limit of its own.
    pub rate: Option<Rate>,
}

/// All accounts of a property.
///
/// # Errors
/// What is wrong, and in which entry.
pub fn accounts(text: &str) -> Result<Vec<Account>, ValueError> {
    read(text, ACCOUNTS_MAX)
}

/// All users of a property.
///
/// # Errors
/// What is wrong, and in which entry.
pub fn users(text: &str) -> Result<Vec<Account>, ValueError> {
    read(text, USERS_MAX)
}

fn read(text: &str, most: usize) -> Result<Vec<Account>, ValueError> {
    let (mut accounts, mut names) = (Vec::<Account>::new(), HashSet::new());
    for (place, entry) in text.split_whitespace().enumerate() {
        let account = account(entry)
            .map_err(|words| format!("has a wrong entry, number {}: {words}", place + 1))?;
        if !names.insert(account.name.clone()) {
            return Err(format!("names '{}' twice", account.name));
        }
        accounts.push(account);
    }
    if accounts.len() > most {
        return Err(format!("has more than {most} entries"));
    }
    Ok(accounts)
}

fn account(entry: &str) -> Result<Account, String> {
    let form = "write name:hash, one entry a line; make a hash with 'htpasswd -nbB NAME SECRET'";
    let (name, rest) = entry.split_once(':').ok_or_else(|| form.to_owned())?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_@+".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        return Err(format!("a name has 1 to {NAME_MAX} letters, digits and . - _ @ +"));
    }
    let mut parts = rest.split(';');
    let hash = parts.next().unwrap_or_default();
    Password::stored(hash).map_err(|words| format!("the hash of '{name}' {words}; {form}"))?;
    // A hash contains no comma: otherwise the next entry would become part of this secret.
    if hash.split(',').skip(1).any(|next| next.contains(":{") || next.contains(":$")) {
        return Err(format!(
            "'{name}': commas do not separate entries; write one entry a line, or separate them \
            by blanks"
        ));
    }
    let mut account = Account {
        name: name.to_owned(),
        hash: Secret::new(hash.to_owned()),
        senders: Vec::new(),
        networks: Vec::new(),
        rate: None,
    };
    for part in parts.filter(|part| !part.is_empty()) {
        let wrong = |words: &str| format!("'{name}': {words}");
        match part.split_once('=') {
            Some(("senders", list)) => {
                account.senders = value::list(list, sender).map_err(|words| wrong(&words))?
            }
            Some(("networks", list)) => {
                account.networks = network::networks(list).map_err(|words| wrong(&words))?
            }
            Some(("rate", rate)) => {
                account.rate = Some(rate.parse().map_err(|words: String| wrong(&words))?)
            }
            _ => {
                return Err(wrong(
                    "after the hash only ;senders=… ;networks=… and ;rate=… are allowed",
                ));
            }
        }
    }
    Ok(account)
}

/// An address, or a domain with or without an `@` before it.
fn sender(item: &str) -> Result<String, ValueError> {
    let domain = item.rsplit_once('@').map_or(item, |(_, domain)| domain);
    let domain_is_good = !domain.is_empty()
        && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match item.strip_prefix('@') {
        _ if !domain_is_good => {
            Err(format!("senders: '{item}' is neither an address nor a domain"))
        }
        Some(domain) => Ok(domain.to_lowercase()),
        None => Ok(item.to_lowercase()),
    }
}

impl fmt::Display for Account {
    /// As it was written: it contains a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.hash.expose())?;
        if !self.senders.is_empty() {
            write!(f, ";senders={}", self.senders.join(","))?;
        }
        if !self.networks.is_empty() {
            write!(
                f,
                ";networks={}",
                self.networks.iter().map(network::text).collect::<Vec<_>>().join(",")
            )?;
        }
        self.rate.map_or(Ok(()), |rate| write!(f, ";rate={rate}"))
    }
}

impl Written for Account {
    const SECRET: bool = true;
    const BETWEEN: &'static str = " ";

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS";

    #[test]
    fn accounts_stand_in_lines_or_between_blanks() {
        let text = format!(
            "shop:{HASH};senders=shop@example.org,@News.Example;networks=10.0.0.0/8,192.0.2.7;rate=100/h\n\
             app:{{PLAIN}}a,b=c\r\n  cron:$argon2id$v=19$m=4096,t=2,p=1$c2FsdHNhbHRzYWx0$/e3GcjItmBpwkaDcmKKe9jJxL2dVDYkrKlSB+bgh9Gw"
        );
        let found = accounts(&text).unwrap();
        let names: Vec<_> = found.iter().map(|account| account.name.as_str()).collect();
        assert_eq!(names, ["shop", "app", "cron"]);
        assert_eq!(found[0].senders, ["shop@example.org", "news.example"]);
        assert_eq!((found[0].networks.len(), found[0].rate.map(|rate| rate.count)), (2, Some(100)));
        assert_eq!(found[1].hash.expose(), "{PLAIN}a,b=c", "commas separate nothing here");
        let written: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(accounts(&written.join(" ")).unwrap(), found);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (text, words) in [
            ("hunter2", "name:hash"),
            ("shop:hunter2", "neither a bcrypt"),
            (":{PLAIN}hunter2", "a name has"),
            ("a b:{PLAIN}hunter2", "number 1"),
            ("a:{PLAIN}hunter2;rate=fast", "not a rate"),
            ("a:{PLAIN}hunter2;senders=x@", "neither an address"),
            ("a:{PLAIN}hunter2;networks=10.0.0.0/40", "not a network"),
            ("a:{PLAIN}hunter2;colour=red", "after the hash"),
            ("a:{PLAIN}hunter2 a:{PLAIN}hunter2", "'a' twice"),
            ("a:{PLAIN}hunter2,b:{PLAIN}hunter2", "commas do not separate"),
            ("a:{PLAIN}hunter2,b:$2y$08$hunter2", "commas do not separate"),
        ] {
            let told = accounts(text).unwrap_err();
            assert!(told.contains(words) && !told.contains("hunter2"), "{text}: {told}");
        }
    }
}
