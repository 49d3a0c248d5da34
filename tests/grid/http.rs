//! A minimal HTTP client for these tests: one request to a port of this machine, with the whole
//! answer.
//!
//! HTTP/1.0, so that no answer comes in chunks and its end is the end of the connection.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends a request; gives the status and the body.
fn exchange(port: u16, request: &str) -> Result<(u16, String), String> {
    exchange_at(SocketAddr::from(([127, 0, 0, 1], port)), request)
}

fn exchange_at(port: SocketAddr, request: &str) -> Result<(u16, String), String> {
    let mut stream = TcpStream::connect_timeout(&port, Duration::from_secs(30))
        .map_err(|error| format!("port {port}: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| error.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|error| format!("port {port}: {error}"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| format!("port {port}: {error}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("port {port}: not an HTTP answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| format!("port {port}: no status in {head:?}"))?, body.to_owned()))
}

/// The body of a page that must be there.
pub fn get_text(port: u16, path: &str) -> Result<String, String> {
    let (status, body) = exchange(
        port,
        &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )?;
    if status == 200 {
        Ok(body)
    } else {
        Err(format!("{path} on port {port} answers {status}: {}", body.trim()))
    }
}

/// The same from a container's own address.
pub fn get_text_at(server: SocketAddr, path: &str) -> Result<String, String> {
    let (status, body) = exchange_at(
        server,
        &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )?;
    if status == 200 {
        Ok(body)
    } else {
        Err(format!("{path} of {server} answers {status}: {}", body.trim()))
    }
}

/// A counter without labels.
pub fn counter_at(server: SocketAddr, counter: &str) -> Result<f64, String> {
    let text = get_text_at(server, "/metrics")?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(' ')?.parse().ok());
    value.ok_or_else(|| format!("there is no {counter} in /metrics"))
}

/// The sum of a counter over all values of its label.
pub fn sum_at(server: SocketAddr, counter: &str) -> Result<f64, String> {
    let text = get_text_at(server, "/metrics")?;
    let values = text.lines().filter_map(|line| {
        line.strip_prefix(counter)?.strip_prefix('{')?.rsplit(' ').next()?.parse::<f64>().ok()
    });
    Ok(values.sum())
}

/// The same, as JSON.
pub fn get_json(port: u16, path: &str) -> Result<Value, String> {
    let text = get_text(port, path)?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{path} on port {port} is not JSON: {error}: {text}"))
}

/// Sends a form (already encoded); gives the status and the page.
pub fn post_form(port: u16, path: &str, body: &str) -> Result<(u16, String), String> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    exchange(
        port,
        &format!("{head}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{body}"),
    )
}
