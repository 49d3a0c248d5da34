//! The client disconnects after any octet of a session. Only a mail whose end of data arrived is
//! kept, and only once.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};

const SESSION: &[u8] =
    b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@there.example>\r\nDATA\r\n\
    Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n";

#[test]
fn with_a_farewell() {
    let receiver = Receiver::start(Setup::default());
    for length in 0..=SESSION.len() {
        let mut client = Client::connect(receiver.address);
        client.send(&SESSION[..length]);
        client.finish();
        client.rest();
        ended(&receiver, length + 1);
        // The mails of all longer cuts, one each.
        let whole = (length + 1).saturating_sub(end_of_data());
        assert_eq!(receiver.spool.messages().len(), whole, "cut after {length} octets");
        assert_eq!(receiver.onward.lock().unwrap().len(), whole);
    }
    crate::is_well(&receiver);
}

#[test]
fn with_a_reset() {
    let receiver = Receiver::start(Setup::default());
    for length in 0..=SESSION.len() {
        let mut client = Client::connect(receiver.address);
        client.send(&SESSION[..length]);
        // The greeting is unread: this resets the connection, and what was sent may be lost with
        // it.
        drop(client);
        ended(&receiver, length + 1);
        assert!(
            receiver.spool.messages().len() <= (length + 1).saturating_sub(end_of_data()),
            "cut after {length} octets"
        );
    }
    for (_, content) in receiver.spool.messages() {
        assert!(content.ends_with(b"Subject: x\r\n\r\n.\r\n"));
    }
    crate::is_well(&receiver);
}

fn end_of_data() -> usize {
    SESSION.windows(5).position(|ui| ui == b"\r\n.\r\n").unwrap() + 5
}

fn ended(receiver: &Receiver, sessions: usize) {
    eventually("the session has ended", || {
        receiver.counters.smtp_sessions_total.get() == sessions as u64 && receiver.sessions() == 0
    });
}
