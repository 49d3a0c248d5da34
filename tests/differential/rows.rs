//! Compares docs/differences.md with the tables of this suite: each row is shown by an input, or by
//! a test that is named here.

use crate::judge::Table;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Rows without an input, and the test of this relay's behaviour. Postfix would need its own name
/// servers, many hosts, or minutes of silence.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "MX leads to this machine, other port",
        "walk::mx::a_mail_host_that_is_this_machine_is_a_loop_whatever_the_port",
    ),
    (
        "`options edns0` in resolv.conf",
        "lib::ground::dns::system::tests::a_name_server_that_refuses_edns_is_asked_without",
    ),
    (
        "hosts that one attempt gives the mail to",
        "peer_out::hosts::a_bounded_number_of_hosts_is_given_the_mail",
    ),
    (
        "no answer after the final dot",
        "peer_out::hosts::content_whose_fate_is_not_known_goes_to_no_other_host_at_once",
    ),
    (
        "recipients of one transaction",
        "peer_out::refusals::no_transaction_names_more_recipients_than_configured",
    ),
    (
        "a host that takes the connection and says nothing",
        "peer_out::hosts::hosts_that_say_nothing_cost_the_others_seconds",
    ),
];

const TABLES: [&str; 2] = [crate::way_in::TABLE, crate::way_out::TABLE];

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first cells of the table, without its head.
fn rows() -> Vec<String> {
    let page = source("docs/differences.md");
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    cells.map(|(cell, _)| cell.to_owned()).filter(|cell| cell != "what").collect()
}

#[test]
fn every_row_is_shown_by_an_input_or_by_a_named_test_and_by_nothing_else() {
    let rows = rows();
    let known: BTreeSet<&str> = rows.iter().map(|row| &**row).collect();
    assert!(known.len() > 30 && known.len() == rows.len(), "a row stands there twice: {rows:#?}");
    let tables = TABLES.map(Table::read);
    let shown: BTreeSet<&str> =
        tables.iter().flat_map(|table| &table.rows).map(|row| &**row).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(row, _)| *row).collect();
    let named: BTreeSet<&str> = shown.union(&elsewhere).copied().collect();
    assert_eq!(
        named.difference(&known).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "these are no rows of docs/differences.md"
    );
    assert_eq!(
        known.difference(&named).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "nothing shows these rows"
    );
    assert_eq!(
        shown.intersection(&elsewhere).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "inputs show these, too"
    );
}

#[test]
fn no_row_is_empty_and_each_test_that_is_named_exists() {
    for table in TABLES {
        let blocks: Vec<&str> = table.split("# ").skip(1).collect();
        assert!(blocks.iter().all(|block| block.contains("\n    ")), "a row without a difference");
    }
    for (row, test) in ELSEWHERE {
        let mut path: Vec<&str> = test.split("::").collect();
        let name = path.pop().unwrap();
        let file = match path[..] {
            ["lib", ..] => format!("src/{}.rs", path[1..].join("/")),
            _ => format!("tests/{}.rs", path.join("/")),
        };
        assert!(source(&file).contains(&format!("fn {name}()")), "{row}: there is no {test}");
    }
}

#[test]
fn a_refusal_of_another_code_is_still_a_refusal_of_the_same_class() {
    let table = crate::way_in::TABLE;
    let block = table
        .split("# ")
        .find_map(|block| block.strip_prefix("which code a refusal has\n"))
        .unwrap();
    for line in block.lines().filter_map(|line| line.strip_prefix("    ")) {
        let (theirs, ours) = line.rsplit_once(": ").unwrap().1.split_once(" | ").unwrap();
        assert_eq!(theirs.chars().next(), ours.chars().next(), "{line}");
    }
}
