//! Common clients, each of which verifies the chain made by openssl.

use crate::support::keys::{Authority, EC, ED25519, RSA, read};
use crate::support::patience::until;
use crate::support::program::{find, run};
use crate::support::receiver::{Receiver, Setup};
use crate::support::{eventually, exim::Exim, postfix::Postfix};
use postern::ground::clock;
use postern::ground::tls::KeyPair;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A receiver with a certificate of the authority for mail.example and 127.0.0.1.
fn receiver(kind: &[&str]) -> (Receiver, Authority) {
    let authority = Authority::new();
    let issued = authority.issue("server", kind, "mail.example");
    let pair = KeyPair::from_pem(&read(&issued.key), &read(&issued.chain), clock::now()).unwrap();
    (Receiver::start(Setup { pair: Some(pair), ..Setup::default() }), authority)
}

/// Waits for so many mails, and checks that each came over TLS.
fn all_came_inside_tls(receiver: &Receiver, count: usize) {
    until("the mails came", || match receiver.spool.messages().len() {
        found if found < count => Err(format!("{found} of {count}")),
        _ => Ok(()),
    });
    let mails = receiver.spool.messages();
    assert_eq!(mails.len(), count);
    for (_, mail) in mails {
        let mail = String::from_utf8(mail).unwrap();
        assert!(
            mail.contains("\r\n\t(using TLSv1.3 with cipher TLS_")
                && mail.contains(" with ESMTPS id "),
            "{mail}"
        );
        assert!(mail.contains("\r\n\r\nHello there\r\n"), "{mail}");
    }
    assert_eq!(receiver.counters.tls_handshake_failures_total.get(), 0);
}

/// `openssl s_client`: its output, and whether it succeeded. It verifies the chain and the name.
fn s_client(authority: &Authority, to: SocketAddr, options: &[&str]) -> (String, bool) {
    let mut command = Command::new(find("openssl"));
    command.args([
        "s_client",
        "-connect",
        &to.to_string(),
        "-crlf",
        "-ign_eof",
        "-verify_return_error",
    ]);
    command
        .args(["-verify_hostname", "mail.example", "-CAfile"])
        .arg(authority.root())
        .args(options);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails does not read.
    let _ = child.stdin.take().unwrap().write_all(b"ehlo client.example\nquit\n");
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[test]
fn openssl_speaks_the_versions_that_are_sound_with_every_kind_of_key() {
    for (kind, key) in [(RSA, "RSA"), (EC, "ECDSA"), (ED25519, "Ed25519")] {
        let (receiver, authority) = receiver(kind);
        let start_tls = (receiver.address, &["-starttls", "smtp", "-name", "client.example"][..]);
        for (to, how) in [start_tls, (receiver.smtps.unwrap(), &[])] {
            for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
                let (said, content) = s_client(&authority, to, &[how, &[option]].concat());
                assert!(
                    content && said.contains("Verify return code: 0 (ok)"),
                    "{key} {version}: {said}"
                );
                assert!(
                    said.contains(&format!("New, {version}, Cipher is")),
                    "{key} {version}: {said}"
                );
                assert!(
                    said.contains("250-PIPELINING") && said.contains("221 2.0.0 Bye"),
                    "{key} {version}: {said}"
                );
                // Leaf and intermediate; the client has the root.
                assert!(
                    said.contains(" 1 s:CN = Test Intermediate") && !said.contains(" 2 s:"),
                    "{said}"
                );
            }
        }
        for version in ["TLSv1.2", "TLSv1.3"] {
            assert_eq!(receiver.counters.tls_sessions_total.with_label_values(&[version]).get(), 2);
        }
    }
}

#[test]
fn openssl_is_refused_what_is_broken() {
    let (receiver, authority) = receiver(RSA);
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    let refused = [
        ("TLS 1.0", &["-tls1", weak[0], weak[1]][..]),
        ("TLS 1.1", &["-tls1_1", weak[0], weak[1]]),
        (
            "CBC",
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA:@SECLEVEL=0"],
        ),
        ("no forward secrecy", &["-tls1_2", "-cipher", "AES256-GCM-SHA384:@SECLEVEL=0"]),
        (
            "anonymous",
            &["-tls1_2", "-cipher", "AECDH-AES256-SHA:ADH-AES256-GCM-SHA384:@SECLEVEL=0"],
        ),
    ];
    for (name, options) in refused {
        for (to, how) in
            [(receiver.address, &["-starttls", "smtp"][..]), (receiver.smtps.unwrap(), &[])]
        {
            let (said, content) = s_client(&authority, to, &[how, options].concat());
            // The server's alert, not the client's own error.
            let alert =
                said.contains("alert protocol version") || said.contains("alert handshake failure");
            assert!(!content && alert, "{name}: {said}");
        }
    }
    assert_eq!(receiver.counters.tls_handshake_failures_total.get(), 2 * refused.len() as u64);
    eventually("no session is left", || receiver.sessions() == 0);
}

