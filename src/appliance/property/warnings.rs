//! Warnings about properties that do not stop the start: they have no effect, open more than
//! intended, or send mail where it cannot go.
//!
//! In: [`Settings`]. Out: sentences. Limits: only the values are checked; checks of the machine or
//! by DNS are in `appliance/terminal/next_hop_check.rs`.

use super::relay_summary;
use super::settings::Settings;
use super::to_text::Written;
use super::upstream::ConfiguredUpstream;
use crate::ground::host::{Host, HostSpec};
use crate::ground::public_address::Public;
use std::net::IpAddr;
use std::time::Duration;

/// The port for mail between servers (RFC 5321 §2.3.4, IANA).
const SMTP: u16 = 25;
/// The port for mail submission with authentication (RFC 6409 §3.1).
const SUBMISSION: u16 = 587;
/// The same with TLS from the start (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

/// Common directories of a machine: a path that begins with one was written for this machine and
/// not for a share.
const PLACES: [&str; 7] = ["/var/", "/mnt/", "/tmp/", "/home/", "/data/", "/terminals/", "/srv/"];

/// The host name where none was set.
const NO_NAME: &str = "localhost.localdomain";

/// The message size that a server must at least accept, in octets (RFC 5321 §4.5.3.1.7).
const LEAST_SIZE: u64 = 64 << 10;

impl Settings {
    /// Warnings that do not stop the start.
    pub fn warnings(&self) -> Vec<String> {
        let hops = self
            .configured_hosts()
            .into_iter()
            .flat_map(|(property, hop)| self.of_hop(&property, &hop));
        let modes = self.staging_modes().into_iter().map(|mode| mode.words);
        modes
            .chain(self.of_mail_log())
            .chain(hops)
            .chain(self.upstreams().iter().flat_map(ConfiguredUpstream::warnings))
            .chain(self.of_mail())
            .chain(self.of_history())
            .chain(self.of_page())
            .chain(self.of_proxies())
            .chain(self.of_events())
            .chain(self.of_open_devices())
            .collect()
    }

    /// The next hops in properties that are in use.
    pub fn configured_hosts(&self) -> Vec<(String, HostSpec)> {
        let upstreams = self.upstreams().into_iter();
        let copies = self.cc_mta.clone().filter(|_| self.goes_by_domain());
        upstreams
            .map(|upstream| (upstream.host_property(), upstream.host))
            .chain(copies.map(|copies| ("cc_mta".to_owned(), copies)))
            .collect()
    }

    /// A warning that a next hop is this relay itself; `own` are the addresses of this machine, and
    /// the loopback is one of them.
    pub fn comes_back(
        &self,
        property: &str,
        hop: &HostSpec,
        addresses: &[IpAddr],
        own: &[IpAddr],
    ) -> Option<String> {
        let port = hop.port.unwrap_or(SMTP);
        let ours = [
            ("smtp_port", self.smtp_port),
            ("ui_port", self.ui_port),
            ("smtps_port", self.smtps_port),
        ];
        let ours = ours.into_iter().filter(|(name, _)| *name != "smtps_port" || !self.ssl_disabled);
        let (name, _) = ours.into_iter().find(|(_, number)| *number == port)?;
        let address = addresses.iter().find(|address| self.listens_at(**address, own))?;
        Some(format!(
            "{property} is {hop}, and {address} port {port} is this relay's own {name}: mail would \
            loop; name another server"
        ))
    }

    fn listens_at(&self, address: IpAddr, own: &[IpAddr]) -> bool {
        let here = address.is_loopback() || address.is_unspecified() || own.contains(&address);
        self.listen.iter().any(|listener| match listener {
            IpAddr::V6(all) if all.is_unspecified() => here,
            IpAddr::V4(all) if all.is_unspecified() => here && address.is_ipv4(),
            one => *one == address,
        })
    }

    fn of_hop(&self, property: &str, hop: &HostSpec) -> Vec<String> {
        let port = match hop.port {
            // An upstream may have a login: `upstream`.
            _ if property != "cc_mta" => None,
            Some(SUBMISSION) => Some(format!(
                "{property} is {hop}: port {SUBMISSION} usually wants a login, and copies are sent \
                without one; it must accept mail without a login, or copies will wait and fail"
            )),
            Some(SUBMISSIONS) => Some(format!(
                "{property} is {hop}: port {SUBMISSIONS} speaks TLS from the first octet and \
                usually wants a login, and copies are sent with neither; use port {SMTP}, where \
                STARTTLS is used when offered"
            )),
            _ => None,
        };
        let back = match hop.host {
            Host::Address(address) => self.comes_back(property, hop, &[address], &[]),
            Host::Name(_) => None,
        };
        port.into_iter().chain(back).collect()
    }

