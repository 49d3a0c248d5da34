//! The property `destination_rates`: how many mails go to a destination in a time.
//!
//! In: `gmail.com=10/min, .example.org=30/min + 1000/day, *=100/s`. Out: one entry for each.
//! Limits: [`ENTRIES_MAX`] entries; each name once.

use super::name;
use super::to_text::Written;
use super::value::{ValueError, list};
use crate::ground::rate_limit::RateLimit;
use std::collections::HashSet;

/// Entries, at most.
const ENTRIES_MAX: usize = 1000;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRate {
    /// A domain in lower case, `.domain` for what is below it, or `*` for all others.
    pub domain: String,
    /// How many go there.
    pub limit: RateLimit,
}

/// Entries such as `gmail.com=10/min`.
pub fn destination_rates(text: &str) -> Result<Vec<DestinationRate>, ValueError> {
    // Blanks part entries, except around these signs.
    let tight =
        |text: &str, sign: &str| text.split(sign).map(str::trim).collect::<Vec<_>>().join(sign);
    let entries = list(&tight(&tight(text, "+"), "="), entry)?;
    if entries.len() > ENTRIES_MAX {
        return Err(format!("has more than {ENTRIES_MAX} entries"));
    }
    let mut names = HashSet::new();
    match entries.iter().find(|entry| !names.insert(&entry.domain)) {
        Some(twice) => Err(format!(
            "has {} more than once; join its rates by +, such as 30/min + 1000/day",
            twice.domain
        )),
        None => Ok(entries),
    }
}

fn entry(item: &str) -> Result<DestinationRate, ValueError> {
    let complaint = || {
        format!(
            "contains '{item}', which is not domain=rate: write example.org=10/min, \
            .example.org=10/min for its subdomains, or *=100/s for all others"
        )
    };
    let (domain, limit) = item.split_once('=').ok_or_else(complaint)?;
    let domain = match domain.strip_prefix('.') {
        _ if domain == "*" => domain.to_owned(),
        Some(above) => format!(".{}", name::host_name(above).map_err(|_| complaint())?),
        None => name::host_name(domain).map_err(|_| complaint())?,
    };
    let limit = limit.parse().map_err(|told| format!("contains '{item}': {told}"))?;
    Ok(DestinationRate { domain, limit })
}

impl Written for DestinationRate {
    fn to_text(&self) -> String {
        format!("{}={}", self.domain, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_a_domain_and_a_rate() {
        let text = "Gmail.com=10/min, .Example.org = 30/m +1000/day\n*=100/s other.example=20/10m";
        let read = destination_rates(text).unwrap();
        let expected =
            "gmail.com=10/min, .example.org=30/min + 1000/day, *=100/s, other.example=20/10m";
        assert_eq!(read.to_text(), expected);
        assert_eq!(destination_rates(expected), Ok(read));
        for (bad, words) in [
            ("gmail.com", "which is not domain=rate: write example.org=10/min"),
            ("=10/min", "which is not domain=rate"),
            (".=10/min", "which is not domain=rate"),
            ("*.example.org=10/min", "which is not domain=rate"),
            ("gmail.com=ten", "'ten' is not a rate: write 100/s, 10/min, 500/hour or 2000/day"),
            ("gmail.com=", "'' is not a rate"),
            ("a.example=1/s, A.example=2/s", "has a.example more than once; join its rates by +"),
            (",", "nothing but commas"),
        ] {
            let told = destination_rates(bad).unwrap_err();
            assert!(told.contains(words), "{bad}: {told}");
        }
    }
}
