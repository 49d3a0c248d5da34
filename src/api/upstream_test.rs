//! `POST /api/v1/upstreams/NAME/test`: the dialogue of a delivery with an upstream, without a mail.
//!
//! In: an [`UpstreamTestOrder`], which may be empty. Out: an [`UpstreamTestView`]. Limits: one test
//! at a time, and as long as the relay takes for it. Security: needs the right to give orders; what
//! is secret is masked by the relay, the rest is untrusted text.

use super::state::AppState;
use super::{HttpResponse, error, orders};
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{
    Address, NoUpstreamTest, TestEnvelope, UpstreamQuestion, UpstreamTestReport, UpstreamTestStep,
};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

/// What is tried after the login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTestOrder {
    /// The sender; empty is the null sender.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The recipient; empty: the dialogue ends after the login.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
}

/// What came of a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamTestView {
    /// The name of the upstream.
    pub upstream: String,
    /// Its host, as in the property.
    pub host: String,
    /// Whether it would take mail of this relay.
    pub well: bool,
    /// What is wrong; empty where nothing is. It may quote the peer.
    pub problem: String,
    /// What to do about it; empty where nothing is wrong.
    pub advice: String,
    /// How long it took.
    pub seconds: f64,
    /// The dialogue.
    pub steps: Vec<UpstreamTestStepView>,
}

/// One line of the dialogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamTestStepView {
    /// How long after the begin.
    pub seconds: f64,
    /// Who said it.
    pub kind: UpstreamTestSide,
    /// The line; untrusted text without control characters.
    pub text: String,
}

/// Who said a line of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamTestSide {
    /// This relay.
    Sent,
    /// The upstream.
    Received,
    /// Nobody: a remark.
    Note,
}

impl UpstreamTestSide {
    /// The mark before a line, as in transcripts.
    pub fn mark(self) -> char {
        match self {
            Self::Sent => '>',
            Self::Received => '<',
            Self::Note => '*',
        }
    }
}

/// Why there was no test.
pub(crate) enum TestRefusal {
    /// An address is none; with the words.
    Address(String),
    /// The relay's reason.
    Relay(NoUpstreamTest),
}

impl TestRefusal {
    /// Status and words.
    pub(crate) fn answer(&self) -> (StatusCode, String) {
        match self {
            Self::Address(words) => (StatusCode::BAD_REQUEST, words.clone()),
            Self::Relay(reason) => {
                let status = match reason {
                    NoUpstreamTest::Unknown => StatusCode::NOT_FOUND,
                    NoUpstreamTest::Busy => StatusCode::CONFLICT,
                    NoUpstreamTest::CutOff => StatusCode::SERVICE_UNAVAILABLE,
                };
                (status, reason.to_string())
            }
        }
    }
}

/// `POST /api/v1/upstreams/NAME/test`
pub(super) async fn order(
    app: &AppState,
    visit: &RequestHead<'_>,
    name: &str,
    content: Incoming,
) -> HttpResponse {
    let content = match orders::content(visit, content).await {
        Ok(content) => content,
        Err(answer) => return answer,
    };
    let order = match &content[..] {
        [] => Ok(UpstreamTestOrder::default()),
        json => serde_json::from_slice::<serde_json::Map<_, _>>(json)
            .and_then(|object| serde_json::from_value(object.into())),
    };
    let order = match order {
        Ok(order) => order,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("invalid order: {fault}")),
    };
    match test(app, visit, name, &order).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(refusal) => {
            let (status, words) = refusal.answer();
            error(status, &words)
        }
    }
}

/// For programs and for the page. Whoever calls has shown the right to give orders.
pub(crate) async fn test(
    app: &AppState,
    visit: &RequestHead<'_>,
    name: &str,
    order: &UpstreamTestOrder,
) -> Result<UpstreamTestView, TestRefusal> {
    let question = UpstreamQuestion {
        upstream: name.to_owned(),
        envelope: envelope(order).map_err(TestRefusal::Address)?,
        principal: visit.principal(),
    };
    let report = app.views.upstream_test.test(question).await.map_err(TestRefusal::Relay)?;
    Ok(view(name, report))
}

fn envelope(order: &UpstreamTestOrder) -> Result<Option<TestEnvelope>, String> {
    let address =
        |field: &str, text: &str| Address::parse(text).map_err(|error| format!("{field}: {error}"));
    let (from, to) = (order.from.trim(), order.to.trim());
    match (from, to) {
        ("" | "<>", "") => Ok(None),
        (_, "") => Err("to: a sender is tried with a recipient".to_owned()),
        ("" | "<>", to) => Ok(Some(TestEnvelope { from: None, to: address("to", to)? })),
        (from, to) => {
            Ok(Some(TestEnvelope { from: Some(address("from", from)?), to: address("to", to)? }))
        }
    }
}

fn view(name: &str, report: UpstreamTestReport) -> UpstreamTestView {
    let well = report.problem.is_none();
    let (problem, advice) =
        report.problem.map(|problem| (problem.what, problem.advice)).unwrap_or_default();
    UpstreamTestView {
        upstream: name.to_owned(),
        host: report.host,
        well,
        problem,
        advice,
        seconds: report.took.as_secs_f64(),
        steps: report.steps.iter().map(step).collect(),
    }
}

fn step(step: &UpstreamTestStep) -> UpstreamTestStepView {
    let (kind, text) = match step.line.split_at_checked(2) {
        Some(("> ", text)) => (UpstreamTestSide::Sent, text),
        Some(("< ", text)) => (UpstreamTestSide::Received, text),
        Some(("* ", text)) => (UpstreamTestSide::Note, text),
        _ => (UpstreamTestSide::Note, &*step.line),
    };
    UpstreamTestStepView { seconds: step.at.as_secs_f64(), kind, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_envelope_needs_a_recipient() {
        let order = |from: &str, to: &str| {
            envelope(&UpstreamTestOrder { from: from.into(), to: to.into() })
        };
        assert!(order("", "").unwrap().is_none());
        assert!(order("anna@here.example", "").is_err());
        assert!(order("anna", "bert@there.example").unwrap_err().starts_with("from: "));
        assert!(order("<>", "bert@there.example").unwrap().unwrap().from.is_none());
        let both = order("anna@here.example", " bert@there.example ").unwrap().unwrap();
        assert_eq!(both.to.as_str(), "bert@there.example");
    }

    #[test]
    fn a_line_is_of_one_side() {
        let told = |line: &str| {
            let step = step(&UpstreamTestStep { at: Duration::ZERO, line: line.into() });
            (step.kind, step.text)
        };
        assert_eq!(told("> EHLO a"), (UpstreamTestSide::Sent, "EHLO a".into()));
        assert_eq!(told("< 250 ok"), (UpstreamTestSide::Received, "250 ok".into()));
        assert_eq!(told("* …"), (UpstreamTestSide::Note, "…".into()));
        assert_eq!(told("é"), (UpstreamTestSide::Note, "é".into()));
    }
}
