//! The messages of SCRAM: attributes of one letter, separated by commas (RFC 5802 §5, §7).

use super::failure::SaslFailure;

/// The attributes of a message, in their order.
pub(super) struct Attributes<'a>(std::str::Split<'a, char>);

impl<'a> Attributes<'a> {
    /// Of a whole message.
    pub(super) fn of(message: &'a str) -> Self {
        Self(message.split(','))
    }

    /// The value of the next attribute, which must be this one.
    pub(super) fn take(&mut self, name: char) -> Result<&'a str, SaslFailure> {
        let attribute = self.0.next();
        attribute
            .and_then(|attribute| attribute.strip_prefix(name)?.strip_prefix('='))
            .ok_or(SaslFailure::Malformed("a SCRAM attribute is missing or at the wrong place"))
    }
}

/// The client's first message.
pub(super) struct ClientFirst<'a> {
    /// `n,,` or the like, with the identity to act for.
    pub(super) header: &'a str,
    /// Everything behind it.
    pub(super) bare: &'a str,
    /// Who logs in.
    pub(super) name: String,
    /// The client's nonce.
    pub(super) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads it; the identity must be nobody's or the client's own.
    pub(super) fn parse(message: &'a str) -> Result<Self, SaslFailure> {
        const NO_HEADER: SaslFailure = SaslFailure::Malformed("the message has no GS2 header");
        let (flag, rest) = message.split_once(',').ok_or(NO_HEADER)?;
        match flag {
            // `y`: the client could bind the channel and saw that we cannot, which is true.
            "n" | "y" => {}
            flag if flag.starts_with("p=") => return Err(SaslFailure::ChannelBinding),
            _ => return Err(NO_HEADER),
        }
        let (identity, bare) = rest.split_once(',').ok_or(NO_HEADER)?;
        let header = message.get(..message.len() - bare.len()).ok_or(NO_HEADER)?;
        let mut attributes = Attributes::of(bare);
        let name = unescaped(attributes.take('n')?)?;
        let nonce = attributes.take('r')?;
        if nonce.is_empty() || !is_printable(nonce) {
            return Err(SaslFailure::Malformed("the nonce is empty or not printable"));
        }
        match identity.strip_prefix("a=").map(unescaped).transpose()? {
            None if !identity.is_empty() => Err(NO_HEADER),
            // GNU SASL writes an identity that is not set so.
            Some(identity) if !identity.is_empty() && identity != name => {
                Err(SaslFailure::OtherIdentity)
            }
            _ => Ok(Self { header, bare, name, nonce }),
        }
    }
}

/// A name as a message has it.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// Visible ASCII.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn unescaped(name: &str) -> Result<String, SaslFailure> {
    let mut pieces = name.split('=');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(SaslFailure::Malformed("the name has a wrong escape")),
        };
        whole.push(sign);
        whole.push_str(rest);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        for name in ["anna", "a,b=c", "=2C", "==,,", "ü"] {
            assert_eq!(unescaped(&escaped(name)).as_deref(), Ok(name));
        }
        for bad in ["=", "a=b", "=2c", "=3"] {
            assert!(unescaped(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_first_message_is_taken_apart_or_refused() {
        let first = ClientFirst::parse("n,a=anna,n=anna,r=abc,x=later").ok().unwrap();
        assert_eq!((first.header, first.name.as_str(), first.nonce), ("n,a=anna,", "anna", "abc"));
        assert_eq!(first.bare, "n=anna,r=abc,x=later");
        for (bad, why) in [
            ("p=tls-unique,,n=anna,r=abc", SaslFailure::ChannelBinding),
            ("n,a=ben,n=anna,r=abc", SaslFailure::OtherIdentity),
        ] {
            assert_eq!(ClientFirst::parse(bad).err(), Some(why), "{bad}");
        }
        for bad in
            ["", "n", "n,", "n,,", "n,,n=anna", "n,,m=x,n=anna,r=a", "n,,n=anna,r=", "q,,n=a"]
        {
            assert!(ClientFirst::parse(bad).is_err(), "{bad}");
        }
        assert!(ClientFirst::parse("n,b=anna,n=anna,r=abc").is_err());
        assert!(ClientFirst::parse("n,,n=anna,r=a\u{e4}").is_err());
    }
}
