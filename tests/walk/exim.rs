//! Exim on both sides.

use crate::postfix::{assert_shapes_stored, send_shapes, stored};
use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::exim::Exim;
use crate::support::letter::{assert_shapes_came, shapes};
use crate::support::patience::until;

#[test]
fn exim_is_the_next_hop() {
    let exim = Exim::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &exim.address.to_string())]);
    send_shapes(&appliance);
    assert_shapes_stored(&stored(&exim.mailbox("box"), shapes().len()));
    appliance.until_empty();
    let sent: Vec<String> =
        appliance.log().into_iter().filter(|line| line.contains("status=sent")).collect();
    assert!(
        sent.len() == shapes().len() && sent.iter().all(|line| line.contains("tls=true")),
        "{sent:#?}"
    );
}

#[test]
fn what_exim_refuses_comes_back_as_a_report() {
    let exim = Exim::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &exim.address.to_string())]);
    Client::hello(appliance.smtp).mail(
        "sender@here.example",
        &["nobody@there.example"],
        b"Subject: to whom\r\n\r\n",
    );
    let report = String::from_utf8(stored(&exim.mailbox("sender"), 1).remove(0)).unwrap();
    for line in [
        "Final-Recipient: rfc822; nobody@there.example",
        "Action: failed",
        "Diagnostic-Code: smtp; 550 unknown here",
    ] {
        assert!(report.lines().any(|found| found == line), "{line} is not in {report}");
    }
    appliance.until_empty();
}

#[test]
fn exim_is_the_sender() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let exim = Exim::sender(appliance.smtp);
    for (_, content) in shapes() {
        exim.sendmail("sender@here.example", "box@there.example", &content);
    }
    assert_shapes_came(&sink.mails(shapes().len()));
    until("Exim knows that all was taken", || match exim.queued() {
        0 => Ok(()),
        left => Err(format!("{left} mails in its queue")),
    });
    appliance.until_empty();
}
