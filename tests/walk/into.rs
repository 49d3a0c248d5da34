//! Common senders: swaks, Python's smtplib, a raw client. All mail is delivered unchanged.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::letter::{Letter, assert_same, shapes};
use crate::support::program::{
    Program, find, free_port, need_root, open_directory, open_folder, run,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// Sends a file with smtplib: host, port, sender, recipients with commas between, file, options of
/// MAIL.
const SMTPLIB: &str = "\
import smtplib, sys
host, port, sender, to, file = sys.argv[1:6]
with smtplib.SMTP(host, int(port), timeout=60) as smtp:
    smtp.ehlo('python.example')
    for option in sys.argv[6:]:
        assert smtp.has_extn(option.split('=')[0].replace('BODY', '8BITMIME').lower()), option
    refused = smtp.sendmail(sender, to.split(','), open(file, 'rb').read(), \
    mail_options=sys.argv[6:])
    assert refused == {}, refused
";

fn swaks(appliance: &Appliance, arguments: &[&str]) -> String {
    let mut command = Command::new(find("swaks"));
    command.args(["--server", "127.0.0.1", "--port", &appliance.smtp.port().to_string()]);
    let output = run(command
        .args(["--helo", "swaks.example", "--from", "sender@here.example"])
        .args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

fn smtplib(appliance: &Appliance, from: &str, to: &str, file: &Path, options: &[&str]) {
    let mut command = Command::new(find("python3"));
    command
        .args(["-c", SMTPLIB, "127.0.0.1", &appliance.smtp.port().to_string(), from, to])
        .arg(file)
        .args(options);
    run(&mut command);
}

/// The one mail with this subject.
fn with_subject<'a>(mails: &'a [Letter], subject: &str) -> &'a Letter {
    let line = format!("Subject: {subject}\r\n");
    let found: Vec<_> = mails.iter().filter(|mail| mail.text().contains(&line)).collect();
    let [mail] = found[..] else { panic!("{subject}: {} times", found.len()) };
    mail
}

#[test]
fn swaks_plain_to_several_and_pipelined() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let directory = open_directory();
    let file = directory.path().join("mail");
    let mail = |subject: &str| {
        format!("From: sender@here.example\nSubject: {subject}\n\n.\n..dots\nGr\u{fc}n\n")
    };
    for (subject, to, option) in [
        ("plain", "box@there.example", "--protocol=SMTP"),
        ("several", "a@there.example,b@there.example,c@elsewhere.example", "--protocol=ESMTP"),
        ("pipelined", "a@there.example,b@there.example", "--pipeline"),
    ] {
        fs::write(&file, mail(subject)).unwrap();
        let talk =
            swaks(&appliance, &["--to", to, "--data", &format!("@{}", file.display()), option]);
        assert!(
            talk.contains("<-  250 2.0.0 Ok: queued as ") && talk.contains("<-  221 "),
            "{talk}"
        );
    }
    let mails = sink.mails(3);
    for (subject, to) in [
        ("plain", &["box@there.example"][..]),
        ("several", &["a@there.example", "b@there.example", "c@elsewhere.example"]),
        ("pipelined", &["a@there.example", "b@there.example"]),
    ] {
        let found = with_subject(&mails, subject);
        assert_eq!(found.from, "sender@here.example");
        assert_eq!(found.to, to);
        // swaks ends its data with an empty line.
        let expected = mail(subject).replace('\n', "\r\n") + "\r\n";
        assert_same(subject, expected.trim_end().as_bytes(), found.text().trim_end().as_bytes());
    }
    appliance.until_empty();
}

#[test]
fn smtplib_every_shape() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let directory = open_directory();
    for (name, content) in shapes() {
        let file = directory.path().join("mail");
        fs::write(&file, &content).unwrap();
        let options: &[&str] = if content.is_ascii() { &[] } else { &["BODY=8BITMIME"] };
        smtplib(&appliance, "sender@here.example", "box@there.example", &file, options);
        eprintln!("sent: {name}");
    }
    let mails = sink.mails(shapes().len());
    for (name, content) in shapes() {
        assert_same(name, &content, &with_subject(&mails, name).content);
    }
}

#[test]
fn smtplib_internationalised() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let directory = open_directory();
    let file = directory.path().join("mail");
    let content = "From: J\u{f6}rg \
    <j\u{f6}rg@b\u{fc}cher.example>\r\nSubject: \u{65e5}\u{672c}\r\n\r\nGr\u{fc}n\r\n";
    fs::write(&file, content).unwrap();
    let (from, to) = ("j\u{f6}rg@b\u{fc}cher.example", "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.example");
    smtplib(&appliance, from, to, &file, &["SMTPUTF8", "BODY=8BITMIME"]);
    let mail = sink.mails(1).remove(0);
    assert_eq!((mail.from.as_str(), &mail.to[..]), (from, &[to.to_owned()][..]));
    assert_same("SMTPUTF8", content.as_bytes(), &mail.content);
}

/// Beyond what the two programs send: an empty mail, a header section without an end, lines up to
/// the relay's limit, every octet except NUL, CR and LF.
#[test]
fn the_corners() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let every_octet: Vec<u8> = (1..=255u8).filter(|octet| !b"\r\n".contains(octet)).collect();
    let corners: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("one empty line", b"\r\n".to_vec()),
        ("headers only", b"Subject: headers only\r\n".to_vec()),
        (
            "long",
            [b"Subject: long\r\n\r\n".to_vec(), vec![b'l'; 65_536], b"\r\n".to_vec()].concat(),
        ),
        ("octets", [b"Subject: octets\r\n\r\n.".to_vec(), every_octet, b"\r\n".to_vec()].concat()),
    ];
    let mut client = Client::hello(appliance.smtp);
    for (place, (name, content)) in corners.iter().enumerate() {
        client.mail("sender@here.example", &["box@there.example"], content);
        // One after the other, so that each is identified without a name in it.
        let mails = sink.mails(place + 1);
        let same = mails.iter().filter(|mail| mail.content == *content).count();
        assert_eq!(same, 1, "{name}");
    }
}

/// Another receiver; what it dumps is what it got.
#[test]
fn smtp_sink_gets_every_shape() {
    let directory = open_directory();
    let folder = open_folder(&directory, "mail");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(find("smtp-sink"));
    need_root("smtp-sink changes to the user nobody");
    command.args(["-u", "nobody", "-R"]).arg(&folder).args([
        "-d",
        "mail.",
        &address.to_string(),
        "100",
    ]);
    let _sink = Program::start(directory.path(), "smtp-sink", command).listening(address);
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &address.to_string())]);
    crate::postfix::send_shapes(&appliance);
    appliance.until_empty();
    let kept: Vec<Vec<u8>> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(kept.len(), shapes().len());
    for (name, content) in shapes() {
        // It stores LF.
        let expected = String::from_utf8(content).unwrap().replace("\r\n", "\n");
        let subject = format!("\nSubject: {name}\n");
        let mail =
            kept.iter().find(|mail| String::from_utf8_lossy(mail).contains(&subject)).expect(name);
        let start = mail.windows(7).position(|seven| seven == b"\nFrom: ").unwrap() + 1;
        assert_same(
            name,
            expected.trim_end_matches('\n').as_bytes(),
            String::from_utf8_lossy(&mail[start..]).trim_end_matches('\n').as_bytes(),
        );
    }
}
