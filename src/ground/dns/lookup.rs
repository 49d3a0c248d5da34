//! One query to hickory's resolver, with the answer as the types of this module.

use super::{Absence, DnsError, FAMILY_TIME, TOTAL_TIME};
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError as ResponseError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use std::net::IpAddr;
use tokio::time::timeout;

pub(super) async fn family(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<IpAddr>, DnsError> {
    some(ips(&ask(resolver, name, kind).await?))
}

/// Sends a query. After some steps of an endless alias chain the resolver reports that there are no
/// records; here that is reported as a failure, because it may be repaired.
pub(super) async fn ask(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Lookup, DnsError> {
    let error = match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => return Ok(lookup),
        Err(error) => error,
    };
    if let NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
        query,
        response_code: ResponseCode::NoError,
        ..
    })) = &error
        && query.name() != name
        && let Ok(last) = resolver.lookup(query.name().clone(), RecordType::CNAME).await
        && last.answers().iter().any(|record| record.record_type() == RecordType::CNAME)
    {
        let name = plain(name);
        let text = format!(
            "{name} is an alias (CNAME) that loops, or has too many steps, and leads to no host; \
            the owner of its domain must fix that"
        );
        return Err(DnsError::Failed(text));
    }
    Err(failure(name, &error))
}

/// Waits for the second family, but not for long when the first one has addresses.
pub(super) async fn other_family(
    enough: bool,
    other: impl Future<Output = Result<Vec<IpAddr>, DnsError>>,
) -> Result<Vec<IpAddr>, DnsError> {
    let limit = if enough { FAMILY_TIME } else { TOTAL_TIME };
    timeout(limit, other)
        .await
        .unwrap_or_else(|_| Err(DnsError::Failed("no name server answered in time".to_owned())))
}

/// A name that is not valid in DNS (a label over 63 octets, letters without an A-label) does not
/// exist there.
pub(super) fn parse(text: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_str_relaxed(text).map_err(|_| DnsError::Absent(Absence::Name))?;
    name.set_fqdn(true);
    if name.is_root() { Err(DnsError::Absent(Absence::Name)) } else { Ok(name) }
}

/// Lower case, A-labels, no trailing dot.
pub(super) fn plain(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

pub(super) fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

pub(super) fn some<T>(found: Vec<T>) -> Result<Vec<T>, DnsError> {
    if found.is_empty() { Err(DnsError::Absent(Absence::Records)) } else { Ok(found) }
}

fn failure(name: &Name, error: &NetError) -> DnsError {
    let cause = match error {
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain,
            ..
        })) => {
            return DnsError::Absent(Absence::Name);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError,
            ..
        })) => {
            return DnsError::Absent(Absence::Records);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords { response_code: code, .. }))
        | NetError::Dns(ResponseError::ResponseCode(code)) => {
            format!("the name server answered \"{code}\"")
        }
        NetError::Timeout => "no name server answered in time".to_owned(),
        other => other.to_string(),
    };
    DnsError::Failed(format!("DNS look-up of {} failed: {cause}", plain(name)))
}
