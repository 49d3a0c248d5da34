//! The rules between several values.

use super::settings::Settings;
use super::to_text::Written;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::start_errors;

impl Settings {
    /// Every rule that these values violate.
    pub(super) fn broken_rules(&self) -> Vec<Failure> {
        let keys = [self.of_log(), self.of_key_place(), self.of_keys(), self.of_log_file()];
        let devices = [self.of_devices(), self.of_device_port()];
        let limits = [self.of_backoff(), self.of_reserve(), self.of_run_dir(), self.of_ports()];
        let page = [self.of_tokens(), self.of_page_tls(), self.of_tls_port(), self.of_dkim()];
        let users = [self.of_submission_port(), self.of_logins()];
        let all = keys.into_iter().chain(limits).chain(page).chain(devices).chain(users);
        let rules = all.flatten();
        rules.chain(self.upstream_problems()).collect()
    }

    fn of_log(&self) -> Option<Failure> {
        (self.logs_enabled && self.terminal_log.is_none()).then(|| {
            broken(
                start_errors::LOG_UNCONNECTED,
                "MTA_LOGS_ENABLED=yes needs MTA_TERMINAL_LOG; set it, or set MTA_LOGS_ENABLED=no",
            )
        })
    }

    fn of_key_place(&self) -> Option<Failure> {
        (self.volume_key.is_some() && self.terminal_fs.is_some()).then(|| {
            broken(
                start_errors::TWO_PLACES,
                "keys come from one place: unset MTA_TERMINAL_FS, or unset MTA_VOLUME_KEY and \
                unmount /key",
            )
        })
    }

    fn of_keys(&self) -> Option<Failure> {
        let nowhere = self.volume_key.is_none() && self.terminal_fs.is_none();
        (!self.ssl_disabled && nowhere).then(|| {
            broken(
                start_errors::KEYS_UNDEFINED,
                "there is no key volume and no terminal fs: mount one at /key (or name it in \
                MTA_VOLUME_KEY), or set MTA_SSL_DISABLED=yes",
            )
        })
    }

    fn of_log_file(&self) -> Option<Failure> {
        let name = self.maillog_filename.as_deref()?;
        let cause = if name.split('/').any(|part| part == "..") {
            "must not contain '..': write a name such as srv1/maillog"
        } else if name.split('/').all(|part| matches!(part, "" | ".")) {
            "names no file below the share: write a name such as srv1/maillog"
        } else {
            return None;
        };
        Some(broken(start_errors::OUTSIDE_SHARE, format!("MTA_MAILLOG_FILENAME {cause}")))
    }

    fn of_backoff(&self) -> Option<Failure> {
        let (first, longest) = (self.minimal_backoff_time, self.maximal_backoff_time);
        (first > longest).then(|| {
            broken(
                "Error: minimal_backoff_time must not be longer than maximal_backoff_time",
                format!("they are {} and {}", first.to_text(), longest.to_text()),
            )
        })
    }

    fn of_reserve(&self) -> Option<Failure> {
        self.session_reserve.is_some_and(|reserve| reserve > self.session_limit).then(|| {
            broken(
                "Error: session_reserve must not be more than session_limit",
                format!(
                    "session_limit is {}; set MTA_SESSION_RESERVE to less, or leave it empty \
                    for a fifth",
                    self.session_limit
                ),
            )
        })
    }

    fn of_run_dir(&self) -> Option<Failure> {
        (self.run_dir == self.volume_data).then(|| {
            broken(
                "Error: run_dir and volume_data must differ",
                format!(
                    "both are {}; leave MTA_RUN_DIR to its default, or name another directory",
                    self.run_dir.display()
                ),
            )
        })
    }

    fn of_ports(&self) -> Option<Failure> {
        (self.ui_port == self.smtp_port).then(|| {
            broken(
                "Error: ui_port and smtp_port must differ",
                format!(
                    "both are {}; set MTA_UI_PORT or MTA_SMTP_PORT to another port",
                    self.ui_port
                ),
            )
        })
    }

    fn of_tokens(&self) -> Option<Failure> {
        let login = self.username.as_ref()?;
        self.api_tokens.iter().any(|token| token.name == *login).then(|| {
            broken(
                "Error: api_tokens must not have the name of username",
                "a token may only send, the login may do everything: give the token another name \
                in MTA_API_TOKENS",
            )
        })
    }

    fn of_page_tls(&self) -> Option<Failure> {
        (self.ui_tls && self.ssl_disabled).then(|| {
            broken(
                "Error: ui_tls=yes needs key and certificate",
                "they are those of terminal in: set MTA_SSL_DISABLED=no, MTA_SSL_KEY_FILE and \
                MTA_SSL_CERT_FILE",
            )
        })
    }

    fn of_dkim(&self) -> Option<Failure> {
        (self.dkim_generate && self.dkim_domains.is_empty()).then(|| {
            broken(
                "Error: dkim_generate=yes needs dkim_domains",
                "name the domains whose mail is to be signed in MTA_DKIM_DOMAINS, or set \
                MTA_DKIM_GENERATE=no",
            )
        })
    }

    fn of_devices(&self) -> Option<Failure> {
        (self.device_port != 0 && self.device_networks.is_empty()).then(|| {
            broken(
                "Error: device_port needs device_networks",
                "without them nobody could send there: set MTA_DEVICE_NETWORKS to the networks of \
                your printers and scanners, or MTA_DEVICE_PORT=0",
            )
        })
    }

    fn of_device_port(&self) -> Option<Failure> {
        let secure = (!self.ssl_disabled).then_some(self.smtps_port);
        let others = [self.smtp_port, self.ui_port].into_iter().chain(secure);
        let taken = self.device_port != 0 && others.into_iter().any(|it| it == self.device_port);
        taken.then(|| {
            broken(
                "Error: device_port must differ from the other ports",
                format!("{} is taken; set MTA_DEVICE_PORT to another port", self.device_port),
            )
        })
    }

    fn of_tls_port(&self) -> Option<Failure> {
        let taken = [self.smtp_port, self.ui_port].contains(&self.smtps_port);
        (!self.ssl_disabled && taken).then(|| {
            broken(
                "Error: smtps_port must differ from smtp_port and ui_port",
                format!("two of them are {}; set MTA_SMTPS_PORT to another port", self.smtps_port),
            )
        })
    }

    fn of_submission_port(&self) -> Option<Failure> {
        let tls = (!self.ssl_disabled).then_some(self.smtps_port);
        let mut taken = [self.smtp_port, self.ui_port].into_iter().chain(tls);
        let is_taken = taken.any(|port| port == self.submission_port);
        (!self.smtp_users.is_empty() && is_taken).then(|| {
            broken(
                "Error: submission_port must differ from the other ports",
                format!("it is {}; set MTA_SUBMISSION_PORT to another port", self.submission_port),
            )
        })
    }

    fn of_logins(&self) -> Option<Failure> {
        let is_closed = self.ssl_disabled && self.plaintext_auth_networks.is_empty();
        (!self.smtp_users.is_empty() && is_closed).then(|| {
            broken(
                "Error: smtp_users needs TLS",
                "passwords are not taken in plain text: set MTA_SSL_DISABLED=no, MTA_SSL_KEY_FILE \
                and MTA_SSL_CERT_FILE; for devices that cannot do TLS name their addresses in \
                MTA_PLAINTEXT_AUTH_NETWORKS",
            )
        })
    }
}

fn broken(line: &str, cause: impl Into<String>) -> Failure {
    Failure::new(Exit::Property, line, cause)
}
