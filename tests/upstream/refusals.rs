//! What an upstream refuses other than a mail: this relay, or one sender.

use crate::support::appliance::Appliance;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::{PASSWORD, Submission, USER, properties, send};

fn series(appliance: &Appliance, name: &str) -> String {
    let metrics = appliance.get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn an_upstream_that_refuses_us_is_left_alone_and_alerted_about() {
    let server = Submission::start("plain");
    let (relay, ca) = (server.relay(), server.ca());
    let appliance = Appliance::start(&properties(&relay, &ca, "planted-wrong-word"));
    send(&appliance, "anna@here.example");
    appliance.deferral();
    // More mail waits for the upstream, and does not ask it again.
    (0..5).for_each(|_| send(&appliance, "bert@here.example"));
    until("the alert", || {
        let alerts = appliance.api("status").to_string();
        let words = "Upstream default refuses this relay, its mail waits: 535 5.7.8";
        if alerts.contains(words) { Ok(()) } else { Err(alerts) }
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    let refused = server.postfix.log().matches("SASL PLAIN authentication failed").count();
    assert_eq!(refused, 1, "{}", server.postfix.log());
    assert_eq!(series(&appliance, "mta_upstream_paused{upstream=\"default\"}"), "1");
    assert_eq!(series(&appliance, "mta_upstream_refusals_total{upstream=\"default\"}"), "1");
    assert_eq!(appliance.messages().len(), 6);
    assert_eq!(appliance.counter("mta_bounced_total"), 0);
    // The account works again.
    server.dovecot.set_password(USER, "planted-wrong-word");
    appliance.queue(&["retry", "--all", "--yes"]);
    server.until_mails(6, &appliance);
    assert_eq!(series(&appliance, "mta_upstream_paused{upstream=\"default\"}"), "0");
    let alerts = appliance.api("status").to_string();
    assert!(!alerts.contains("Upstream default"), "{alerts}");
}

#[test]
fn a_refused_sender_waits_and_others_do_not() {
    let server = Submission::start("plain");
    let issued = (server.authority.path("mx.pem"), server.authority.path("mx.key"));
    let lines = format!(
        "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_sender_login_maps = inline:{{ anna@here.example={USER} }}\n\
         smtpd_sender_restrictions = reject_sender_login_mismatch\n",
        server.dovecot.socket().display()
    );
    let postfix = Postfix::submission_with(&issued.0, &issued.1, &lines);
    let (relay, ca) = (postfix.address.to_string(), server.ca());
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "bert@here.example");
    let told = appliance.deferral();
    assert!(told.contains("refuses the sender bert@here.example: 553 5.7.1"), "{told}");
    send(&appliance, "anna@here.example");
    until("the other sender's mail is delivered", || {
        match appliance.counter("mta_delivered_total") {
            1 => Ok(()),
            _ => Err(appliance.log().join("\n")),
        }
    });
    send(&appliance, "bert@here.example");
    until("the second one waits without being offered", || {
        let log = appliance.log().join("\n");
        let words = "the sender bert@here.example waits";
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
    let refused = postfix.log().matches("not owned by user").count();
    assert_eq!(refused, 1, "{}", postfix.log());
    assert_eq!(appliance.messages().len(), 2);
    assert_eq!(appliance.counter("mta_bounced_total"), 0);
    assert_eq!(series(&appliance, "mta_upstream_paused{upstream=\"default\"}"), "0");
}
