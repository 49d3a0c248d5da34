//! The table compared with the manifest, and the whole path from an environment to the core.

use super::environment::read;
use super::machine::Machine;
use super::secret::{MASK, Secret};
use super::settings::Settings;
use super::value_source::ValueOrigin;
use crate::appliance::class::class;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

fn settings(vars: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let machine = Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
    match read(vars, &machine) {
        Ok(loaded) => Ok(loaded.settings),
        Err(refused) => Err(refused.problems.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn the_table_and_the_class_have_the_same_properties_and_secrets() {
    let class: BTreeSet<_> =
        class().property.iter().map(|property| (property.name.clone(), property.secret)).collect();
    let table = Settings::fields();
    assert_eq!(table.len(), class.len());
    assert_eq!(table.into_iter().collect::<BTreeSet<_>>(), class);
    // A group has values as soon as it has a member.
    let of_member = |name: String| name.replace("upstream_a_", "upstream_<name>_");
    let written = settings(&[("MTA_UPSTREAM_A_HOST", "a.example")]).unwrap().write().into_keys();
    let class: BTreeSet<_> = class.into_iter().map(|(name, _)| name).collect();
    assert_eq!(written.map(of_member).collect::<BTreeSet<_>>(), class);
}

#[test]
fn defaults_are_those_of_the_class() {
    let values = settings(&[("MTA_UPSTREAM_A_PRESET", "gmail")]).unwrap().write();
    for property in class().property.iter().filter(|property| property.default_note.is_none()) {
        let name = property.name.replace("<name>", "a");
        let value = &values[&name].value;
        assert!(*value == property.default || name == "upstream_a_preset", "{name}={value}");
    }
}

#[test]
fn a_user_name_that_is_the_password_is_masked_like_it() {
    let settings = settings(&[
        ("MTA_UPSTREAM_A_PRESET", "postmark"),
        ("MTA_UPSTREAM_A_USERNAME", "hunter2"),
        ("MTA_UPSTREAM_A_PASSWORD", "hunter2"),
        ("MTA_UPSTREAM_B_PRESET", "gmail"),
        ("MTA_UPSTREAM_B_USERNAME", "anna@here.example"),
        ("MTA_UPSTREAM_B_PASSWORD", "hunter3"),
    ]);
    let shown = settings.unwrap().shown();
    assert!(!format!("{shown:?}").contains("hunter"), "{shown:?}");
    assert!(shown.iter().any(|one| one.value == "anna@here.example"));
}

#[test]
fn values_are_shown_masked_with_their_origin() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2").unwrap();
    let path = file.path().to_str().unwrap();
    let vars = [
        ("MTA_PASSWORD_FILE", path),
        ("MTA_UI_PORT", "8080"),
        ("MTA_API_TOKENS", "shop:{PLAIN}hunter2"),
        ("MTA_WEBHOOK_URL", "https://hooks.example/hunter2"),
    ];
    // The origin is kept on the way to the core.
    let settings = Settings::from_json(&settings(&vars).unwrap().to_json()).unwrap();
    let shown = settings.shown();
    let all = class().property.iter().filter(|one| !one.name.contains("<name>"));
    assert!(shown.iter().map(|one| &one.name).eq(all.map(|one| &one.name)));
    assert!(!format!("{shown:?}").contains("hunter2"));
    let told = |name: &str| {
        let one = shown.iter().find(|one| one.name == name).unwrap();
        (one.value.as_str(), one.origin())
    };
    assert_eq!(told("password"), (MASK, format!("{path} (MTA_PASSWORD_FILE)")));
    assert_eq!(told("ui_port"), ("8080", "MTA_UI_PORT".to_owned()));
    assert_eq!(told("api_tokens"), (MASK, "MTA_API_TOKENS".to_owned()));
    assert_eq!(told("smtp_port"), ("25", "default".to_owned()));
    assert_eq!(told("webhook_secret"), ("", "default".to_owned()));
    let watchdog = shown.iter().find(|one| one.name == "watchdog_time").unwrap();
    assert!(watchdog.summary.ends_with("0 = never"), "{watchdog:?}");
}

#[test]
fn what_differs_from_its_default_is_told() {
    let vars = [
        // The default, written differently.
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1/32"),
        ("MTA_QUEUE_LIFETIME", "120h"),
        ("MTA_SMTP_PORT", "25"),
        ("MTA_HOSTNAME", "relay.example"),
        ("MTA_PASSWORD", "hunter2"),
        ("MTA_WEBHOOK_SECRET", ""),
        ("MTA_RUN_DIR", "/run/elsewhere"),
    ];
    let shown = settings(&vars).unwrap().shown();
    let changed: Vec<_> =
        shown.iter().filter(|one| one.changed).map(|one| one.name.as_str()).collect();
    assert_eq!(changed, ["hostname", "password", "run_dir"]);
    assert!(settings(&[]).unwrap().shown().iter().all(|one| !one.changed && !one.masked));
    let masked: Vec<_> = shown.iter().filter(|one| one.masked).map(|one| &one.name).collect();
    assert_eq!(masked, ["password"], "an empty secret is no secret");
}

/// A value that is shown unmasked must have no part that can hold a password.
#[test]
fn no_address_has_a_password_in_it() {
    for (variable, before) in [
        ("MTA_TERMINAL_MON", "http://"),
        ("MTA_TERMINAL_LOG", "//"),
        ("MTA_TERMINAL_FS", ""),
        ("MTA_UI_URL", "https://"),
        ("MTA_SMART_RELAY", ""),
        ("MTA_CC_MTA", ""),
        ("MTA_WEBHOOK_URL", "https://"),
    ] {
        for user in ["anna:hunter2@", "hunter2@"] {
            let value = format!("{before}{user}host.example/share:/export");
            let shown = settings(&[(variable, &value)]).map(|settings| settings.shown());
            assert!(!format!("{:?}", shown.ok()).contains("hunter2"), "{variable}={value}");
        }
    }
}

#[test]
fn no_sender_gets_a_delay_notice_that_nobody_asked_for() {
    assert_eq!(settings(&[]).unwrap().delay_warning_time, Duration::ZERO);
    assert_eq!(
        settings(&[("MTA_DELAY_WARNING_TIME", "4h")]).unwrap().delay_warning_time,
        Duration::from_secs(14_400)
    );
}

#[test]
fn all_values_survive_the_way_to_the_core() {
    let settings = settings(&[
        ("MTA_HOSTNAME", "Relay.Example"),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1,10.0.0.0/8 2001:db8::/32"),
        ("MTA_SMART_RELAY", "[smart.example]:2525"),
        ("MTA_CC_MTA", "cc.example"),
        ("MTA_USERNAME", "anna"),
        ("MTA_PASSWORD", " s\"ecret\\ "),
        ("MTA_LISTEN", "0.0.0.0, [::1]"),
        ("MTA_TERMINAL_MON", "http://mon:9091"),
        ("MTA_MESSAGE_SIZE_LIMIT", "1000000"),
        ("MTA_QUEUE_LIFETIME", "2d 1h 30m 1s"),
        ("MTA_MON_INTERVAL", "1500ms"),
        ("MTA_DELAY_WARNING_TIME", "4h"),
        ("MTA_ORIGIN_DOMAIN", "Example.com"),
        ("MTA_MESSAGE_DROP_HEADERS", "no"),
        ("MTA_ALWAYS_ADD_MISSING_HEADERS", "off"),
        ("MTA_DNS_SERVERS", "192.0.2.1 [2001:db8::1]:5353"),
        ("MTA_LOG_FORMAT", "JSON"),
        ("MTA_VOLUME_KEY", "/keys"),
        ("MTA_TIMEZONE", "UTC"),
        ("MTA_SYSLOG_NAME", "mail.relay-1"),
        ("MTA_MAILLOG_BUFFER_LIMIT", "100K"),
        ("MTA_WEBHOOK_URL", "https://hooks.example/x, slack+https://hooks.slack.com/y"),
        ("MTA_WEBHOOK_EVENTS", "Bounced deferred"),
        ("MTA_WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("MTA_WEBHOOK_ALLOW", "10.0.0.0/8"),
        ("MTA_UI_PUBLIC", "yes"),
        ("MTA_UI_URL", "https://Mail.Example:8443/mta/"),
        ("MTA_UI_HOSTS", "relay.example, mta.internal.example"),
        ("MTA_API_TOKENS", "shop:{PLAIN}s3cret;senders=a@b.example,b.example;networks=10.0.0.0/8;rate=10/m app:{PLAIN}x"),
        ("MTA_PROXY_NETWORKS", "10.0.0.0/8 ::1"),
    ])
    .unwrap();
    assert_eq!(settings.password.as_ref().map(Secret::expose), Some(" s\"ecret\\ "));
    assert_eq!(settings.sources["password"], ValueOrigin::Environment);
    assert_eq!(Settings::from_json(&settings.to_json()), Ok(settings));
}

#[test]
fn blanks_alone_are_no_value() {
    let settings = settings(&[
        ("MTA_USERNAME", "  "),
        ("MTA_PASSWORD", "  "),
        ("MTA_SMART_RELAY", " a.example "),
    ])
    .unwrap();
    assert_eq!(settings.username, None);
    assert_eq!(settings.password.unwrap().expose(), "  ");
    assert_eq!(settings.smart_relay.unwrap().to_string(), "a.example");
}

#[test]
fn secrets_are_masked() {
    let settings = settings(&[("MTA_PASSWORD", "hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.password.unwrap().to_string(), MASK);
}

#[test]
fn the_core_refuses_a_hand_over_that_is_none() {
    assert!(Settings::from_json("").is_err());
    assert!(Settings::from_json("{\"hostnam\":\"a\"}").is_err());
    let unknown = settings(&[]).unwrap().to_json().replace("\"hostname\"", "\"hostnam\"");
    let problems = Settings::from_json(&unknown).unwrap_err();
    assert!(problems[0].cause.contains("there is no property hostnam"), "{problems:?}");
    let problems = Settings::from_json("{}").unwrap_err();
    assert!(problems.iter().any(|problem| problem.line == "Error: hostname has no value"));
}

#[test]
fn each_rule_has_its_line() {
    let far = format!("/{}", "x".repeat(96));
    for (vars, line) in [
        (&[("MTA_UI_PORT", "0")][..], "Error: ui_port value must be between 1 and 65535"),
        (&[("MTA_UI_PORT", "http")], "Error: ui_port value must be between 1 and 65535"),
        (&[("MTA_LOGS_ENABLED", "perhaps")], "Error: logs_enabled value must be yes or no"),
        (
            &[("MTA_LOGS_ENABLED", "yes")],
            "Error: logs are enabled but the 'log' terminal is not connected.",
        ),
        (
            &[("MTA_SSL_DISABLED", "no")],
            "Error: ssl_disabled=no, but ssl key files are not defined!",
        ),
        (
            &[("MTA_MAILLOG_FILENAME", "../x")],
            "Error: maillog_filename must stay inside the log share",
        ),
        (
            &[("MTA_MAILLOG_FILENAME", "./")],
            "Error: maillog_filename must stay inside the log share",
        ),
        (
            &[("MTA_QUEUE_LIFETIME", "1M")],
            "Error: queue_lifetime value must have m for minutes or d for days",
        ),
        (
            &[("MTA_VOLUME_KEY", "/k"), ("MTA_TERMINAL_FS", "nas:/keys")],
            "Error: both the key volume and the 'fs' terminal are connected; use one of them.",
        ),
        (
            &[("MTA_MINIMAL_BACKOFF_TIME", "2h")],
            "Error: minimal_backoff_time must not be longer than maximal_backoff_time\n  they \
            are 2h and 1h",
        ),
        (&[("MTA_ORIGIN_DOMAIN", "a@b")], "Error: origin_domain must be a host name"),
        (
            &[("MTA_MESSAGE_DROP_HEADERS", "yes")],
            "Error: message_drop_headers must be names of header fields",
        ),
        (
            &[("MTA_MESSAGE_DROP_HEADERS", "Bcc:")],
            "Error: message_drop_headers must be names of header fields",
        ),
        (
            &[("MTA_MESSAGE_DROP_HEADERS", "bcc received")],
            "Error: message_drop_headers must not contain Received",
        ),
        (&[("MTA_RUN_DIR", "/data")], "Error: run_dir and volume_data must differ"),
        (
            &[("MTA_RUN_DIR", &far)],
            "Error: run_dir is too long for the path of a socket: make it 3 octets shorter",
        ),
        (&[("MTA_WATCHDOG_TIME", "14s")], "Error: watchdog_time value must be 0 or at least 15s"),
        (&[("MTA_SYSLOG_NAME", "post fix")], "Error: syslog_name must be"),
        (
            &[("MTA_SESSION_RESERVE", "11"), ("MTA_SESSION_LIMIT", "10")],
            "Error: session_reserve must not be more than session_limit",
        ),
        (
            &[("MTA_SESSION_RESERVE", "-1")],
            "Error: session_reserve value must be between 0 and 1000000",
        ),
        (
            &[("MTA_MAILLOG_BUFFER_LIMIT", "1K")],
            "Error: maillog_buffer_limit value must be at least 64K",
        ),
        (
            &[("MTA_WORKER_THREADS", "257")],
            "Error: worker_threads value must be between 1 and 256, or 0 for half of the \
            processors\n  MTA_WORKER_THREADS is '257'",
        ),
        (&[("MTA_WORKER_THREADS", "-1")], "Error: worker_threads value must be"),
        (&[("MTA_WORKER_THREADS", "all")], "Error: worker_threads value must be"),
        (&[("MTA_SMTP_PORT", "80")], "Error: ui_port and smtp_port must differ"),
        (
            &[("MTA_WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXG")],
            "Error: webhook_secret must be whsec_ and 24 to 64 octets in base 64",
        ),
        (&[("MTA_UI_URL", "mail.example")], "Error: ui_url must be the page's address"),
        (&[("MTA_UI_HOSTS", "a.example:80")], "Error: ui_hosts contains 'a.example:80'"),
        (&[("MTA_API_TOKENS", "shop:s3cret")], "Error: api_tokens has a wrong entry"),
        (
            &[("MTA_USERNAME", "anna"), ("MTA_PASSWORD", "x"), ("MTA_API_TOKENS", "anna:{PLAIN}y")],
            "Error: api_tokens must not have the name of username",
        ),
        (&[("MTA_UI_TLS", "yes")], "Error: ui_tls=yes needs key and certificate"),
        (
            &[("MTA_BOUNCE_ADDRESS", "postmaster")],
            "Error: bounce_address must be an address such as postmaster@example.org",
        ),
        (&[("MTA_TIMEZONE", "Mars/Base")], "Error: timezone is not a known time zone"),
        (&[("MTA_USERNAME", "a:b")], "Error: username must not contain a colon"),
        (
            &[("MTA_PASSWORD", "$2y$08$short")],
            "Error: password begins like a bcrypt hash and is none; make one with",
        ),
        (
            &[("MTA_PASSWORD", "$argon2id$x")],
            "Error: password begins like an Argon2 hash and is none; make one with",
        ),
        (
            &[("MTA_PASSWORD", "$1$salt$hash")],
            "Error: password looks like a hash of another kind than bcrypt, Argon2, $5$ and $6$",
        ),
        (
            &[("MTA_PASSWORD", "$6$salt$hash")],
            "Error: password begins like a hash of crypt(3) and is none",
        ),
        (
            &[("MTA_API_TOKENS", "shop:{PLAIN}")],
            "Error: api_tokens has a wrong entry, number 1: the hash of 'shop' has {PLAIN}",
        ),
        (&[("MTA_TERMINAL_FS", "//nas/share")], "Error: terminal_fs must be server[:port]:/export"),
        (
            &[("MTA_TERMINAL_LOG", "nas:/export")],
            "Error: terminal_log must be //server[:port]/share",
        ),
        (&[("MTA_SMART_RELAY", "smtp://x")], "Error: smart_relay must be a host"),
    ] {
        let problems = settings(vars).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(line), "{problems:?}");
    }
    assert!(settings(&[("MTA_MAILLOG_FILENAME", "/srv1/mail..log")]).is_ok());
}

#[test]
fn mail_gets_as_many_threads_as_wanted_or_half_of_the_processors() {
    let processors = std::thread::available_parallelism().unwrap().get();
    for text in ["", "0"] {
        let settings = settings(&[("MTA_WORKER_THREADS", text)]).unwrap();
        assert_eq!(settings.worker_threads, processors.div_ceil(2).min(256), "{text:?}");
        assert_eq!(settings.write()["worker_threads"].value, settings.worker_threads.to_string());
    }
    assert_eq!(settings(&[("MTA_WORKER_THREADS", "1")]).unwrap().worker_threads, 1);
    assert_eq!(settings(&[("MTA_WORKER_THREADS", "256")]).unwrap().worker_threads, 256);
}
