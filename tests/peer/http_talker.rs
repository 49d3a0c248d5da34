//! A browser that was made to talk to port 25 (a cross-protocol attack): the body of its request is
//! a whole SMTP session.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};

#[test]
fn is_cut_off_at_its_first_word() {
    let receiver = Receiver::start(Setup::default());
    for method in ["GET", "POST", "PUT", "CONNECT", "OPTIONS"] {
        let mut client = Client::connect(receiver.address);
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: mta.example:25\r\nContent-Length: 100\r\n\r\n\
             EHLO browser\r\nMAIL FROM:<a@client.example>\r\nRCPT \
             TO:<b@there.example>\r\nDATA\r\nforged\r\n.\r\n"
        ));
        client.expect("220 ");
        client.expect("421 4.7.0 ");
        client.expect_close();
    }
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}
