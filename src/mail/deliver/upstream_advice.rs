//! What to do about a test of an upstream that failed; pure.

use super::handshake::{EXPIRED, NO_STARTTLS, NOT_TLS, OTHER_NAME, UNKNOWN_AUTHORITY};

/// The port for mail between servers, which many networks block for clients.
const SMTP: u16 = 25;

/// Where a test failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection.
    Connect,
    /// All connections that the host may have are in use.
    Full,
    /// There is no greeting, and TLS from the first octet works.
    WaitsForTls,
    /// There is no greeting.
    Silent,
    /// The greeting or EHLO was a refusal, or the connection was lost.
    Session,
    /// TLS or the certificate.
    Tls,
    /// The login was refused with this code.
    Login(u16),
    /// There was no login that both sides can do.
    NoLogin,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// The envelope cannot be sent, or the connection was lost.
    Envelope,
}

/// What to do when `what` went wrong. `prefix`: how the upstream's properties begin.
pub(super) fn advice(stage: Stage, what: &str, prefix: &str, port: u16) -> String {
    let host = host_property(prefix);
    match stage {
        Stage::Connect if what.contains("refused") => format!(
            "Nothing listens at port {port} there. Is the port in {host} right? Providers take \
            mail at 587 (STARTTLS) or 465 (TLS from the first octet)."
        ),
        Stage::Connect if port == SMTP => format!(
            "Port 25 is probably blocked between here and there: many networks do that. Use port \
            587 or 465 in {host}, or ask for port 25 to be opened."
        ),
        Stage::Connect => format!(
            "Something between here and there drops the connection, or the host is down. May \
            this machine connect to port {port}? Is {host} right?"
        ),
        Stage::Full => "Mail is being delivered over all of them, so the upstream works. For a \
            test try again when there is less mail."
            .to_owned(),
        Stage::WaitsForTls => format!(
            "The server waits for TLS from the first octet, and this relay for its greeting: set \
            {prefix}_tls=implicit, or use the port for STARTTLS (usually 587) in {host}."
        ),
        Stage::Silent => format!(
            "The connection is taken and nothing is said: a firewall or proxy answers in its \
            place, or the server is overloaded. Is {host} right? Some networks treat port 25 so: \
            use 587."
        ),
        Stage::Session => format!(
            "The server takes no session of this machine. Its words say why; often the address \
            is not permitted, or is on a block list. Is {host} the right server?"
        ),
        Stage::Tls => of_tls(what, prefix, &host),
        Stage::Login(code @ 400..500) => format!(
            "The server cannot check the login now ({code}): try again later. If it stays so, \
            ask the provider."
        ),
        Stage::Login(534) => format!(
            "The provider wants a password for applications, not that of the account: make one, \
            and set {prefix}_password. docs/upstreams.md has the steps."
        ),
        Stage::Login(_) => format!(
            "User name or password is wrong, or the account may not send by SMTP. Check \
            {prefix}_username and {prefix}_password; docs/upstreams.md says what each provider \
            wants."
        ),
        Stage::NoLogin => format!(
            "The server and this relay have no login in common at this port. Providers take \
            logins at 587 or 465: check {host}. Without a login unset {prefix}_username."
        ),
        Stage::Sender => "The login works, and this sender may not send. Verify the address or \
            its domain at the provider, or use a sender that belongs to the account."
            .to_owned(),
        Stage::Recipient => "The login works, and the server does not take this recipient. Does \
            it relay for this account, and is the address right?"
            .to_owned(),
        Stage::Envelope => "The login works. Try again; with another sender or recipient if it \
            stays so."
            .to_owned(),
    }
}

/// The property that has the host.
fn host_property(prefix: &str) -> String {
    if prefix == "smart_relay" { prefix.to_owned() } else { format!("{prefix}_host") }
}

fn of_tls(what: &str, prefix: &str, host: &str) -> String {
    let has = |words: &str| what.contains(words);
    if has(NO_STARTTLS) {
        format!(
            "This port has no STARTTLS, or something between here and there removes it (some \
            networks do that at port 25). Use port 587 in {host}, or 465 with TLS from the first \
            octet."
        )
    } else if has(NOT_TLS) {
        format!(
            "The server speaks plain text first, as with STARTTLS: set {prefix}_tls=required, or \
            use the port for TLS from the first octet (usually 465) in {host}."
        )
    } else if has(UNKNOWN_AUTHORITY) {
        format!(
            "If the server is your own, put the certificate of its authority into a file and name \
            it in {prefix}_ca. If it is a public provider, somebody answers in its place."
        )
    } else if has(OTHER_NAME) {
        format!(
            "Write one of the names of the certificate into {host}. An address there is only \
            right if the certificate has it."
        )
    } else if has(EXPIRED) {
        "Who runs the server must renew its certificate. Is the clock of this machine right?"
            .to_owned()
    } else {
        format!("TLS cannot be agreed on. Are the port in {host} and {prefix}_tls right?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_an_advice_that_names_properties() {
        let told = |stage, what: &str, port| advice(stage, what, "smart_relay", port);
        for (stage, what, port, words) in [
            (
                Stage::Connect,
                "connect to x: Connection refused",
                587,
                "Nothing listens at port 587",
            ),
            (Stage::Connect, "connect to x: timed out", 25, "Port 25 is probably blocked"),
            (Stage::Connect, "connect to x: timed out", 587, "connect to port 587"),
            (Stage::WaitsForTls, "", 465, "set smart_relay_tls=implicit"),
            (Stage::Tls, "TLS with x: it does not offer STARTTLS", 25, "no STARTTLS"),
            (Stage::Tls, NOT_TLS, 587, "set smart_relay_tls=required"),
            (Stage::Tls, UNKNOWN_AUTHORITY, 587, "name it in smart_relay_ca"),
            (Stage::Tls, OTHER_NAME, 587, "names of the certificate into smart_relay"),
            (Stage::Tls, EXPIRED, 587, "renew its certificate"),
            (Stage::Tls, "something", 587, "smart_relay_tls right?"),
            (Stage::Login(535), "", 587, "smart_relay_username and smart_relay_password"),
            (Stage::Login(534), "", 587, "a password for applications"),
            (Stage::Login(454), "", 587, "try again later"),
        ] {
            let told = told(stage, what, port);
            assert!(told.contains(words), "{stage:?} {what}: {told}");
        }
        assert!(advice(Stage::Silent, "", "upstream_b", 25).contains("Is upstream_b_host right?"));
    }
}
