//! The TLS keys in the core: the first pair before anything listens, newer ones while sessions
//! continue.
//!
//! In: `keys` orders of the supervisor, which alone may read the files. Out: a
//! [`CertificatePresenter`] that always has the last valid pair; its expiry time in the metrics; an
//! event and a log line for a pair that cannot be used. Limits: one thread, which waits on standard
//! input; the size of an order is limited in `orders`, that of a pair in `ground`. Security: keys
//! are dropped as soon as the library has them; they are in no log and no error text.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::supervise::orders::{CoreOrder, Keys, OrderReader};
use crate::appliance::supervise::status::StatusWriter;
use crate::ground::clock;
use crate::ground::tls::{CertificatePresenter, KeyPair};
use crate::mail::accept::counters::AcceptCounters;
use std::io::{self, Read};
use std::sync::Arc;

/// The contract's line for keys that are missing or invalid.
const LINE: &str = "Error: couldn't find ssl keys on the key volume!";

/// Waits for the first pair. An expired one is accepted, with a warning: it was valid when the
/// appliance started, and a core that is started again must not reject all mail because of it.
///
/// # Errors
/// The supervisor has ended, or the pair cannot be used.
pub(super) fn first<R: Read>(
    orders: &mut OrderReader<R>,
) -> Result<Arc<CertificatePresenter>, Failure> {
    let failure = |cause: String| Failure::new(Exit::Input, LINE, cause);
    let order = orders.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
    let order = order
        .map_err(|error| Failure::preconfigure(Exit::Internal, format!("the keys: {error}")))?;
    let CoreOrder::Keys(keys) = order else {
        return Err(Failure::preconfigure(
            Exit::Internal,
            "the keys: stopped before they were received".to_owned(),
        ));
    };
    let pair = KeyPair::from_pem_of_any_date(
        keys.private_key.as_bytes(),
        keys.certificate_chain.as_bytes(),
    )
    .map_err(|error| failure(error.to_string()))?;
    if let Err(error) = pair.check_dates(clock::now()) {
        tracing::warn!(target: "mta", "clients will refuse TLS: {error}");
    }
    tracing::info!(target: "mta", "TLS: {pair}");
    CertificatePresenter::new(pair).map(Arc::new).map_err(|error| failure(error.to_string()))
}

/// Uses a newer pair, and logs that.
pub(super) fn take(
    presenter: &CertificatePresenter,
    keys: &Keys,
    counters: &AcceptCounters,
    status: &StatusWriter,
) {
    match renew(presenter, keys) {
        Ok(true) => {
            counters.certificate_expires(presenter.pair().not_after());
            tracing::info!(target: "mta", "certificate renewed: {}", presenter.pair());
        }
        Ok(false) => {}
        Err(cause) => {
            let text = format!(
                "the renewed TLS key and certificate cannot be used, the former stay in use: \
                {cause}"
            );
            tracing::error!(target: "mta", "{text}");
            status.event(&text);
        }
    }
}

/// Whether the pair differs from the one before; it is in use then.
fn renew(presenter: &CertificatePresenter, keys: &Keys) -> Result<bool, String> {
    let pair = KeyPair::from_pem(
        keys.private_key.as_bytes(),
        keys.certificate_chain.as_bytes(),
        clock::now(),
    );
    let pair = pair.map_err(|error| error.to_string())?;
    if pair == *presenter.pair() {
        return Ok(false);
    }
    presenter.replace(pair).map_err(|error| error.to_string())?;
    Ok(true)
}
