//! `postern health`: asks the running appliance whether it is ready. Uses HTTP, so that no SMTP
//! session is logged.

use super::alerts_query;
use crate::appliance::failure::Exit;
use crate::appliance::property::{Settings, load, load_some};
use crate::ground::not_ready;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The properties that say where the relay is to be asked.
const NEEDED: [&str; 4] = ["run_dir", "listen", "ui_port", "ui_tls"];
/// Time limit for question and answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A hint for the case that the command runs with other settings than the relay.
const PORT: &str = "; if the relay was started with another MTA_UI_PORT, set it here, too";
/// Octets of the answer that are read.
const ANSWER_LIMIT: usize = 4096;

/// Exit 0 when ready; else 69 and a line with the reason. `verbose`: alerts follow on standard
/// output, one line each.
pub fn run(verbose: bool) -> ExitCode {
    let (settings, wrong) = match load() {
        Ok(loaded) => (loaded.settings, None),
        Err(refused) => {
            let first = refused.problems.first().map(ToString::to_string).unwrap_or_default();
            let wrong = format!("the properties are wrong; see `postern check`\n{first}");
            // A relay that runs goes on when a file becomes wrong, and is asked all the same.
            match load_some(&NEEDED) {
                Ok(loaded) => (loaded.settings, Some(wrong)),
                Err(_) => return unready(&wrong),
            }
        }
    };
    if verbose {
        print_alerts(&settings);
    }
    let address = address(&settings);
    match (ask(address), wrong) {
        (Ok(answer), wrong) => match (answer.split(' ').nth(1), wrong) {
            (Some("200"), _) => ExitCode::SUCCESS,
            (_, Some(wrong)) => unready(&wrong),
            _ => {
                let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
                let status = answer.lines().next().unwrap_or_default();
                unready(&format!(
                    "not ready: {address} answers '{status}' {}",
                    body.lines().next().unwrap_or_default()
                ))
            }
        },
        (Err(_), Some(wrong)) => unready(&wrong),
        (Err(error), None) => {
            let hint = if settings.ui_port == 80 && error.kind() == io::ErrorKind::ConnectionRefused
            {
                PORT
            } else {
                ""
            };
            unready(&format!(
                "no answer from {address}: {error}{}{hint}",
                supervisor_explanation(&settings)
            ))
        }
    }
}

/// Prints the alerts; if they cannot be read, the reason.
fn print_alerts(settings: &Settings) {
    let lines = match alerts_query::alerts(&settings.run_dir) {
        Ok(lines) if lines.is_empty() => vec!["no alerts".to_owned()],
        Ok(lines) => lines,
        Err(error) => {
            vec![format!("the alerts cannot be read from {}: {error}", settings.run_dir.display())]
        }
    };
    let mut stdout = io::stdout().lock();
    // A reader that has closed standard output has the exit code.
    lines.iter().for_each(|line| drop(writeln!(stdout, "{line}")));
}

/// The reason recorded by the supervisor, for a core that cannot answer.
fn supervisor_explanation(settings: &Settings) -> String {
    not_ready::why(&settings.run_dir)
        .map(|why| format!("; the supervisor says: {why}"))
        .unwrap_or_default()
}

fn unready(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(Exit::Unavailable.code())
}

/// The address of the HTTP server, as seen from inside.
fn address(settings: &Settings) -> SocketAddr {
    let ip = match settings.listen.first() {
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => IpAddr::V6(*ip),
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => IpAddr::V4(*ip),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(ip, settings.ui_port)
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let end = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() < ANSWER_LIMIT {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            // The kernel's error for a timeout of a socket.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_is_read_and_its_length_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 16];
            stream.read_exact(&mut request).unwrap();
            // Far more than expected; the reader may close first.
            let _ = stream.write_all(&vec![b'x'; 10_000_000]);
            request
        });
        let answer = ask(address).unwrap();
        assert!(answer.len() < ANSWER_LIMIT + 1024);
        assert_eq!(&server.join().unwrap(), b"GET /readyz HTTP");
    }

    #[test]
    fn a_core_that_says_nothing_has_timed_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            ask(listener.local_addr().unwrap()).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
