//! Common clients log in, each with every mechanism that it has, and with a wrong password.

use crate::support::program::find;
use crate::{Submission, USERS};
use std::fs;
use std::process::{Command, Output};

const MAIL: &str = "From: anna@here.example\r\nSubject: x\r\n\r\nHello there\r\n";

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn swaks(relay: &Submission, mechanism: &str, name: &str, password: &str) -> Output {
    let mut command = Command::new(find("swaks"));
    command.args(["--server", &relay.submission.to_string(), "--tls", "--auth", mechanism]);
    command.args(["--auth-user", name, "--auth-password", password]);
    command.args(["--from", "anna@here.example", "--to", "box@there.example"]);
    command.output().unwrap()
}

#[test]
fn swaks_by_plain_login_and_cram_md5() {
    let relay = Submission::start(USERS, &[]);
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let sent = swaks(&relay, mechanism, "anna", "s3cret-of-anna");
        assert!(sent.status.success(), "{mechanism}: {}", text(&sent));
    }
    for mechanism in ["PLAIN", "LOGIN"] {
        let sent = swaks(&relay, mechanism, "ben", "s3cret");
        assert!(sent.status.success(), "{mechanism}: {}", text(&sent));
    }
    // Of ben only a hash is kept.
    let refused = swaks(&relay, "CRAM-MD5", "ben", "s3cret");
    assert!(!refused.status.success() && text(&refused).contains("535 5.7.8"));
    let refused = swaks(&relay, "PLAIN", "anna", "wrong");
    assert!(!refused.status.success());
    let words = "535 5.7.8 Authentication failed: wrong name or password";
    assert!(text(&refused).contains(words), "{}", text(&refused));
    for mail in relay.received(5) {
        assert!(mail.contains("with ESMTPSA id"), "{mail}");
    }
    let line = ["login", "user=anna", "mechanism=CRAM-MD5", "status=ok"];
    assert!(relay.has_logged(&line), "{:?}", relay.appliance.log());
    assert!(relay.has_logged(&["status=accepted", "user=ben"]));
    assert_eq!(relay.appliance.counter("mta_logins_total{result=\"ok\"}"), 5);
    assert_eq!(relay.appliance.counter("mta_logins_total{result=\"failed\"}"), 2);
}

fn msmtp(relay: &Submission, mechanism: &str, password: &str) -> Output {
    let config = relay.authority.path("msmtprc");
    let lines = format!(
        "account default\nhost 127.0.0.1\nport {}\ndomain client.example\nfrom \
        anna@here.example\nauth {mechanism}\nuser anna\npasswordeval echo {password}\ntls \
        on\ntls_starttls on\ntls_trust_file {}\ntls_certcheck on\n",
        relay.submission.port(),
        relay.authority.root().display()
    );
    fs::write(&config, lines).unwrap();
    fs::write(relay.authority.path("mail"), MAIL).unwrap();
    let mut command = Command::new(find("msmtp"));
    command.arg("-C").arg(&config).arg("box@there.example");
    command.stdin(fs::File::open(relay.authority.path("mail")).unwrap()).output().unwrap()
}

/// By GNU SASL: another implementation of SCRAM, which verifies our signature.
#[test]
fn msmtp_by_scram_and_others() {
    let relay = Submission::start(USERS, &[]);
    let mechanisms = ["scram-sha-256", "scram-sha-1", "cram-md5", "plain", "login", "on"];
    for mechanism in mechanisms {
        let sent = msmtp(&relay, mechanism, "s3cret-of-anna");
        assert!(sent.status.success(), "{mechanism}: {}", text(&sent));
    }
    assert_eq!(relay.sink.mails(mechanisms.len()).len(), mechanisms.len());
    for name in ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"] {
        let mechanism = format!("mechanism={name}");
        assert!(relay.has_logged(&["login", &mechanism, "status=ok"]), "{name}");
    }
    for mechanism in ["scram-sha-256", "plain"] {
        let refused = msmtp(&relay, mechanism, "wrong");
        assert!(!refused.status.success(), "{mechanism}: {}", text(&refused));
    }
}

#[test]
fn curl_by_each_of_its_mechanisms() {
    let relay = Submission::start(USERS, &[]);
    fs::write(relay.authority.path("mail"), MAIL).unwrap();
    let send = |mechanism: &str, password: &str| {
        let mut command = Command::new(find("curl"));
        command.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"]);
        command.arg(relay.authority.root()).args(["--login-options", mechanism]);
        command.args(["--user", &format!("anna:{password}")]);
        command.args(["--mail-from", "anna@here.example", "--mail-rcpt", "box@there.example"]);
        command.arg("--upload-file").arg(relay.authority.path("mail"));
        let port = relay.submission.port();
        command.arg(format!("smtp://127.0.0.1:{port}/curl.example")).output().unwrap()
    };
    for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN", "AUTH=CRAM-MD5"] {
        let sent = send(mechanism, "s3cret-of-anna");
        assert!(sent.status.success(), "{mechanism}: {}", text(&sent));
        let refused = send(mechanism, "wrong");
        assert!(!refused.status.success(), "{mechanism}: {}", text(&refused));
    }
    relay.sink.mails(3);
}

const SMTPLIB: &str = "
import smtplib, ssl, sys
root, port, smtps = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.check_hostname = False
mail = 'From: anna@here.example\\r\\nSubject: x\\r\\n\\r\\nHello there\\r\\n'
def send(smtp, password):
    smtp.login('anna', password)
    smtp.sendmail('anna@here.example', ['box@there.example'], mail)
with smtplib.SMTP('127.0.0.1', int(port), timeout=60) as smtp:
    smtp.starttls(context=context)
    send(smtp, 's3cret-of-anna')
with smtplib.SMTP_SSL('127.0.0.1', int(smtps), timeout=60, context=context) as smtp:
    send(smtp, 's3cret-of-anna')
with smtplib.SMTP('127.0.0.1', int(port), timeout=60) as smtp:
    smtp.starttls(context=context)
    try:
        send(smtp, 'wrong')
        sys.exit('a wrong password')
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
with smtplib.SMTP('127.0.0.1', int(port), timeout=60) as smtp:
    smtp.ehlo()
    assert not smtp.has_extn('auth')
    try:
        smtp.login('anna', 's3cret-of-anna')
        sys.exit('a password without TLS')
    except smtplib.SMTPNotSupportedError:
        pass
";

#[test]
fn python_smtplib() {
    let relay = Submission::start(USERS, &[]);
    let mut command = Command::new(find("python3"));
    command.args(["-c", SMTPLIB]).arg(relay.authority.root());
    let ports = [relay.submission.port(), relay.appliance.smtps.port()];
    let done = command.args(ports.map(|port| port.to_string())).output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    relay.sink.mails(2);
}
