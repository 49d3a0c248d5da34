//! `--fail`: errors of a sink on demand.

use std::str::FromStr;

/// One failure requested by `--fail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedFailure {
    pub(super) stage: SinkStage,
    pub(super) injected: InjectedReply,
    pub(super) percent: u8,
    /// The domain of the recipients concerned, in lower case; `None` = all.
    pub(super) domain: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkStage {
    Connect,
    Greeting,
    Hello,
    Mail,
    Recipient,
    Data,
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InjectedReply {
    Reply(u16),
    Drop,
    Hang,
}

impl SinkStage {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connect" => Self::Connect,
            "greeting" => Self::Greeting,
            "ehlo" => Self::Hello,
            "mail" => Self::Mail,
            "rcpt" => Self::Recipient,
            "data" => Self::Data,
            "dot" => Self::Dot,
            _ => return None,
        })
    }
}

impl FromStr for InjectedFailure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not STAGE=WHAT[:PERCENT][@DOMAIN], such as rcpt=450:30, dot=drop or \
                greeting=554"
            )
        };
        let (stage, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (rest, domain) = match rest.split_once('@') {
            Some((_, "")) => return Err(wrong()),
            Some((rest, domain)) => (rest, Some(domain.to_lowercase().into_boxed_str())),
            None => (rest, None),
        };
        let (what, percent) = match rest.split_once(':') {
            Some((what, percent)) => (
                what,
                percent
                    .parse()
                    .ok()
                    .filter(|percent| (1..=100).contains(percent))
                    .ok_or_else(wrong)?,
            ),
            None => (rest, 100),
        };
        let stage = SinkStage::named(stage).ok_or_else(wrong)?;
        if domain.is_some() && stage != SinkStage::Recipient {
            return Err(format!("'{text}': a domain is known at stage rcpt only"));
        }
        let injected = match what {
            "drop" => InjectedReply::Drop,
            "hang" => InjectedReply::Hang,
            _ if stage == SinkStage::Connect => {
                return Err(format!("'{text}': before the greeting there is only drop or hang"));
            }
            code => InjectedReply::Reply(
                code.parse().ok().filter(|code| (400..=599).contains(code)).ok_or_else(wrong)?,
            ),
        };
        Ok(Self { stage, injected, percent, domain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_and_nonsense_is_not() {
        let read = |text: &str| text.parse::<InjectedFailure>();
        assert_eq!(
            read("rcpt=450:30"),
            Ok(InjectedFailure {
                stage: SinkStage::Recipient,
                injected: InjectedReply::Reply(450),
                percent: 30,
                domain: None
            })
        );
        assert_eq!(
            read("rcpt=550:5@Busy.example"),
            Ok(InjectedFailure {
                stage: SinkStage::Recipient,
                injected: InjectedReply::Reply(550),
                percent: 5,
                domain: Some("busy.example".into())
            })
        );
        assert_eq!(
            read("dot=drop"),
            Ok(InjectedFailure {
                stage: SinkStage::Dot,
                injected: InjectedReply::Drop,
                percent: 100,
                domain: None
            })
        );
        assert_eq!(
            read("connect=hang:1"),
            Ok(InjectedFailure {
                stage: SinkStage::Connect,
                injected: InjectedReply::Hang,
                percent: 1,
                domain: None
            })
        );
        for bad in [
            "",
            "rcpt",
            "rcpt=",
            "rcpt=250",
            "rcpt=600",
            "rcpt=450:0",
            "rcpt=450:101",
            "x=450",
            "connect=450",
            "dot=fall",
            "rcpt=450@",
            "dot=554@busy.example",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
