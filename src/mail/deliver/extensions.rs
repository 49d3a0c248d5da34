//! The peer's extensions, from its reply to EHLO (RFC 5321 §4.1.1.1).

/// The service extensions used here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// Commands may be sent before the reply to the one before (RFC 2920).
    pub pipelining: bool,
    /// Content may have octets above 127 (RFC 6152).
    pub eight_bit: bool,
    /// Envelope and headers may have UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// The connection can be encrypted (RFC 3207).
    pub starttls: bool,
    /// Parameters of MAIL and RCPT say which notifications are wanted (RFC 3461).
    pub dsn: bool,
    /// The SIZE parameter is understood (RFC 1870).
    pub size: bool,
    /// Octets of a message that the peer accepts, at most; `None` when there is no fixed limit.
    pub size_max: Option<u64>,
    /// Transactions of a session, at most (RFC 9422); `None` when the peer announces no limit.
    pub mail_max: Option<u32>,
    /// The same for the recipients of a transaction.
    pub recipient_max: Option<u32>,
    /// The same for the domains of a transaction's recipients.
    pub recipient_domain_max: Option<u32>,
}

impl Extensions {
    /// Reads the lines of the reply; the first one is a greeting. Keywords are compared without
    /// regard to case.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut known = Self::default();
        for line in lines.skip(1) {
            let mut words = line.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_slice() {
                b"PIPELINING" => known.pipelining = true,
                b"8BITMIME" => known.eight_bit = true,
                b"SMTPUTF8" => known.smtputf8 = true,
                b"DSN" => known.dsn = true,
                b"STARTTLS" => known.starttls = true,
                b"SIZE" => {
                    known.size = true;
                    let limit = words
                        .next()
                        .and_then(|word| std::str::from_utf8(word).ok())
                        .and_then(|word| word.parse().ok());
                    known.size_max = limit.filter(|limit| *limit != 0);
                }
                b"LIMITS" => words.for_each(|word| known.note_limit(word)),
                _ => {}
            }
        }
        known
    }

    /// A limit of RFC 9422 §4: a name and a number of one to six digits that does not begin with 0.
    /// Other names and other values are ignored.
    fn note_limit(&mut self, word: &[u8]) {
        let Some((name, value)) = std::str::from_utf8(word).ok().and_then(|w| w.split_once('='))
        else {
            return;
        };
        let is_number = (1..=6).contains(&value.len())
            && value.bytes().all(|octet| octet.is_ascii_digit())
            && !value.starts_with('0');
        let Some(number) = value.parse().ok().filter(|_| is_number) else { return };
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => self.mail_max = Some(number),
            "RCPTMAX" => self.recipient_max = Some(number),
            "RCPTDOMAINMAX" => self.recipient_domain_max = Some(number),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_in_any_case_but_not_in_the_greeting() {
        let lines =
            ["PIPELINING 8BITMIME", "size  1000 ", "StartTLS", "8BITMIME", "AUTH PLAIN", ""];
        let known = Extensions::parse(lines.iter().map(|line| line.as_bytes()));
        let expected = Extensions {
            starttls: true,
            eight_bit: true,
            size: true,
            size_max: Some(1000),
            ..Extensions::default()
        };
        assert_eq!(known, expected);
    }

    #[test]
    fn limits_are_read_and_wrong_ones_are_none() {
        let read = |text: &str| {
            let known = Extensions::parse([b"x".as_slice(), text.as_bytes()].into_iter());
            (known.mail_max, known.recipient_max, known.recipient_domain_max)
        };
        let all = "LIMITS RCPTMAX=20 MAILMAX=5  rcptdomainmax=1 OTHER=7";
        assert_eq!(read(all), (Some(5), Some(20), Some(1)));
        for wrong in ["0", "", "05", "-1", "+1", "1000000", "many", "5x", "5=5"] {
            let text = format!("LIMITS MAILMAX={wrong} RCPTMAX=20");
            assert_eq!(read(&text), (None, Some(20), None), "{wrong}");
        }
        for none in ["LIMITS", "LIMITS MAILMAX", "LIMITSMAILMAX=1", "SIZE MAILMAX=1"] {
            assert_eq!(read(none), (None, None, None), "{none}");
        }
    }

    #[test]
    fn a_size_of_nothing_is_no_limit() {
        for text in ["SIZE", "SIZE 0", "SIZE many", "SIZE 99999999999999999999999"] {
            let known = Extensions::parse([b"x".as_slice(), text.as_bytes()].into_iter());
            assert_eq!((known.size, known.size_max), (true, None), "{text}");
        }
    }
}
