//! Mail addresses and domains in properties that decide where mail goes or who it is from.
//!
//! In: texts. Out: an address in the form that every part of the relay accepts: a dot-atom (RFC
//! 5322 §3.2.3) and a host name. A stricter grammar than that of `name::mailbox`: a property whose
//! address could not be used later would send mail to people who must not get it. Pure.

use super::name;
use super::value::{ValueError, list};
use std::fmt;

/// Octets of an address, at most (RFC 5321 §4.5.3.1.3).
const ADDRESS_MAX: usize = 254;

/// One address; its domain in lower case.
pub fn address(text: &str) -> Result<String, ValueError> {
    read(text)
        .ok_or_else(|| format!("contains '{text}', which is not an address: write box@example.org"))
}

/// Addresses, domains, and `*.` and a domain for its subdomains, in lower case.
pub fn patterns(text: &str) -> Result<Vec<String>, ValueError> {
    list(text, |item| {
        // `*@domain` and `@domain` are other ways to write a domain.
        let item = item.strip_prefix('*').filter(|rest| rest.starts_with('@')).unwrap_or(item);
        let domain = item.strip_prefix("*.").or_else(|| item.strip_prefix('@')).unwrap_or(item);
        let prefix = if item.starts_with("*.") { "*." } else { "" };
        let domain = || name::host_name(domain).ok().map(|domain| format!("{prefix}{domain}"));
        let whole = if item.starts_with('@') { None } else { read(item) };
        whole.map(|address| address.to_lowercase()).or_else(domain).ok_or_else(|| {
            format!(
                "contains '{item}', which is neither an address nor a domain: write \
                box@example.org, example.org, or *.example.org for its subdomains"
            )
        })
    })
}

/// An entry of property `sender_rewrites`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRewrite {
    /// An address in lower case, or `@` and a domain.
    pub old: String,
    /// What it becomes: an address, or `@` and a domain, which keeps the local part.
    pub new: String,
}

impl fmt::Display for SenderRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.old, self.new)
    }
}

/// Entries of `sender_rewrites`, at most.
const REWRITES_MAX: usize = 1000;

/// `old=new`, addresses or `@` and a domain.
pub fn rewrites(text: &str) -> Result<Vec<SenderRewrite>, ValueError> {
    let entries = list(text, |item| {
        rewrite(item).ok_or_else(|| {
            format!(
                "contains '{item}', which is not old=new: write box@old.example=box@new.example, \
                or @old.example=@new.example for a domain"
            )
        })
    })?;
    if entries.len() > REWRITES_MAX {
        return Err(format!("has more than {REWRITES_MAX} entries"));
    }
    Ok(entries)
}

fn rewrite(item: &str) -> Option<SenderRewrite> {
    // A local part may contain '=', a domain does not.
    let equals = item.find('@').and_then(|at| Some(at + item.get(at..)?.find('=')?))?;
    let (old, new) = (item.get(..equals)?, item.get(equals + 1..)?);
    let side = |text: &str| match text.strip_prefix('@') {
        Some(domain) => name::host_name(domain).ok().map(|domain| format!("@{domain}")),
        None => read(text),
    };
    Some(SenderRewrite { old: side(old)?.to_lowercase(), new: side(new)? })
}

fn read(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atom_text);
    let domain = name::host_name(domain).ok()?;
    let fits = text.len() <= ADDRESS_MAX && local.split('.').all(atom);
    fits.then(|| format!("{local}@{domain}"))
}

/// RFC 5322 §3.2.3.
fn is_atom_text(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_have_two_sides() {
        let text = "Root@Old.example=ops@new.example, @old.example=@new.example\na=b@x=c=d@y";
        let read: Vec<_> = rewrites(text).unwrap().iter().map(ToString::to_string).collect();
        let expected =
            ["root@old.example=ops@new.example", "@old.example=@new.example", "a=b@x=c=d@y"];
        assert_eq!(read, expected);
        for bad in ["a@b", "a@b=", "=a@b", "a@b=c", "a@b=@", "@=@b", "a@b=c@d=e@f", "old=new"] {
            assert!(rewrites(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_addresses_domains_and_subdomains() {
        let read =
            patterns("Box@Example.org, one.example *.Two.example\n@three.example *@four.org");
        let expected =
            ["box@example.org", "one.example", "*.two.example", "three.example", "four.org"];
        assert_eq!(read.unwrap(), expected);
        for bad in ["*", "*.", "a b@", ",", "*.*.example", "a@*.example", "@", "@@x"] {
            assert!(patterns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_read_is_an_address_everywhere() {
        for (text, read) in [
            ("box@Example.ORG", "box@example.org"),
            ("A.b+c=d@here", "A.b+c=d@here"),
            ("box@example.org.", "box@example.org"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(read));
        }
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in [
            "",
            "box",
            "@example.org",
            "box@",
            "a..b@x",
            "a b@x",
            "<a@b>",
            "é@x",
            "a@b c",
            "a@b@c",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "\"a\"@b",
            "a,b@c",
            &long,
        ] {
            let told = address(bad).unwrap_err();
            assert!(told.contains("write box@example.org"), "{bad}: {told}");
        }
    }
}
