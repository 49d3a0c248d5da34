#![no_main]
//! A next hop's reply, in pieces of any size: the pieces make no difference, the limits hold, and
//! the kept text is one line without control characters.

use libfuzzer_sys::fuzz_target;
use postern::mail::deliver::reply::{
    LINE_MAX, LINES_MAX, MalformedReply, ParseProgress, REPLY_MAX, ReplyParser, TEXT_MAX,
};
use postern::mail::model::Reply;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let whole = replies(octets, usize::MAX);
    assert_eq!(whole, replies(octets, usize::from(size) + 1));
    for reply in &whole.0 {
        assert!((200..600).contains(&reply.code));
        assert!(reply.text.len() <= TEXT_MAX && !reply.text.contains(char::is_control));
        assert!(reply.enhanced.is_none_or(|enhanced| u16::from(enhanced.0) == reply.code / 100));
    }
});

/// All replies up to the first invalid octet.
fn replies(octets: &[u8], size: usize) -> (Vec<Reply>, Option<MalformedReply>) {
    let mut parser = ReplyParser::default();
    let mut replies = Vec::new();
    let (mut from, mut to) = (0, 0);
    while to < octets.len() || from < to {
        to = to.saturating_add(size).min(octets.len());
        loop {
            match parser.feed(&octets[from..to]) {
                Err(malformed) => return (replies, Some(malformed)),
                Ok(ParseProgress { used, code }) => {
                    from += used;
                    assert!(to - from <= LINE_MAX || code.is_some());
                    let lines: Vec<usize> = parser.lines().map(<[u8]>::len).collect();
                    assert!(lines.len() <= LINES_MAX && lines.iter().sum::<usize>() <= REPLY_MAX);
                    match code {
                        Some(code) => {
                            assert_eq!(parser.reply().code, code);
                            replies.push(parser.reply());
                        }
                        None => break,
                    }
                }
            }
        }
        if to == octets.len() {
            break;
        }
    }
    (replies, None)
}
