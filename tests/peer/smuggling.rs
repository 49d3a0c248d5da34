//! A second mail inside the first: every false end of data, followed by an envelope. A server that
//! accepted one of them as the end would accept two mails, the second one with a forged sender.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};

const FALSE_ENDS: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\r\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\r\n",
    "\n\n.\r\n",
    "\r\n. \r\n",
];

const SECOND: &str = "MAIL FROM:<forged@bank.example>\r\nRCPT \
TO:<victim@there.example>\r\nDATA\r\nSubject: forged\r\n\r\nforged";

#[test]
fn no_false_end_lets_a_second_mail_out() {
    let receiver = Receiver::start(Setup::default());
    for end in FALSE_ENDS {
        for split in 0..=end.len() {
            let mut client = Client::hello(receiver.address);
            client.begin();
            client.send(format!("Subject: first\r\n\r\nfirst{}", &end[..split]));
            client.send(format!("{}{SECOND}\r\n.\r\n", &end[split..]));
            let reply = client.line().unwrap();
            // A dot followed by a space is ordinary text.
            let expected = if *end == "\r\n. \r\n" { "250 2.0.0 " } else { "550 5.6.0 " };
            assert!(reply.starts_with(expected), "{end:?}: {reply}");
            client.ask("NOOP", "250 2.0.0 Ok");
        }
    }
    for (message, _) in receiver.spool.messages() {
        assert_eq!(message.envelope.sender_text(), "sender@client.example");
        assert_eq!(message.envelope.recipients.len(), 1);
    }
    crate::is_well(&receiver);
}
