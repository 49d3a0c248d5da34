//! The messages of XOAUTH2 and OAUTHBEARER, whose client sends an OAuth2 token (RFC 6750).
//!
//! Both refuse in two steps: the server says why in JSON, as a challenge; the client answers with
//! nothing (XOAUTH2) or one control character (OAUTHBEARER, RFC 7628 §3.2.3), and only then hears
//! that it failed.

use super::encoding::checked_name;
use super::failure::SaslFailure;

/// What the client of OAUTHBEARER answers to the server's refusal.
pub(super) const ACKNOWLEDGED: &[u8] = b"\x01";

/// The server's refusal in XOAUTH2.
pub(super) const XOAUTH2_REFUSAL: &str = r#"{"status":"401","schemes":"bearer","scope":""}"#;

/// The server's refusal in OAUTHBEARER (RFC 7628 §3.2.2).
pub(super) const OAUTHBEARER_REFUSAL: &str = r#"{"status":"invalid_token"}"#;

/// The client's message of XOAUTH2.
pub(super) fn xoauth2(name: &str, token: &str) -> String {
    format!("user={name}\x01auth=Bearer {token}\x01\x01")
}

/// The client's message of OAUTHBEARER (RFC 7628 §3.1).
pub(super) fn oauthbearer(name: &str, token: &str, host: &str, port: u16) -> String {
    let name = name.replace('=', "=3D").replace(',', "=2C");
    format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01")
}

/// Name and token of XOAUTH2's message.
pub(super) fn parse_xoauth2(message: &str) -> Result<(String, String), SaslFailure> {
    let name = field(message, "user=").ok_or(SaslFailure::Malformed("there is no user"))?;
    checked_name(name)?;
    Ok((name.to_owned(), bearer(message)?))
}

/// Name (`None`: the token's) and token of OAUTHBEARER's message.
pub(super) fn parse_oauthbearer(message: &str) -> Result<(Option<String>, String), SaslFailure> {
    let mut parts = message.splitn(3, ',');
    let (flag, identity, rest) = (parts.next(), parts.next(), parts.next());
    let rest = rest.filter(|rest| rest.starts_with('\x01'));
    let rest = rest.ok_or(SaslFailure::Malformed("the message has no GS2 header"))?;
    match flag {
        Some("n" | "y") => {}
        Some(flag) if flag.starts_with("p=") => return Err(SaslFailure::ChannelBinding),
        _ => return Err(SaslFailure::Malformed("the message has no GS2 header")),
    }
    let name = match identity {
        None | Some("") => None,
        Some(identity) => {
            let name = identity.strip_prefix("a=").map(unescaped);
            let name = name.ok_or(SaslFailure::Malformed("the identity is not a=name"))?;
            checked_name(&name)?;
            Some(name)
        }
    };
    Ok((name, bearer(rest)?))
}

fn bearer(message: &str) -> Result<String, SaslFailure> {
    let auth = field(message, "auth=").ok_or(SaslFailure::Malformed("there is no token"))?;
    let (scheme, token) =
        auth.split_once(' ').ok_or(SaslFailure::Malformed("there is no token"))?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    if !is_bearer || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(SaslFailure::Malformed("there is no bearer token"));
    }
    Ok(token.to_owned())
}

/// The value of one of the fields, which end with a control character; the message ends with two.
fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let fields = message.strip_suffix("\x01\x01")?;
    fields.split('\x01').find_map(|field| field.strip_prefix(name))
}

fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7628 §4.1; the example of Google's page on XOAUTH2.
    #[test]
    fn the_examples_of_the_standards_are_reproduced() {
        let wanted = "n,a=user@example.com,\x01host=server.example.com\x01port=587\x01\
            auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        assert_eq!(oauthbearer("user@example.com", token, "server.example.com", 587), wanted);
        let parsed = parse_oauthbearer(wanted).unwrap();
        assert_eq!(parsed, (Some("user@example.com".to_owned()), token.to_owned()));
        let wanted = "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhbHRhdml\
            zdGEuY29tCg\x01\x01";
        let token = "ya29.vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg";
        assert_eq!(xoauth2("someuser@example.com", token), wanted);
        let parsed = parse_xoauth2(wanted).unwrap();
        assert_eq!(parsed, ("someuser@example.com".to_owned(), token.to_owned()));
    }

    #[test]
    fn odd_messages_are_refused_and_odd_names_survive() {
        let odd = oauthbearer("a,b=c", "t", "h", 25);
        assert_eq!(parse_oauthbearer(&odd).unwrap().0.as_deref(), Some("a,b=c"));
        assert_eq!(parse_oauthbearer("n,,\x01auth=bearer t\x01\x01").unwrap().0, None);
        for bad in [
            "",
            "n,,",
            "n,,\x01\x01",
            "n,,auth=Bearer t\x01\x01",
            "x,,\x01auth=Bearer t\x01\x01",
            "p=tls-unique,,\x01auth=Bearer t\x01\x01",
            "n,a=,\x01auth=Bearer t\x01\x01",
            "n,b=c,\x01auth=Bearer t\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Basic t\x01\x01",
            "n,,\x01auth=Bearer t\x01",
        ] {
            assert!(parse_oauthbearer(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "user=a\x01\x01", "auth=Bearer t\x01\x01", "user=\x01auth=Bearer t\x01\x01"]
        {
            assert!(parse_xoauth2(bad).is_err(), "{bad:?}");
        }
    }
}
