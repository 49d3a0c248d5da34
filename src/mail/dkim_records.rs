//! What DNS says about the domains that sign: the records of their keys, SPF, DMARC, and the host
//! names of the relay's own addresses.
//!
//! In: domains, a resolver. Out: each record as it is and as it should be. Limits: those of the
//! resolver; the caller limits the number of domains. Security: what DNS has is untrusted text.
//! Source: RFC 6376 §3.6, RFC 7208 §4.5 (SPF), RFC 7489 §6.6.3 (DMARC).

use crate::ground::clock;
use crate::ground::dns::{DnsError, Resolver};
use crate::mail::model::{
    DkimDomainReport, DkimDomainState, DkimKeyState, DkimRetiredKeys, PublishedRecord,
    RecordVerdict,
};
use crate::mail::sign::SigningDomain;

/// What is said about a next key without a record.
const NEXT_MISSING: &str = "not there yet; publish it, and this key signs";

/// Records of one name that are told, at most.
const FOUND_MAX: usize = 5;

/// Addresses of the own host name that are looked at, at most.
const ADDRESSES_MAX: usize = 8;

/// The report on a domain. `hostname` is that of the relay.
pub(super) async fn of_domain(
    resolver: &dyn Resolver,
    hostname: &str,
    state: DkimDomainState,
) -> DkimDomainReport {
    let (mut records, mut gone) = (Vec::new(), Vec::new());
    for key in &state.keys {
        let words = "the key is published";
        records.push(key_record(resolver, &state.domain, key, words).await);
    }
    for key in state.next.iter().flat_map(|next| &next.keys) {
        let words = "the key is published; it signs once all next keys are";
        let record = key_record(resolver, &state.domain, key, words).await;
        records.push(match record.verdict {
            RecordVerdict::Missing => PublishedRecord { words: NEXT_MISSING.into(), ..record },
            _ => record,
        });
    }
    for former in &state.retired {
        former_records(resolver, &state.domain, former, &mut records, &mut gone).await;
    }
    records.push(spf(resolver, hostname, &state.domain).await);
    records.push(dmarc(resolver, &state.domain).await);
    DkimDomainReport { state, records, gone, asked: clock::now() }
}

async fn key_record(
    resolver: &dyn Resolver,
    domain: &str,
    key: &DkimKeyState,
    words: &str,
) -> PublishedRecord {
    let judge = |found: &[String]| match found {
        [one] if tag(one, "p") == tag(&key.record, "p") => (RecordVerdict::Right, words.to_owned()),
        [one] if tag(one, "p").is_some_and(|key| key.is_empty()) => {
            (RecordVerdict::Wrong, "the key is revoked (p= is empty)".to_owned())
        }
        [_] => (RecordVerdict::Wrong, "another key is published".to_owned()),
        _ => (RecordVerdict::Wrong, "there are several records; only one may be".to_owned()),
    };
    record(resolver, "dkim", key.record_name(domain), key.record.clone(), |_| true, judge).await
}

/// The records of former keys: they must stay for a while, and may go then.
async fn former_records(
    resolver: &dyn Resolver,
    domain: &str,
    former: &DkimRetiredKeys,
    records: &mut Vec<PublishedRecord>,
    gone: &mut Vec<String>,
) {
    let until = clock::rfc3339(former.until);
    if former.until > clock::now() {
        let words = format!("a former key; its record must stay until {until}");
        for key in &former.keys {
            let record = key_record(resolver, domain, key, &words).await;
            records.push(match record.verdict {
                RecordVerdict::Missing => PublishedRecord {
                    words: format!("mail under way has signatures of this key until {until}"),
                    ..record
                },
                _ => record,
            });
        }
        return;
    }
    for name in SigningDomain::new(domain, Some(&former.selector)).record_names() {
        let there = |_: &[String]| {
            (RecordVerdict::Right, "a former key; its record may be removed".to_owned())
        };
        let record = record(resolver, "dkim", name, String::new(), |_| true, there).await;
        match record.verdict {
            RecordVerdict::Missing => gone.push(record.name),
            RecordVerdict::Unknown => {}
            _ => records.push(record),
        }
    }
}

async fn spf(resolver: &dyn Resolver, hostname: &str, domain: &str) -> PublishedRecord {
    let is_spf = |text: &String| text == "v=spf1" || text.starts_with("v=spf1 ");
    let judge = |found: &[String]| match found {
        [_] => {
            (RecordVerdict::Right, "there is one; does it name what sends this mail?".to_owned())
        }
        _ => (RecordVerdict::Wrong, "there are several; receivers then ignore them".to_owned()),
    };
    let expected = format!("v=spf1 a:{hostname} ~all");
    record(resolver, "spf", domain.to_owned(), expected, is_spf, judge).await
}

