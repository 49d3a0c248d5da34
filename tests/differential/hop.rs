//! A next hop that records its mail.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The behaviour of a next hop.
#[derive(Debug, Clone, Copy)]
pub struct Nature {
    /// What EHLO announces.
    pub keywords: &'static [&'static str],
    /// Unusual replies, by a part of the command: the empty text is the greeting, `.` the end of
    /// data.
    pub says: &'static [(&'static str, &'static str)],
    /// It rejects content that is not ASCII with 554.
    pub seven_bit: bool,
}

/// A next hop that accepts everything.
pub const GOOD: Nature = Nature {
    keywords: &["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8"],
    says: &[],
    seven_bit: false,
};

/// A mail as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The MAIL command.
    pub mail: String,
    /// The RCPT commands, in their order.
    pub recipients: Vec<String>,
    /// The content, without dot-stuffing.
    pub content: Vec<u8>,
}

impl Mail {
    /// The queue id in its topmost Received field.
    pub fn id(&self) -> Option<String> {
        let text =
            String::from_utf8_lossy(&self.content[..self.content.len().min(4096)]).into_owned();
        let field = text.strip_prefix("Received: ")?.split_inclusive("\r\n");
        let mut lines =
            field.enumerate().take_while(|(at, line)| *at == 0 || line.starts_with([' ', '\t']));
        let id =
            lines.find_map(|(_, line)| line.split_once(" id ").map(|(_, id)| id.to_owned()))?;
        Some(id.split([';', ' ', '\r']).next()?.to_owned())
    }
}

/// A running next hop.
pub struct MailHost {
    pub address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl MailHost {
    /// Starts one at this address.
    pub fn start(address: SocketAddr, nature: Nature) -> Self {
        let listener =
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let hop = Self { address: listener.local_addr().unwrap(), mails: Arc::default() };
        let mails = hop.mails.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mails = mails.clone();
                std::thread::spawn(move || {
                    // A client that disconnects is not an error of the server.
                    let _ = serve(stream, nature, &mails);
                });
            }
        });
        hop
    }

    /// The accepted mails.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, nature: Nature, mails: &Mutex<Vec<Mail>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut answer = move |line: &str, usual: &str| -> std::io::Result<bool> {
        let said = nature.says.iter().find(|(part, _)| match *part {
            "" | "." => line == *part,
            part => line.contains(part),
        });
        let said = said.map_or(usual, |(_, said)| said);
        stream.write_all(format!("{said}\r\n").as_bytes())?;
        Ok(said.starts_with(['2', '3']))
    };
    let mut mail = Mail { mail: String::new(), recipients: Vec::new(), content: Vec::new() };
    answer("", "220 hop.example ESMTP")?;
    while let Some(line) = read_line(&mut reader)? {
        let line =
            String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(&line)).into_owned();
        match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => {
                let keywords: String =
                    nature.keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
                answer(&line, &format!("250-hop.example\r\n{keywords}250 HELP"))?;
            }
            "MAIL" => {
                if answer(&line, "250 2.1.0 Ok")? {
                    mail = Mail { mail: line, recipients: Vec::new(), content: Vec::new() };
                }
            }
            "RCPT" => {
                if answer(&line, "250 2.1.5 Ok")? {
                    mail.recipients.push(line);
                }
            }
            "DATA" if mail.recipients.is_empty() => drop(answer(&line, "503 5.5.1 No recipient")?),
            "DATA" => {
                if answer(&line, "354 go on")? {
                    mail.content.clear();
                    while let Some(line) = read_line(&mut reader)? {
                        if line == b".\r\n" {
                            break;
                        }
                        mail.content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                    }
                    let refused = nature.seven_bit && !mail.content.is_ascii();
                    if answer(
                        ".",
                        if refused {
                            "554 5.6.1 Eight bit data not supported"
                        } else {
                            "250 2.0.0 taken"
                        },
                    )? && !refused
                    {
                        mails.lock().unwrap().push(mail.clone());
                    }
                }
            }
            "QUIT" => {
                answer(&line, "221 2.0.0 Bye")?;
                break;
            }
            _ => drop(answer(&line, "250 2.0.0 Ok")?),
        }
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    Ok((reader.read_until(b'\n', &mut line)? > 0).then_some(line))
}
