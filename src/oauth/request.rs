//! One request of an access token.
//!
//! In: the configuration, and the refresh token where there is one. Out: a [`Grant`], or a
//! [`TokenFailure`] in words. Limits: [`PATIENCE`] for all of it; [`ANSWER_MAX`] octets of an
//! answer; [`TOKEN_MAX`] of a token; [`WORDS_MAX`] characters of what the endpoint says. Security:
//! what it repeats of our secrets is masked; redirections are not followed, because they would
//! carry the secrets to another place. Source: RFC 6749 §2.3.1 (the client in the body), §4.4,
//! §5, §6.

use super::config::TokenConfig;
use crate::ground::credential::secret::{MASK, Secret};
use crate::ground::credential::token_source::TokenFailure;
use crate::ground::http::{self, ConnectError};
use crate::ground::text::harmless;
use crate::ground::tls;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Time limit of a request, including DNS look-up and handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets of an answer, at most.
const ANSWER_MAX: usize = 64 * 1024;

/// Octets of a token, at most: what the login takes.
const TOKEN_MAX: usize = 8192;

/// Characters of what the endpoint says, at most.
const WORDS_MAX: usize = 300;

/// Secrets that are shorter are not searched for in answers: they would hide ordinary words.
const SEARCHED_MIN: usize = 4;

/// Seconds for which a token counts as valid where the endpoint does not say it.
const USUAL_LIFE: u32 = 3600;

/// Seconds for which a token counts as valid, at most.
const LIFE_MAX: u32 = 86_400;

/// What the endpoint gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) token: Secret,
    /// Seconds.
    pub(super) life: u32,
    /// A refresh token in place of the one that was sent.
    pub(super) refresh_token: Option<Secret>,
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    /// A number; some endpoints write it as a string.
    #[serde(default)]
    expires_in: Value,
    refresh_token: Option<String>,
}

/// RFC 6749 §5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("it did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request could not be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("its answer is longer than {ANSWER_MAX} octets, or was cut off")]
    Answer,
}

/// Requests a token.
///
/// # Errors
/// There is none; the failure says whether the endpoint refuses us, and what it said.
pub(super) async fn fetch(
    config: &TokenConfig,
    refresh: Option<&Secret>,
) -> Result<Grant, TokenFailure> {
    let site = config.endpoint.site();
    let answer = timeout(PATIENCE, ask(config, form(config, refresh)))
        .await
        .unwrap_or(Err(RequestError::Slow(PATIENCE)));
    let (status, content) = answer.map_err(|error| TokenFailure {
        is_refusal: false,
        text: format!("no access token from {site}: {error}"),
    })?;
    if status == StatusCode::OK {
        return granted(&content).map_err(|why| TokenFailure {
            is_refusal: false,
            text: format!("no access token from {site}: {why}"),
        });
    }
    let secrets: Vec<&str> =
        config.client_secret.iter().chain(refresh).map(Secret::expose).collect();
    Err(refused(&site, status, &content, &secrets))
}

/// The content of the request.
fn form(config: &TokenConfig, refresh: Option<&Secret>) -> String {
    let mut form = Serializer::new(String::new());
    match refresh {
        Some(token) => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.expose());
        }
        None => drop(form.append_pair("grant_type", "client_credentials")),
    }
    form.append_pair("client_id", &config.client_id);
    if let Some(secret) = &config.client_secret {
        form.append_pair("client_secret", secret.expose());
    }
    if let Some(scope) = &config.scope {
        form.append_pair("scope", scope);
    }
    form.finish()
}

async fn ask(config: &TokenConfig, form: String) -> Result<(StatusCode, Bytes), RequestError> {
    let to = &config.endpoint;
    let request: Request<Full<Bytes>> = http::request(Method::POST, &to.authority, &to.target)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::from(form)))?;
    let (stream, address) = http::connect(&to.host, to.port, |_| true).await?;
    let reply = if to.tls {
        let name = tls::server_name(&to.host, address);
        let connector = TlsConnector::from(config.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(RequestError::Tls)?;
        http::send(stream, request).await?
    } else {
        http::send(stream, request).await?
    };
    let mut reply = reply;
    let status = reply.response.status();
    let content = Limited::new(reply.response.body_mut(), ANSWER_MAX).collect().await;
    Ok((status, content.map_err(|_| RequestError::Answer)?.to_bytes()))
}

/// The grant of a successful answer, or what is wrong with it.
fn granted(content: &[u8]) -> Result<Grant, &'static str> {
    // The error of the parser could tell a part of the content.
    let answer: Answer = serde_json::from_slice(content)
        .map_err(|_| "its answer is no JSON with an access_token")?;
    let is_bearer = answer.token_type.is_none_or(|kind| kind.trim().eq_ignore_ascii_case("bearer"));
    if !is_bearer {
        return Err("it gives tokens of another type than Bearer");
    }
    let token = answer.access_token;
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err("its access_token is empty, or has other characters than a token has");
    }
    if token.len() > TOKEN_MAX {
        return Err("its access_token is longer than a login can be");
    }
    let life = match &answer.expires_in {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let life = life.map_or(USUAL_LIFE, |life: u64| u32::try_from(life).unwrap_or(LIFE_MAX));
    let refresh_token = answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
    Ok(Grant { token: Secret::new(token), life: life.min(LIFE_MAX), refresh_token })
}