#[test]
fn swaks_both_ways() {
    let (receiver, authority) = receiver(RSA);
    for (to, how) in [(receiver.address, "--tls"), (receiver.smtps.unwrap(), "--tlsc")] {
        let mut command = Command::new(find("swaks"));
        command.args([
            "--server",
            "127.0.0.1",
            "--port",
            &to.port().to_string(),
            "--helo",
            "swaks.example",
            how,
        ]);
        command.args([
            "--from",
            "sender@here.example",
            "--to",
            "box@there.example",
            "--tls-verify",
            "--tls-ca-path",
        ]);
        command.arg(authority.root()).args(["--body", "Hello there"]);
        let said = String::from_utf8(run(&mut command).stdout).unwrap();
        assert!(
            said.contains("=== TLS started with cipher TLSv1.3:")
                && said.contains("<~  250 2.0.0 Ok"),
            "{said}"
        );
    }
    all_came_inside_tls(&receiver, 2);
}

/// Both classes of smtplib, verifying as Python does by default.
const SMTPLIB: &str = "\
import smtplib, ssl, sys
root, port, ports = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
mail = b'Subject: x\\r\\n\\r\\nHello there\\r\\n'
with smtplib.SMTP('127.0.0.1', int(port), timeout=60) as smtp:
    smtp.ehlo('python.example')
    assert smtp.has_extn('starttls')
    smtp.starttls(context=context)
    smtp.ehlo('python.example')
    assert not smtp.has_extn('starttls')
    assert smtp.sendmail('sender@here.example', ['box@there.example'], mail) == {}
with smtplib.SMTP_SSL('127.0.0.1', int(ports), timeout=60, context=context) as smtp:
    assert smtp.sendmail('sender@here.example', ['box@there.example'], mail) == {}
";

#[test]
fn python_smtplib_both_ways() {
    let (receiver, authority) = receiver(EC);
    let mut command = Command::new(find("python3"));
    command.args(["-c", SMTPLIB]).arg(authority.root());
    command.args([receiver.address.port().to_string(), receiver.smtps.unwrap().port().to_string()]);
    run(&mut command);
    all_came_inside_tls(&receiver, 2);
}

#[test]
fn curl_both_ways() {
    let (receiver, authority) = receiver(EC);
    fs::write(authority.path("mail"), "Subject: x\r\n\r\nHello there\r\n").unwrap();
    for (scheme, to) in [("smtp", receiver.address), ("smtps", receiver.smtps.unwrap())] {
        let mut command = Command::new(find("curl"));
        command.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"]).arg(authority.root());
        command.args([
            "--mail-from",
            "sender@here.example",
            "--mail-rcpt",
            "box@there.example",
            "--upload-file",
        ]);
        command
            .arg(authority.path("mail"))
            .arg(format!("{scheme}://127.0.0.1:{}/curl.example", to.port()));
        run(&mut command);
    }
    all_came_inside_tls(&receiver, 2);
}

#[test]
fn postfix_that_wants_our_name_in_a_certificate_it_trusts() {
    let (receiver, authority) = receiver(RSA);
    let tls = format!(
        "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = \
        mail.example\nsmtp_tls_CAfile = {}\nsmtp_tls_loglevel = 1\n",
        authority.root().display()
    );
    let postfix = Postfix::sender_with(receiver.address, &tls);
    postfix.sendmail(
        "sender@here.example",
        "box@there.example",
        b"Subject: x\r\n\r\nHello there\r\n",
    );
    all_came_inside_tls(&receiver, 1);
    assert!(
        postfix.log().contains("Verified TLS connection established to 127.0.0.1"),
        "{}",
        postfix.log()
    );
    // And with implicit TLS (smtps) with any certificate.
    let wrapped = Postfix::sender_with(
        receiver.smtps.unwrap(),
        "smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\nsmtp_tls_loglevel = 1\n",
    );
    wrapped.sendmail(
        "sender@here.example",
        "box@there.example",
        b"Subject: x\r\n\r\nHello there\r\n",
    );
    all_came_inside_tls(&receiver, 2);
}

#[test]
fn exim_that_requires_tls_and_verifies() {
    let (receiver, authority) = receiver(RSA);
    // Its name for the relay is an address, which Exim does not verify in certificates.
    let tls = format!(
        "  hosts_require_tls = *\n  tls_verify_certificates = {}\n  tls_verify_hosts = \
        *\n  tls_verify_cert_hostnames =\n",
        authority.root().display()
    );
    let exim = Exim::sender_with(receiver.address, &tls);
    exim.sendmail("sender@here.example", "box@there.example", b"Subject: x\r\n\r\nHello there\r\n");
    all_came_inside_tls(&receiver, 1);
}