async fn dmarc(resolver: &dyn Resolver, domain: &str) -> PublishedRecord {
    let is_dmarc = |text: &String| text.starts_with("v=DMARC1");
    let judge = |found: &[String]| match found {
        [_] => (RecordVerdict::Right, "there is one".to_owned()),
        _ => (RecordVerdict::Wrong, "there are several; receivers then ignore them".to_owned()),
    };
    let expected = format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}");
    let name = |domain: &str| format!("_dmarc.{domain}");
    let own = record(resolver, "dmarc", name(domain), expected.clone(), is_dmarc, judge).await;
    // A subdomain has the record of its organisation, unless it has one of its own.
    match domain.split_once('.') {
        Some((_, parent)) if own.verdict == RecordVerdict::Missing && parent.contains('.') => {
            let above = record(resolver, "dmarc", name(parent), expected, is_dmarc, judge).await;
            if above.verdict == RecordVerdict::Right { above } else { own }
        }
        _ => own,
    }
}

/// The host names of the addresses of the relay's host name: one record for each.
pub(super) async fn of_host(resolver: &dyn Resolver, hostname: &str) -> Vec<PublishedRecord> {
    let known = |name: String, verdict, words: String| PublishedRecord {
        kind: "ptr",
        name,
        expected: hostname.to_owned(),
        found: Vec::new(),
        verdict,
        words,
    };
    let addresses = match resolver.addresses(hostname).await {
        Ok(addresses) => addresses,
        Err(DnsError::Absent(_)) => {
            let words = "hostname has no address in DNS".to_owned();
            return vec![known(hostname.to_owned(), RecordVerdict::Missing, words)];
        }
        Err(DnsError::Failed(why)) => {
            return vec![known(hostname.to_owned(), RecordVerdict::Unknown, why)];
        }
    };
    let mut records = Vec::new();
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let (found, verdict, words) = match resolver.host_names(address).await {
            Ok(names) if names.iter().any(|name| name == hostname) => {
                (names, RecordVerdict::Right, "it is hostname".to_owned())
            }
            Ok(names) => {
                let words = "it is another name; hostname and this name should be equal";
                (names, RecordVerdict::Wrong, words.to_owned())
            }
            Err(DnsError::Absent(_)) => {
                let words = "there is none; many receivers refuse such mail".to_owned();
                (Vec::new(), RecordVerdict::Missing, words)
            }
            Err(DnsError::Failed(why)) => (Vec::new(), RecordVerdict::Unknown, why),
        };
        let found = found.into_iter().take(FOUND_MAX).collect();
        records.push(PublishedRecord { found, ..known(address.to_string(), verdict, words) });
    }
    records
}

/// Looks up the TXT records of a name that are of this kind, and judges them.
async fn record(
    resolver: &dyn Resolver,
    kind: &'static str,
    name: String,
    expected: String,
    is_it: impl Fn(&String) -> bool,
    judge: impl Fn(&[String]) -> (RecordVerdict, String),
) -> PublishedRecord {
    let missing = || (Vec::new(), RecordVerdict::Missing, "there is none".to_owned());
    let (found, verdict, words) = match resolver.texts(&name).await {
        Ok(texts) => {
            let found: Vec<String> = texts.into_iter().filter(is_it).take(FOUND_MAX).collect();
            match &found[..] {
                [] => missing(),
                these => {
                    let (verdict, words) = judge(these);
                    (found, verdict, words)
                }
            }
        }
        Err(DnsError::Absent(_)) => missing(),
        Err(DnsError::Failed(why)) => (Vec::new(), RecordVerdict::Unknown, why),
    };
    PublishedRecord { kind, name, expected, found, verdict, words }
}

/// The value of a tag without blanks.
fn tag(record: &str, name: &str) -> Option<String> {
    let value = record.split(';').find_map(|tag| {
        let (found, value) = tag.split_once('=')?;
        (found.trim() == name).then_some(value)
    })?;
    Some(value.split_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_whatever_their_blanks() {
        assert_eq!(tag("v=DKIM1; p= ab c=", "p").as_deref(), Some("abc="));
        assert_eq!(tag("v=DKIM1; k=rsa; p=", "p").as_deref(), Some(""));
        assert_eq!(tag("v=spf1 -all", "p"), None);
    }
}