    fn of_mail_log(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match (self.logs_enabled, &self.maillog_filename) {
            (true, None) => warnings.push(
                "logs_enabled=yes writes no mail log while maillog_filename is empty: set \
                MTA_MAILLOG_FILENAME, for example to \
                 srv1/maillog"
                    .to_owned(),
            ),
            (false, Some(_)) => {
                warnings.push(
                    "maillog_filename does nothing while logs_enabled=no: set \
                MTA_LOGS_ENABLED=yes"
                        .to_owned(),
                );
            }
            (true, Some(name)) => {
                let on_share =
                    self.terminal_log.as_deref().is_some_and(|share| is_below(name, share));
                if on_share || PLACES.iter().any(|place| name.starts_with(place)) {
                    warnings.push(format!(
                        "maillog_filename is '{name}' and looks like a path of this machine: it is \
                        a path below the log share, where \
                         the directories of that name are made; write the path on the share, for \
                         example srv1/maillog"
                    ));
                }
            }
            (false, None) if self.terminal_log.is_some() => {
                warnings.push(
                    "terminal_log does nothing while logs_enabled=no: set \
                MTA_LOGS_ENABLED=yes"
                        .to_owned(),
                );
            }
            (false, None) => {}
        }
        warnings
    }

    fn of_mail(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let by_domain = self.goes_by_domain();
        if !by_domain && self.cc_mta.is_some() {
            let property = match self.smart_relay_host() {
                Some(_) => "smart_relay",
                None => "an upstream for all mail",
            };
            warnings.push(format!(
                "cc_mta does nothing while {property} is set: no carbon copies are sent"
            ));
        }
        if !by_domain && !self.destination_rates.is_empty() {
            warnings.push(
                "destination_rates does nothing while all mail goes to an upstream".to_owned(),
            );
        }
        if by_domain && self.hostname == NO_NAME {
            warnings.push(format!(
                "hostname is {NO_NAME}, which receiving servers refuse or distrust: set \
                MTA_HOSTNAME to the name of this relay's outside address, or set MTA_SMART_RELAY"
            ));
        }
        let lifetime = self.queue_lifetime.to_text();
        if self.delay_warning_time != Duration::ZERO
            && self.delay_warning_time >= self.queue_lifetime
        {
            warnings.push(format!(
                "delay_warning_time={} does nothing: after queue_lifetime={lifetime} the mail has \
                already bounced",
                self.delay_warning_time.to_text()
            ));
        }
        if self.message_size_limit < LEAST_SIZE {
            let octets = self.message_size_limit;
            let meant =
                if octets < 1 << 10 { format!(". Did you mean {octets}M?") } else { String::new() };
            warnings.push(format!(
                "message_size_limit={octets} is a number of octets, and a mail with more is \
                refused (552); servers accept at least 64K \
                 (RFC 5321 §4.5.3.1.7){meant}"
            ));
        }
        if self.minimal_backoff_time >= self.queue_lifetime {
            warnings.push(format!(
                "minimal_backoff_time={} is not less than queue_lifetime={lifetime}: mail that \
                cannot be delivered at once bounces without a second attempt",
                self.minimal_backoff_time.to_text()
            ));
        }
        warnings
    }

    fn of_open_devices(&self) -> Vec<String> {
        let open =
            relay_summary::everybody(&self.device_networks).filter(|_| self.device_port != 0);
        let port = self.device_port;
        open.into_iter()
            .map(|open| {
                format!(
                    "{open} in device_networks makes an OPEN RELAY at port {port}: anybody who \
                    reaches it can send mail to any address without a login. Name the networks of \
                    your devices instead"
                )
            })
            .collect()
    }

    fn of_history(&self) -> Vec<String> {
        let (content, time) = (self.history_content, self.history_time);
        if content.is_zero() {
            return Vec::new();
        }
        let content = content.to_text();
        if !self.history_enabled {
            return vec![format!(
                "history_content={content} does nothing while history_enabled=no: no content is \
                kept"
            )];
        }
        if self.history_content > time {
            return vec![format!(
                "history_content={content} is longer than history_time={}: a message is sent again \
                from the history, so not after that time",
                time.to_text()
            )];
        }
        Vec::new()
    }

