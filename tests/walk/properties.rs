//! Properties of the founding document as an operator sees them in the running appliance: the time
//! zone, the login.

use crate::mx::send;
use crate::support::appliance::{Appliance, Sink};
use crate::support::threads;
use std::fs;

/// `operator:open sesame` and a wrong login, in base64.
const RIGHT: &str = "Authorization: Basic b3BlcmF0b3I6b3BlbiBzZXNhbWU=\r\n";
const WRONG: &str = "Authorization: Basic b3BlcmF0b3I6b3BlbiBzZXNhbWE=\r\n";

/// The date in the Received field of a mail and in the log lines of the supervisor and of the core,
/// with their offsets from UTC.
fn stamps(properties: &[(&str, &str)]) -> (String, Vec<String>, String) {
    let sink = Sink::start("");
    let relay = sink.relay();
    let mut appliance =
        Appliance::start(&[&[("MTA_SMART_RELAY", relay.as_str())], properties].concat());
    send(&appliance, "sender@here.example", "box@there.example");
    sink.mails(1);
    assert_eq!(appliance.stop(), 143);
    let mail = fs::read_dir(sink.maildir()).unwrap().next().unwrap().unwrap().path();
    let mail = fs::read_to_string(mail).unwrap();
    let (_, received) = mail.split_once("Received: ").unwrap();
    let date = received.split_once(";\r\n\t").unwrap().1.split_once("\r\n").unwrap().0.to_owned();
    let kept = fs::read_to_string(appliance.path("run/log/appliance/log")).unwrap();
    (date, appliance.log(), kept)
}

/// The last six characters of the time that begins a line: `+05:45`.
fn offset(line: &str) -> &str {
    let time = line.split(' ').next().unwrap_or_default();
    &time[time.len().saturating_sub(6)..]
}

#[test]
fn the_time_zone_is_in_the_log_and_in_received_stamps() {
    // A zone that no machine has by default: 5 h 45 min ahead of UTC, in summer and winter.
    let (date, log, kept) = stamps(&[("MTA_TIMEZONE", "Asia/Kathmandu")]);
    assert!(date.ends_with(" +0545"), "{date}");
    assert!(log.len() > 3 && log.iter().all(|line| offset(line) == "+05:45"), "{log:#?}");
    assert!(
        kept.lines().count() > 0 && kept.lines().all(|line| offset(line) == "+05:45"),
        "{kept}"
    );
}

#[test]
fn without_a_time_zone_it_is_left_as_it_is() {
    let (date, log, _) = stamps(&[("TZ", "Pacific/Marquesas")]);
    assert!(date.ends_with(" -0930"), "{date}");
    assert!(log.iter().all(|line| offset(line) == "-09:30"), "{log:#?}");
}

#[test]
fn mail_has_the_threads_that_the_run_asks_for_or_half_of_the_processors() {
    let wanted = threads::asked_for()
        .unwrap_or_else(|| std::thread::available_parallelism().unwrap().get().div_ceil(2));
    let mut appliance = Appliance::start(&[]);
    appliance.expect_threads(wanted);
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_WORKER_THREADS", "3")]);
    appliance.boot();
    appliance.expect_threads(3);
}

#[test]
fn the_page_of_settings_says_what_check_says() {
    let login = [("MTA_USERNAME", "operator"), ("MTA_PASSWORD", "open sesame")];
    let more =
        [("MTA_WEBHOOK_URL", "https://hooks.example/xyzzy"), ("MTA_WEBHOOK_EVENTS", "alert")];
    let appliance = Appliance::start(&[login, more].concat());
    let (status, told) = appliance.get_as("/api/v1/settings", RIGHT);
    assert_eq!(status, "200");
    let (_, page) = appliance.get_as("/settings", RIGHT);
    for secret in ["open sesame", "xyzzy", "{PLAIN}tests"] {
        assert!(!told.contains(secret) && !page.contains(secret), "{secret}");
    }
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let told: Vec<_> = told["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            let value = if text("value").is_empty() { "(empty)".to_owned() } else { text("value") };
            format!("{} {value} {}", text("name"), text("source"))
        })
        .collect();
    let checked = appliance.command(&["check"]).output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    let table = checked.lines().skip(1).take_while(|line| !line.is_empty());
    let table: Vec<_> =
        table.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(told.len() > 40 && told == table, "{told:#?}\n{checked}");
    assert!(told.contains(&"password ******** MTA_PASSWORD".to_owned()), "{told:#?}");
}

#[test]
fn the_login_guards_every_window_of_the_appliance() {
    let appliance =
        Appliance::start(&[("MTA_USERNAME", "operator"), ("MTA_PASSWORD", "open sesame")]);
    for path in ["/", "/status", "/metrics", "/api/v1/status", "/api/v1/queue", "/nowhere"] {
        for header in ["", WRONG] {
            assert_eq!(appliance.get_as(path, header).0, "401", "{path} {header}");
        }
        assert_ne!(appliance.get_as(path, RIGHT).0, "401", "{path}");
    }
    assert!(appliance.get_as("/metrics", RIGHT).1.contains("mta_mqueue_messages 0"));
    for health in ["/healthz", "/readyz"] {
        assert_eq!(appliance.get_as(health, "").0, "200", "{health}");
    }
    // The operator's tool uses the control socket.
    assert!(appliance.queue(&["list"]).is_empty());
}

#[test]
fn a_password_without_a_user_name_is_ignored() {
    let appliance = Appliance::start(&[("MTA_PASSWORD", "open sesame")]);
    for path in ["/", "/metrics", "/api/v1/status"] {
        assert_eq!(appliance.get_as(path, "").0, "200", "{path}");
    }
    // Without a login, names are shown to nobody.
    let appliance = Appliance::start(&[("MTA_PASSWORD", "open sesame"), ("MTA_UI_PUBLIC", "no")]);
    for path in ["/queue", "/log", "/api/v1/history"] {
        assert_ne!(appliance.get_as(path, RIGHT).0, "200", "{path}");
    }
}

#[test]
fn that_everybody_reads_along_is_said_at_the_start_and_on_the_page() {
    let words = "ui_public=yes: everybody who reaches";
    let appliance = Appliance::start(&[("MTA_UI_PUBLIC", "yes")]);
    assert!(appliance.log().iter().any(|line| line.contains(words)), "{:#?}", appliance.log());
    let check = appliance.command(&["check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&check.stdout).contains(words), "{check:?}");
    // Clients of HTTP/1.0 that do not ask for HTML get the text of /status at the root.
    assert!(appliance.get("/queue").contains("ui_public=yes: everybody who can reach this page"));
    let appliance = Appliance::start(&[("MTA_UI_PUBLIC", "no")]);
    assert!(!appliance.log().iter().any(|line| line.contains(words)));
    assert_ne!(appliance.get_as("/queue", "").0, "200");
}
