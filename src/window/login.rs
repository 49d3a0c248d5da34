//! The user name and password that the windows ask for (RFC 7617).

use super::base64;
use std::fmt;
use std::hint::black_box;

/// Who may look: properties `username` and `password`.
#[derive(Clone)]
pub struct Login {
    /// `username:password`, as the browser sends them.
    secret: Vec<u8>,
}

impl Login {
    /// Asks for these two. An empty password is a password too.
    pub fn new(username: &str, password: &str) -> Self {
        Self { secret: format!("{username}:{password}").into_bytes() }
    }

    /// Whether an `Authorization` header opens the door. Takes the same time for every wrong answer of one length.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        authorization.and_then(credentials).is_some_and(|given| same(&given, &self.secret))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| base64::decode(rest.trim()))?
}

/// Compares without telling by its duration where the first difference is; the length given is the asker's own.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != wanted.len());
    for (place, byte) in given.iter().enumerate() {
        difference |= byte ^ black_box(wanted.get(place).copied().unwrap_or(!byte));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pair_opens_the_door() {
        let login = Login::new("operator", "a:b ü");
        let with = |pair: &str| login.admits(Some(format!("Basic {}", base64::encode(pair.as_bytes())).as_bytes()));
        assert!(with("operator:a:b ü"));
        for wrong in ["", ":", "operator", "operator:", "operator:a:b", "operator:a:b ü ", "Operator:a:b ü", "operator:a:b u"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        let right = base64::encode("operator:a:b ü".as_bytes());
        assert!(login.admits(Some(format!("bASIC  {right}").as_bytes())));
        for header in
            [right.clone(), format!("Bearer {right}"), format!("Basic {right}!"), "Basic".into(), "Basic \u{0}".into()]
        {
            assert!(!login.admits(Some(header.as_bytes())), "{header}");
        }
        assert!(!login.admits(None));
        assert!(!login.admits(Some(b"Basic \xff")));
    }

    /// A comparison that stops at the first difference would be thousands of times faster here.
    #[test]
    fn the_place_of_the_first_difference_takes_no_other_time() {
        let wanted = vec![b'x'; 1 << 20];
        let quickest = |place: usize| {
            let mut given = wanted.clone();
            given[place] = b'y';
            let runs = (0..15).map(|_| {
                let begin = std::time::Instant::now();
                assert!(!same(&given, &wanted));
                begin.elapsed()
            });
            runs.min().unwrap()
        };
        let (first, last) = (quickest(0), quickest(wanted.len() - 1));
        assert!(first * 4 > last && last * 4 > first, "{first:?} and {last:?}");
        assert!(same(&wanted, &wanted));
    }

    #[test]
    fn it_never_shows_the_password() {
        assert_eq!(format!("{:?}", Login::new("operator", "secret")), "Login(***)");
    }
}