    fn of_page(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.username.is_some() && self.password.is_none() {
            warnings.push(
                "username is set without a password: the stats UI asks for the name alone; set \
                MTA_PASSWORD_FILE"
                    .to_owned(),
            );
        }
        match (self.ui_public, &self.username) {
            (true, None) => warnings.push(
                "ui_public=yes: everybody who reaches ui_port reads addresses, subjects, history, \
                log and sessions without a \
                 password. Set username and password, or ui_public=no, unless only your own people \
                 can reach it"
                    .to_owned(),
            ),
            (true, Some(_)) => {
                warnings.push(
                    "ui_public=yes does nothing while username is set: the login is \
                asked for"
                        .to_owned(),
                );
            }
            (false, _) => {}
        }
        if self.username.is_none() && self.password.is_some() {
            warnings.push(
                "password is ignored while username is empty: nobody can log in to the stats UI"
                    .to_owned(),
            );
        }
        warnings
    }

    fn of_proxies(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if relay_summary::everybody(&self.http_proxies()).is_some() {
            warnings.push(
                "proxy_networks names everybody: whoever asks at ui_port chooses the address that \
                counts for limits and logs; name \
                 the proxies alone"
                    .to_owned(),
            );
        }
        if relay_summary::everybody(&self.smtp_proxies()).is_some() {
            warnings.push(
                "proxy_networks names everybody: whoever sends a PROXY header at smtp_port chooses \
                the address that says whether it may relay, and so makes an OPEN RELAY; name the \
                proxies alone"
                    .to_owned(),
            );
        }
        if relay_summary::everybody(&self.xclient_networks).is_some() {
            warnings.push(
                "xclient_networks names everybody: whoever says XCLIENT chooses the address that \
                says whether it may relay, and so makes an OPEN RELAY; name the proxies alone"
                    .to_owned(),
            );
        } else if let Some(network) = self.trusted_xclient_proxy() {
            warnings.push(format!(
                "{network} of xclient_networks is in smtpd_trusted_networks, too: clients that the \
                proxy passes on without XCLIENT may relay; take it out of \
                MTA_SMTPD_TRUSTED_NETWORKS unless the proxy sends mail of its own"
            ));
        }
        warnings
    }

    fn of_events(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.webhook_url.is_empty()
            && self.webhook_secret.is_none()
            && self.webhook_url.iter().any(|hook| !hook.slack)
        {
            warnings.push(
                "events of webhook_url are not signed, so anybody could forge them; set \
                MTA_WEBHOOK_SECRET_FILE"
                    .to_owned(),
            );
        }
        let addresses = self
            .webhook_url
            .iter()
            .filter_map(|hook| Some((hook.endpoint.site(), hook.endpoint.host.parse().ok()?)));
        warnings.extend(
            addresses.filter_map(|(site, address)| self.unreachable_receiver(&site, address)),
        );
        if self.webhook_url.is_empty() && self.webhook_secret.is_some() {
            warnings.push(
                "webhook_secret does nothing while webhook_url is empty: no events are sent"
                    .to_owned(),
            );
        }
        warnings
    }

    /// A warning that a webhook receiver gets no events, if its address is not allowed.
    pub fn unreachable_receiver(&self, site: &str, address: IpAddr) -> Option<String> {
        let may = Public::and(self.webhook_allow.clone()).permits(address);
        (!may).then(|| {
            format!(
                "{site} of webhook_url gets no events: {address} is not on the public internet, \
                and webhook_allow does not name it; \
                 set MTA_WEBHOOK_ALLOW to its network if events may go there"
            )
        })
    }
}

