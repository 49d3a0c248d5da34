//! What holds for every mail log: each line of each mail once, in order.

use std::collections::HashMap;

/// The lines of a delivered mail, in this order.
const WALK: [&str; 5] = [": client=", ": message-id=", ": from=<", ", status=sent (", ": removed"];

/// The mails in a log.
#[derive(Default)]
pub struct Audit {
    seen: HashMap<String, Vec<usize>>,
    /// Lines that do not belong to a mail.
    pub others: Vec<String>,
    /// All lines.
    pub lines: usize,
}

impl Audit {
    pub fn of(log: &str) -> Self {
        assert!(log.is_empty() || log.ends_with('\n'), "the last line is torn");
        let mut audit = Self::default();
        for line in log.lines() {
            assert!(
                line.contains("postern.example postfix/") && line.as_bytes()[3] == b' ',
                "no line of ours: {line:?}"
            );
            audit.lines += 1;
            let id = line
                .split("]: ")
                .nth(1)
                .and_then(|rest| rest.split(": ").next())
                .filter(|id| id.len() == 13);
            match (id, WALK.iter().position(|mark| line.contains(mark))) {
                (Some(id), Some(place)) => audit.seen.entry(id.to_owned()).or_default().push(place),
                _ => audit.others.push(line.to_owned()),
            }
        }
        audit
    }

    /// All lines of these mails are there, once and in order.
    pub fn complete(&self, ids: &[String]) -> &Self {
        let whole = [0, 1, 2, 3, 4];
        for id in ids {
            assert_eq!(self.seen.get(id).map(Vec::as_slice), Some(&whole[..]), "{id}");
        }
        self
    }
}
