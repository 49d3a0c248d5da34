//! Fields that name senders: any octets are left as they are or rewritten whole; the result is read
//! again and needs no further change; pieces of any size make no difference; no line end is made.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::mail::model::Address;
use postern::mail::rewrite::{FIELD_MAX, HeaderSection, NewField, SenderFields, SenderRules};

fuzz_target!(|data: &[u8]| {
    let all = Address::parse("new@ours.example").ok();
    let rules = SenderRules { rewrites: Vec::new(), all };
    for author in [true, false] {
        if let NewField::Changed(new) | NewField::Author(new) = rules.field(data, author) {
            let grown = new.len() > FIELD_MAX;
            assert!(grown || rules.field(&new, author) == NewField::Same);
        }
    }
    let content = [b"From: ", data].concat();
    let whole = rewritten(&rules, &content, usize::MAX);
    for size in [1, 2, 7] {
        assert_eq!(rewritten(&rules, &content, size), whole);
    }
});

fn rewritten(rules: &SenderRules, content: &[u8], size: usize) -> Vec<u8> {
    let mut section = HeaderSection::foreign().with_senders(SenderFields::new(rules));
    let mut out = Vec::new();
    for piece in content.chunks(size) {
        let rest = section.take(piece, &mut out);
        out.extend_from_slice(rest);
    }
    section.finish(&mut out);
    out
}
