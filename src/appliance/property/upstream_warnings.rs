//! Warnings about upstreams: what their providers will not accept, and what does nothing.
//!
//! In: a [`ConfiguredUpstream`]. Out: sentences, which do not stop the start. Limits: only the
//! values are checked; nobody is asked.

use super::name_lookup::variable;
use super::upstream::ConfiguredUpstream;
use crate::ground::host::Host;
use crate::ground::tls::TlsLevel;

/// The port for mail between servers (RFC 5321 §2.3.4, IANA).
const SMTP: u16 = 25;
/// The port for mail submission with authentication (RFC 6409 §3.1).
const SUBMISSION: u16 = 587;
/// Providers whose user names are mail addresses.
const ADDRESSES: [&str; 3] = ["gmail", "gmail-relay", "office365"];
/// The same with TLS from the start (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

impl ConfiguredUpstream {
    /// Warnings that do not stop the start: what its provider will not accept.
    pub(super) fn warnings(&self) -> Vec<String> {
        let port = self.host.port.unwrap_or(SMTP);
        let tls = self.tls_warnings(port).into_iter().flatten();
        self.login_warning(port).into_iter().chain(tls).collect()
    }

    /// The property that has the host, and the host.
    fn place(&self) -> String {
        format!("{} is {}", self.host_property(), self.host)
    }

    fn login_warning(&self, port: u16) -> Option<String> {
        let (place, prefix) = (self.place(), &self.prefix);
        let set_login = format!(
            "set {} and {}_FILE",
            variable(&format!("{prefix}_username")),
            variable(&format!("{prefix}_password"))
        );
        let mailbox = self.oauth.as_ref().map(|oauth| &oauth.mailbox);
        let name = self.login.as_ref().map(|(name, _)| name).or(mailbox);
        let Some(name) = name else {
            return match self.provider {
                Some(provider) if !provider.login_optional => Some(format!(
                    "{place}: {} takes no mail without a login; {set_login} ({})",
                    provider.title, provider.login
                )),
                None if [SUBMISSION, SUBMISSIONS].contains(&port) => Some(format!(
                    "{place}: port {port} usually wants a login, and there is none; {set_login}, \
                    or make sure that it accepts mail without a login"
                )),
                _ => None,
            };
        };
        let provider = self.provider?;
        match provider.username {
            _ if self.login.is_some() && provider.word == "office365" => Some(format!(
                "{prefix}_password at {}: logins with a password are off by default from the end \
                of December 2026 (550 5.7.30), and only an administrator of the tenant can switch \
                them on again; use OAuth2 ({prefix}_oauth_…, docs/upstreams.md)",
                provider.title
            )),
            Some(word) if name != word => Some(format!(
                "{prefix}_username is '{name}': the user name of {} is the word {word}, whoever \
                you are",
                provider.title
            )),
            None if ADDRESSES.contains(&provider.word) && !name.contains('@') => Some(format!(
                "{prefix}_username is '{name}': the user name of {} is a whole address",
                provider.title
            )),
            _ => None,
        }
    }

    fn tls_warnings(&self, port: u16) -> [Option<String>; 3] {
        let (place, host) = (self.place(), &self.host);
        let provider = self.provider.filter(|provider| {
            self.tls == TlsLevel::Implicit && !provider.implicit_ports.contains(&port)
        });
        let wrong_port = provider.map(|provider| match provider.implicit_ports {
            [] => format!(
                "{place}: {} has no port with TLS from the first octet, and a connection to this \
                one hangs; use port {SUBMISSION}",
                provider.title
            ),
            [first, ..] => format!(
                "{place}: {} speaks TLS from the first octet at port {first}, and not at port \
                {port}",
                provider.title
            ),
        });
        let idle_ca = (self.ca.is_some() && !self.tls.verifies()).then(|| {
            format!(
                "{0}_ca does nothing while no certificate is checked; set {1}=required",
                self.prefix,
                variable(&format!("{}_tls", self.prefix))
            )
        });
        let is_local = matches!(&host.host, Host::Name(name) if !name.contains('.'));
        let local = (self.tls.verifies() && self.ca.is_none() && is_local).then(|| {
            format!(
                "{place}: the public authorities issue no certificate for a name without a dot; \
                set {} to the file of your own",
                variable(&format!("{}_ca", self.prefix))
            )
        });
        [wrong_port, idle_ca, local]
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::read;
    use super::super::machine::Machine;
    use super::super::settings::Settings;
    use super::*;
    use crate::appliance::failure::Failure;
    use std::ffi::OsString;

    const LOGIN: [(&str, &str); 2] =
        [("MTA_SMART_RELAY_USERNAME", "anna"), ("MTA_SMART_RELAY_PASSWORD", "hunter2")];

    fn settings(vars: &[&[(&str, &str)]]) -> Result<Settings, Vec<String>> {
        let vars = vars.concat();
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine =
            Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
        let words = |failures: Vec<Failure>| failures.iter().map(ToString::to_string).collect();
        read(vars, &machine).map(|loaded| loaded.settings).map_err(|bad| words(bad.problems))
    }

    fn upstream(vars: &[&[(&str, &str)]]) -> ConfiguredUpstream {
        settings(vars).unwrap().upstreams().remove(0)
    }

    #[test]
    fn providers_are_known_by_their_hosts() {
        let relay = |host| [("MTA_SMART_RELAY", host)];
        for (vars, words) in [
            (&[&relay("smtp.gmail.com:587")[..]][..], "Gmail takes no mail without a login"),
            (&[&relay("relay.example:587")], "port 587 usually wants a login"),
            (
                &[&relay("smtp.sendgrid.net:587"), &LOGIN],
                "the user name of SendGrid is the word apikey",
            ),
            (&[&relay("smtp.gmail.com:587"), &LOGIN], "the user name of Gmail is a whole address"),
            (&[&relay("smtp.postmarkapp.com:465"), &LOGIN], "Postmark has no port with TLS from"),
            (&[&relay("smtp.gmail.com:2465"), &LOGIN], "Gmail speaks TLS from the first octet at"),
            (&[&relay("relay:587"), &LOGIN], "no certificate for a name without a dot"),
            (
                &[&[("MTA_SMART_RELAY_PRESET", "office365")], &LOGIN],
                "logins with a password are off by default from the end of December 2026",
            ),
            (
                &[&relay("relay.example"), &[("MTA_SMART_RELAY_CA", "/ca.pem")]],
                "smart_relay_ca does nothing",
            ),
        ] {
            let told = upstream(vars).warnings();
            assert!(told.iter().any(|told| told.contains(words)), "{told:?}");
            assert!(!told.iter().any(|told| told.contains("hunter2")), "{told:?}");
        }
        for fine in [
            &[&relay("smtp-relay.gmail.com:587")[..]][..],
            &[&relay("relay.example:587"), &LOGIN],
            &[&relay("relay.example")],
            &[&[("MTA_SMART_RELAY_PRESET", "sendgrid")], &LOGIN[1..]],
        ] {
            assert_eq!(upstream(fine).warnings(), [""; 0]);
        }
    }
}
