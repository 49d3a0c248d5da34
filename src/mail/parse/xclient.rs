//! The attributes of XCLIENT: whose session a proxy passes on.
//!
//! In: the argument of the command. Out: an [`XclientOverride`]. Pure, fuzzed. Limits:
//! [`XclientOverride::TEXT_MAX`] octets of a name; the line has the length of any command.
//! Security: nothing is believed here; who may send the command is decided elsewhere. Values are
//! printable ASCII (and UTF-8 in names) after decoding, so that no control character gets any
//! further. Source: Postfix' XCLIENT_README; xtext: RFC 3461 §4.

use super::command_error::CommandError;
use std::net::{IpAddr, Ipv6Addr};

/// What a proxy says of an attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// Nothing: what is known stays.
    #[default]
    Absent,
    /// It does not know it (`[UNAVAILABLE]`, `[TEMPUNAVAIL]`).
    Unknown,
    /// This value.
    Value(T),
}

impl<T> Given<T> {
    fn or(self, earlier: Self) -> Self {
        match self {
            Self::Absent => earlier,
            given => given,
        }
    }
}

/// The client that a proxy names, as far as it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XclientOverride {
    /// Its address.
    pub address: Given<IpAddr>,
    /// Its port.
    pub port: Given<u16>,
    /// The name that it gave in EHLO or HELO.
    pub helo: Given<String>,
    /// Whether it said EHLO (`ESMTP`).
    pub extended: Given<bool>,
    /// The user as whom it has logged in at the proxy.
    pub login: Given<String>,
}

impl XclientOverride {
    /// The attributes, as EHLO announces them. NAME, DESTADDR and DESTPORT are checked for their
    /// form and not used: nothing here is decided by the name of a client or by the address that it
    /// has connected to.
    pub const ATTRIBUTES: [&str; 8] =
        ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];

    /// Octets of a name, at most; a longer one is refused.
    pub const TEXT_MAX: usize = 255;

    /// Reads the argument.
    ///
    /// # Errors
    /// [`CommandError::Xclient`] when there is no attribute, an unknown one, one twice, or a value
    /// that is not valid.
    pub fn parse(argument: &str) -> Result<Self, CommandError> {
        let (mut found, mut seen) = (Self::default(), Vec::new());
        for word in argument.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or(FORM)?;
            let is_name = |known: &&&str| name.eq_ignore_ascii_case(known);
            let name = Self::ATTRIBUTES.iter().find(is_name).ok_or(FORM)?;
            if seen.contains(&name) {
                return Err(CommandError::Xclient("An attribute of XCLIENT is there twice"));
            }
            seen.push(name);
            found.take(name, &decoded(value).ok_or(VALUE)?)?;
        }
        if seen.is_empty() { Err(FORM) } else { Ok(found) }
    }

    /// Whether it says something that decides about relaying.
    pub fn names_client(&self) -> bool {
        self.address != Given::Absent || self.login != Given::Absent
    }

    /// This one, and of an `earlier` one what this one does not say.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        Self {
            address: self.address.or(earlier.address),
            port: self.port.or(earlier.port),
            helo: self.helo.or(earlier.helo),
            extended: self.extended.or(earlier.extended),
            login: self.login.or(earlier.login),
        }
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), CommandError> {
        match name {
            "ADDR" => self.address = given(value, address)?,
            "PORT" => self.port = given(value, port)?,
            "HELO" => self.helo = given(value, text)?,
            "LOGIN" => self.login = given(value, text)?,
            "PROTO" => self.extended = given(value, protocol)?,
            "DESTADDR" => {
                given(value, address)?;
            }
            "DESTPORT" => {
                given(value, port)?;
            }
            // NAME.
            _ => {
                given(value, text)?;
            }
        }
        Ok(())
    }
}

const FORM: CommandError =
    CommandError::Xclient("Write XCLIENT and attributes with values; EHLO lists the attributes");

const VALUE: CommandError = CommandError::Xclient("A value of XCLIENT is not valid");

fn given<T>(value: &str, read: fn(&str) -> Option<T>) -> Result<Given<T>, CommandError> {
    if ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Ok(Given::Unknown);
    }
    read(value).map(Given::Value).ok_or(VALUE)
}

/// IPv4, or `IPV6:` and IPv6; mapped IPv4 addresses are IPv4.
fn address(value: &str) -> Option<IpAddr> {
    let (prefix, rest) = value.split_at_checked(5).unwrap_or((value, ""));
    if prefix.eq_ignore_ascii_case("IPV6:") {
        return rest.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical());
    }
    value.parse().ok().map(IpAddr::V4)
}

fn port(value: &str) -> Option<u16> {
    value.parse().ok().filter(|_| value.bytes().all(|octet| octet.is_ascii_digit()))
}

fn protocol(value: &str) -> Option<bool> {
    match () {
        () if value.eq_ignore_ascii_case("ESMTP") => Some(true),
        () if value.eq_ignore_ascii_case("SMTP") => Some(false),
        () => None,
    }
}

fn text(value: &str) -> Option<String> {
    let fits = !value.is_empty()
        && value.len() <= XclientOverride::TEXT_MAX
        && !value.contains(|c: char| c.is_control() || c.is_whitespace());
    fits.then(|| value.to_owned())
}

/// What xtext stands for: `+` and two hexadecimal digits, in either case, are the octet of this
/// number. `None`: it is no xtext, or not UTF-8.
fn decoded(value: &str) -> Option<String> {
    let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
    let (mut octets, mut out) = (value.bytes(), Vec::with_capacity(value.len()));
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'+' => u8::try_from(16 * digit(octets.next())? + digit(octets.next())?).ok()?,
            octet => octet,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Option<XclientOverride> {
        XclientOverride::parse(argument).ok()
    }

    #[test]
    fn attributes_are_read_as_proxies_write_them() {
        let value = |text: &str| Given::Value(text.to_owned());
        let all = "NAME=spike.example ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=a+2Bb \
            LOGIN=anna DESTADDR=IPV6:2001:db8::1 DESTPORT=25";
        let found = read(all).unwrap();
        assert_eq!(found.address, Given::Value("192.0.2.7".parse().unwrap()));
        assert_eq!((found.port, found.extended), (Given::Value(4711), Given::Value(true)));
        assert_eq!((found.helo, found.login), (value("a+b"), value("anna")));
        let six = read("addr=ipv6:::ffff:192.0.2.7").unwrap();
        assert_eq!(six.address, Given::Value("192.0.2.7".parse().unwrap()));
        // Postfix' client does not know everything.
        let unknown = read("NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] PORT=[unavailable] PROTO=SMTP");
        let unknown = unknown.unwrap();
        assert_eq!((unknown.address, unknown.port), (Given::Unknown, Given::Unknown));
        assert_eq!((unknown.extended, unknown.helo), (Given::Value(false), Given::Absent));
        assert_eq!(read("HELO=b+C3+BCro").unwrap().helo, value("b\u{fc}ro"));
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        let long = format!("HELO={}", "x".repeat(XclientOverride::TEXT_MAX + 1));
        for wrong in [
            "",
            " ",
            "ADDR",
            "ADDR=",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=192.0.2",
            "ADDR=192.0.2.1 addr=192.0.2.2",
            "ADDR=[SOMETHING]",
            "PORT=65536",
            "PORT=+2B35",
            "PORT=-1",
            "PROTO=LMTP",
            "HELO=",
            "HELO=a+0Ab",
            "HELO=a+20b",
            "HELO=a+2",
            "HELO=a+ZZ",
            "LOGIN=+FF",
            "DESTADDR=x",
            "IDENT=7",
            "192.0.2.1",
            &long,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
