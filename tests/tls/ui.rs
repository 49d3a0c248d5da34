//! The web UI with TLS.

use super::appliance::put;
use crate::support::appliance::Appliance;
use crate::support::keys::{Authority, EC, read};
use crate::support::program::open_directory;
use std::process::Command;

#[test]
fn the_window_is_shown_inside_tls_alone_but_for_health() {
    let (authority, volume) = (Authority::new(), open_directory());
    let issued = authority.issue("first", EC, "mail.example");
    put(volume.path(), "server.key", &read(&issued.key));
    put(volume.path(), "server.pem", &read(&issued.chain));
    let volume_key = volume.path().display().to_string();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", "127.0.0.1:9"),
        ("MTA_SSL_DISABLED", "no"),
        ("MTA_VOLUME_KEY", &volume_key),
        ("MTA_UI_TLS", "yes"),
        ("MTA_UI_HOSTS", "relay.example"),
    ]);
    let root = authority.root().display().to_string();
    let curl = |arguments: &[&str], scheme: &str, path: &str| {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "20", "--include", "--cacert", &root])
            .args(arguments);
        let output =
            command.arg(format!("{scheme}://{}{path}", appliance.ui)).output().expect("curl");
        assert!(output.status.success(), "{path}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let status = curl(&[], "https", "/api/v1/status");
    assert!(status.starts_with("HTTP/1.1 200") && status.contains("\"queue\""), "{status}");
    assert!(curl(&["--tlsv1.2", "--tls-max", "1.2"], "https", "/").contains("<html"));
    let envelope = "/api/v1/messages?from=&to=a%40example.net";
    let token = "Authorization: Bearer tests:tests";
    let mail = [
        "--header",
        token,
        "--header",
        "Content-Type: message/rfc822",
        "--data-binary",
        "Subject: x\n\nx\n",
    ];
    assert!(curl(&mail, "https", envelope).starts_with("HTTP/1.1 201"));

    // A health probe needs no certificate, and sees nothing else.
    for health in ["/healthz", "/readyz"] {
        assert!(curl(&[], "http", health).starts_with("HTTP/1.1 200"), "{health}");
    }
    assert!(appliance.command(&["health"]).status().unwrap().success());
    let sent = curl(&[], "http", "/queue?search=x");
    let place = format!("location: https://{}/queue?search=x", appliance.ui);
    assert!(sent.starts_with("HTTP/1.1 308") && sent.contains(&place), "{sent}");
    assert!(curl(&["--http1.0"], "http", "/status").starts_with("HTTP/1.0 308"));
    // There is no redirect to an unknown host name: a browser would remember it.
    for (host, answer) in
        [("relay.example", "308"), ("evil.example", "421"), ("evil.example/", "400")]
    {
        for path in ["/", "/metrics", "/queue?search=x"] {
            let sent = curl(&["--header", &format!("Host: {host}")], "http", path);
            assert!(sent.starts_with(&format!("HTTP/1.1 {answer}")), "{host} {path}: {sent}");
            assert!(!sent.contains("location: https://evil"), "{sent}");
        }
    }
    for refused in [
        curl(&mail, "http", envelope),
        curl(&["--data", r#"{"order":"delete","all":true}"#], "http", "/api/v1/orders"),
    ] {
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("https://"), "{refused}");
    }
    assert_eq!(appliance.queue(&["list"]).len(), 1, "what came in plain text was not taken");
}