/// Whether a path is a directory, or something in it.
fn is_below(path: &str, directory: &str) -> bool {
    directory.starts_with('/')
        && path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::super::environment::read;
    use super::super::machine::Machine;
    use super::*;
    use std::ffi::OsString;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine =
            Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
        read(vars, &machine).unwrap().settings
    }

    #[track_caller]
    fn told(vars: &[(&str, &str)], words: &str) {
        let warnings = settings(vars).warnings();
        let hits = warnings.iter().filter(|warning| warning.contains(words)).count();
        assert_eq!(hits, 1, "{vars:?}: {warnings:?}");
    }

    #[track_caller]
    fn silent(vars: &[(&str, &str)], words: &str) {
        let warnings = settings(vars).warnings();
        assert!(!warnings.iter().any(|warning| warning.contains(words)), "{vars:?}: {warnings:?}");
    }

    #[test]
    fn sound_settings_are_not_talked_about() {
        let named = [("MTA_HOSTNAME", "relay.example")];
        let relayed = [("MTA_SMART_RELAY", "relay.example")];
        let logs = [
            ("MTA_SMART_RELAY", "192.0.2.1:2525"),
            ("MTA_LOGS_ENABLED", "yes"),
            ("MTA_TERMINAL_LOG", "//nas/share"),
            ("MTA_MAILLOG_FILENAME", "/srv1_logs/maillog"),
        ];
        for vars in [&named[..], &relayed[..], &logs[..]] {
            assert_eq!(settings(vars).warnings(), [""; 0], "{vars:?}");
        }
    }

    #[test]
    fn what_does_nothing_is_told() {
        told(
            &[("MTA_SMART_RELAY", "a.example"), ("MTA_CC_MTA", "b.example")],
            "cc_mta does nothing",
        );
        told(&[("MTA_UI_PUBLIC", "yes")], "ui_public=yes: everybody");
        let both = [("MTA_UI_PUBLIC", "yes"), ("MTA_USERNAME", "anna"), ("MTA_PASSWORD", "x")];
        told(&both, "ui_public=yes does nothing");
        told(&[("MTA_DELAY_WARNING_TIME", "5d")], "delay_warning_time=5d does nothing");
        let content = ("MTA_HISTORY_CONTENT", "2d");
        told(&[content, ("MTA_HISTORY_ENABLED", "no")], "history_content=2d does nothing");
        told(&[content, ("MTA_HISTORY_TIME", "1d")], "longer than history_time=1d");
        silent(&[content], "history_content");
        silent(&[("MTA_DELAY_WARNING_TIME", "4h")], "delay_warning_time");
        told(&[("MTA_QUEUE_LIFETIME", "5m")], "without a second attempt");
        told(&[("MTA_MESSAGE_SIZE_LIMIT", "25")], "Did you mean 25M?");
        silent(&[("MTA_MESSAGE_SIZE_LIMIT", "64K")], "message_size_limit");
        told(
            &[("MTA_WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")],
            "webhook_secret does nothing",
        );
    }

    #[test]
    fn half_a_mail_log_is_told() {
        let share = ("MTA_TERMINAL_LOG", "/mnt/nas");
        told(&[("MTA_LOGS_ENABLED", "yes"), share], "logs_enabled=yes writes no mail log");
        told(
            &[("MTA_MAILLOG_FILENAME", "srv1/maillog")],
            "maillog_filename does nothing while logs_enabled=no",
        );
        told(&[share], "terminal_log does nothing while logs_enabled=no");
        for name in ["/var/log/mail.log", "/mnt/nas/maillog"] {
            told(
                &[("MTA_LOGS_ENABLED", "yes"), share, ("MTA_MAILLOG_FILENAME", name)],
                "looks like a path of this machine",
            );
        }
    }

    #[test]
    fn ports_of_people_who_log_in_are_told() {
        told(
            &[("MTA_SMART_RELAY", "smtp.example.com:587")],
            "usually wants a login, and there is none",
        );
        told(&[("MTA_CC_MTA", "smtp.example.com:465")], "TLS from the first octet");
        silent(&[("MTA_SMART_RELAY", "smtp.example.com:2525")], "login");
    }

    #[test]
    fn a_next_hop_that_is_this_relay_is_told() {
        let own = "this relay's own";
        told(&[("MTA_SMART_RELAY", "127.0.0.1")], "is this relay's own smtp_port");
        told(&[("MTA_SMART_RELAY", "[::1]:80")], "is this relay's own ui_port");
        told(&[("MTA_LISTEN", "192.0.2.7"), ("MTA_SMART_RELAY", "192.0.2.7:25")], own);
        silent(&[("MTA_LISTEN", "192.0.2.7"), ("MTA_SMART_RELAY", "127.0.0.1")], own);
        silent(&[("MTA_SMART_RELAY", "127.0.0.1:2526")], own);
        silent(&[("MTA_SMART_RELAY", "127.0.0.1:465")], own);
        silent(&[("MTA_LISTEN", "0.0.0.0"), ("MTA_SMART_RELAY", "[::1]")], own);
        let settings = settings(&[("MTA_SMART_RELAY", "mta.example")]);
        let (hop, address) = (settings.smart_relay.as_ref().unwrap(), "192.0.2.9".parse().unwrap());
        assert!(settings.comes_back("smart_relay", hop, &[address], &[address]).is_some());
        assert_eq!(settings.comes_back("smart_relay", hop, &[address], &[]), None);
    }

    #[test]
    fn mail_by_mx_wants_a_name() {
        told(&[], "hostname is localhost.localdomain");
        silent(&[("MTA_SMART_RELAY", "192.0.2.1")], "hostname");
    }

    #[test]
    fn receivers_that_events_may_not_go_to_are_told() {
        let url = (
            "MTA_WEBHOOK_URL",
            "slack+http://127.0.0.1:8080/x slack+http://[fd00::1]/y slack+https://192.0.9.1/",
        );
        let warnings = settings(&[("MTA_HOSTNAME", "a.example"), url]).warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("http://127.0.0.1:8080 of webhook_url gets no events"),
            "{warnings:?}"
        );
        silent(&[url, ("MTA_WEBHOOK_ALLOW", "127.0.0.0/8 fd00::/8")], "webhook_url");
    }
}
