//! Numbered mails. The content follows from the number, so that none has to be stored.

use fastrand::Rng;

/// Above this the queue keeps content in a file of its own; on a small volume above a quarter of
/// it.
const OWN_FILE: usize = 256 * 1024;

/// Every eighth mail has three recipients, the others one.
pub fn recipients(number: u64) -> u8 {
    if number.is_multiple_of(8) { 3 } else { 1 }
}

/// The address of one recipient.
pub fn address(number: u64, place: u8) -> String {
    format!("n{number}-{place}@there.example")
}

/// The mail and the recipient of an address.
pub fn meaning(address: &str) -> Option<(u64, u8)> {
    let (number, place) =
        address.strip_prefix('n')?.strip_suffix("@there.example")?.split_once('-')?;
    Some((number.parse().ok()?, place.parse().ok()?))
}

/// The content: lines with CR LF, some that begin with a dot; one mail in ten is long, one in
/// twenty has no body.
pub fn content(number: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(number);
    let size = match random.u8(..20) {
        0 => 0,
        1 => random.usize(OWN_FILE + 1..OWN_FILE * 3 / 2),
        2 => random.usize(OWN_FILE / 4 + 1..OWN_FILE),
        _ => random.usize(100..8_000),
    };
    sized(number, size, &mut random)
}

/// The content of a mail of about `size` octets.
fn sized(number: u64, size: usize, random: &mut Rng) -> Vec<u8> {
    let head = format!(
        "From: load@client.example\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\nSubject: number \
        {number}\r\nMessage-ID: <{number}@client.example>\r\n\r\n"
    );
    let mut content = head.into_bytes();
    let end = content.len() + size;
    let mut block = [0; 4096];
    random.fill(&mut block);
    block.iter_mut().for_each(|octet| *octet = b' ' + *octet % 95);
    while content.len() < end {
        if random.u8(..8) == 0 {
            content.extend_from_slice(&b"..."[..random.usize(1..4)]);
        }
        let (from, len) = (random.usize(..4000), random.usize(..96));
        content.extend_from_slice(&block[from..from + len]);
        content.extend_from_slice(b"\r\n");
    }
    content
}

/// Its form on the wire, without the last line (RFC 5321 §4.5.2).
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 100);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

/// Why the received mail is not what was sent with one Received field on top.
pub fn flaw(number: u64, arrived: &[u8]) -> Option<String> {
    let field = b"Received: from client.example ";
    if !arrived.starts_with(field) {
        return Some("no Received field on top".to_owned());
    }
    let mut end = 0;
    for line in arrived.split_inclusive(|octet| *octet == b'\n') {
        if end > 0 && line.first() != Some(&b'\t') {
            break;
        }
        end += line.len();
    }
    let (arrived, sent) = (&arrived[end..], content(number));
    let at = arrived
        .iter()
        .zip(&sent)
        .position(|(a, b)| a != b)
        .unwrap_or(arrived.len().min(sent.len()));
    (arrived != sent)
        .then(|| format!("{} octets arrived of {}; they differ at {at}", arrived.len(), sent.len()))
}
