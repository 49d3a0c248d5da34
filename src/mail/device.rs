//! The rules of the listener for printers, scanners and other devices that cannot log in.
//!
//! Purpose: `device_port`: plain SMTP from `device_networks`, at a rate. In: the time of a MAIL
//! command. Out: whether it is accepted. Who may connect at all is the policy of the listener's
//! own [`Intake`](super::intake::Intake): `device_networks` are its trusted networks, so devices
//! get the lenient grammar, and their mail the changes that submitted mail gets. Limits:
//! [`SESSIONS_MAX`] sessions; the rate counts all devices together. Security: everybody else is
//! turned away before the greeting; no login is offered, none is needed. Source: RFC 5321 §3.1
//! (554 as greeting), RFC 3463 §3.8 (X.7.1).

use super::model::{Refusal, Reply, Verdict};
use crate::ground::token_bucket::{Bucket, Rate};
use std::net::IpAddr;
use std::time::Instant;

/// Sessions of devices at the same time.
pub const SESSIONS_MAX: usize = 50;

/// The rules of the listener.
#[derive(Debug)]
pub struct DeviceRules {
    /// The name under which devices are logged.
    user: String,
    rate: Option<(Rate, Bucket)>,
}

impl DeviceRules {
    /// Devices are logged as `user`; all together may send at this rate.
    pub fn new(user: impl Into<String>, rate: Option<Rate>) -> Self {
        Self { user: user.into(), rate: rate.map(|rate| (rate, Bucket::new(rate))) }
    }

    /// The name under which devices are logged.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether a device may send a mail now.
    pub(super) fn mail(&self, now: Instant) -> Verdict {
        let Some((rate, bucket)) = &self.rate else { return Verdict::Accept };
        let Err(wait) = bucket.take(now) else { return Verdict::Accept };
        let text = format!(
            "The devices of this relay may send {rate} (device_rate); try again in {} s",
            wait.as_secs() + 1
        );
        Verdict::Refuse(Reply::new(450, (4, 7, 1), text), Refusal::Limit)
    }

    /// The greeting of a client outside `device_networks`.
    pub(super) fn turned_away(client: IpAddr) -> Reply {
        let text = format!(
            "This port is for devices only, and [{client}] is not in device_networks of this relay"
        );
        Reply::new(554, (5, 7, 1), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn devices_hear_when_they_may_send_again() {
        let rules = DeviceRules::new("printers", "2/m".parse().ok());
        let start = Instant::now();
        for _ in 0..2 {
            assert_eq!(rules.mail(start), Verdict::Accept);
        }
        let Verdict::Refuse(reply, Refusal::Limit) = rules.mail(start) else { panic!() };
        let told = "450 4.7.1 The devices of this relay may send 2/1m (device_rate); try again in ";
        assert!(reply.to_string().starts_with(told), "{reply}");
        assert_eq!(rules.mail(start + Duration::from_secs(31)), Verdict::Accept);
        assert_eq!(DeviceRules::new("x", None).mail(start), Verdict::Accept);
    }
}