/// An answer other than 200.
fn refused(site: &str, status: StatusCode, content: &[u8], secrets: &[&str]) -> TokenFailure {
    let refusal: Option<Refusal> = serde_json::from_slice(content).ok();
    let is_later = |error: &str| matches!(error, "server_error" | "temporarily_unavailable");
    let is_refusal = status.is_client_error()
        && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        && !refusal.as_ref().is_some_and(|refusal| is_later(&refusal.error));
    let said = match refusal {
        Some(Refusal { error, error_description: Some(more) }) => format!("{error}: {more}"),
        Some(Refusal { error, error_description: None }) => error,
        None if status.is_redirection() => "a redirection, which is not followed".to_owned(),
        None => "an answer without an error code".to_owned(),
    };
    let said = shown(&said, secrets);
    let text = if is_refusal {
        format!("{site} refuses an access token ({}): {said}", status.as_u16())
    } else {
        format!("no access token from {site} ({}): {said}", status.as_u16())
    };
    TokenFailure { is_refusal, text }
}

/// One line of what the endpoint says, without secrets.
fn shown(said: &str, secrets: &[&str]) -> String {
    let mut said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in secrets.iter().filter(|secret| secret.len() >= SEARCHED_MIN) {
        let coded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        said = said.replace(secret, MASK).replace(&coded, MASK);
    }
    harmless(&said).chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(json: &str) -> Result<Grant, &'static str> {
        granted(json.as_bytes())
    }

    #[test]
    fn answers_of_real_endpoints_are_understood() {
        let microsoft = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,
            "access_token":"eyJ0.x_-~+/="}"#;
        let found = grant(microsoft).unwrap();
        assert_eq!((found.token.expose(), found.life), ("eyJ0.x_-~+/=", 3599));
        assert_eq!(found.refresh_token, None);
        let rotated = r#"{"access_token":"a","expires_in":"60","refresh_token":"r","scope":"x"}"#;
        let found = grant(rotated).unwrap();
        assert_eq!((found.life, found.refresh_token.unwrap().expose()), (60, "r"));
        for (expires, life) in [
            ("null", USUAL_LIFE),
            ("-5", USUAL_LIFE),
            ("99999999999999999999", USUAL_LIFE),
            ("4000000000", LIFE_MAX),
            ("[]", USUAL_LIFE),
        ] {
            let json = format!(r#"{{"access_token":"a","expires_in":{expires}}}"#);
            assert_eq!(grant(&json).unwrap().life, life, "{expires}");
        }
        assert_eq!(grant(r#"{"access_token":"a","token_type":" bearer"}"#).unwrap().life, 3600);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(TOKEN_MAX + 1));
        for (bad, words) in [
            ("", "no JSON"),
            ("<html>", "no JSON"),
            (r#"{"error":"x"}"#, "no JSON with an access_token"),
            (r#"{"access_token":""}"#, "is empty"),
            (r#"{"access_token":"a b"}"#, "other characters"),
            (r#"{"access_token":"a\u0001"}"#, "other characters"),
            (r#"{"access_token":"a","token_type":"mac"}"#, "another type"),
            (&long, "longer"),
        ] {
            let told = grant(bad).unwrap_err();
            assert!(told.contains(words), "{bad}: {told}");
        }
    }

    #[test]
    fn refusals_are_told_without_secrets() {
        let secrets = ["s3cr=t word", "abc"];
        let json = "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: 's3cr=t \
            word' (s3cr%3Dt+word) is not it.\\r\\nTrace: abc\\u001b[2J\"}";
        let told = refused("https://a", StatusCode::UNAUTHORIZED, json.as_bytes(), &secrets);
        assert!(told.is_refusal);
        assert_eq!(
            told.text,
            format!(
                "https://a refuses an access token (401): invalid_client: AADSTS7000215: '{MASK}' \
                ({MASK}) is not it. Trace: abc\u{fffd}[2J"
            )
        );
        let answers = [
            (400, r#"{"error":"invalid_grant"}"#, true, "refuses an access token (400): invalid_g"),
            (429, "", false, "no access token from https://a (429): an answer without"),
            (503, r#"{"error":"x"}"#, false, "no access token from https://a (503): x"),
            (400, r#"{"error":"temporarily_unavailable"}"#, false, "(400): temporarily_unavail"),
            (302, "", false, "(302): a redirection, which is not followed"),
            (404, "<html>", true, "(404): an answer without an error code"),
        ];
        for (status, content, is_refusal, words) in answers {
            let status = StatusCode::from_u16(status).unwrap();
            let told = refused("https://a", status, content.as_bytes(), &[]);
            assert_eq!(told.is_refusal, is_refusal, "{status}");
            assert!(told.text.contains(words), "{}", told.text);
        }
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(1000));
        let told = refused("https://a", StatusCode::BAD_REQUEST, long.as_bytes(), &[]);
        assert!(told.text.chars().count() < WORDS_MAX + 50);
    }
}
