//! The rules of ARCHITECTURE.md, checked against the code: permitted imports, where `unsafe` and
//! files may be used, and that README agrees with the class.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod circles;
mod class;
mod founding;
mod length;
mod names;
mod source;
mod types;
mod width;
mod words;

use source::{Source, sources};
use std::collections::BTreeSet;
use std::path::Path;

/// The rooms of `mail`, in their order.
const ROOMS: [&str; 12] = [
    "accept", "parse", "admit", "rewrite", "spool", "schedule", "route", "sign", "deliver",
    "bounce", "history", "upstream",
];

/// The permitted imports of each part, in addition to itself. The first row that matches a module's
/// path counts.
fn allowed(module: &str) -> Vec<String> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut parts = module.split("::");
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("ground", _) => list(&["ground"]),
        ("appliance", _) => list(&["appliance", "ground"]),
        // A host as an operator writes it is a part of a destination's name; it has no I/O.
        ("mail", Some("model")) => list(&["mail::model", "ground::host"]),
        ("mail", Some(room)) if ROOMS.contains(&room) => {
            vec![
                format!("mail::{room}"),
                "mail::model".into(),
                "ground".into(),
                "appliance::counter".into(),
            ]
        }
        ("mail", _) => list(&["mail", "directory", "ground", "appliance::counter"]),
        ("directory", _) => list(&["directory", "mail::model", "ground"]),
        // The server knows no handler: each module of handlers provides its rows of the table of
        // routes, and of their shared state the server needs only its own part
        // (`http::state::Application`).
        ("http", _) => list(&["http", "mail::model", "ground", "appliance::counter"]),
        // The counters that each room declares are combined here.
        ("monitor", Some("counters")) => list(&[
            "monitor::counters",
            "mail::accept::counters",
            "mail::deliver::counters",
            "mail::history::counters",
            "mail::outbound::counters",
            "mail::route::counters",
            "mail::sign::counters",
            "mail::spool::counters",
            "mail::upstream::counters",
            "maillog::counters",
            "oauth::counters",
            "webhooks::counters",
            "appliance::counter",
        ]),
        ("monitor", _) => list(&[
            "monitor",
            "mail::model",
            "mail::spool::counters",
            "ground",
            "appliance::counter",
        ]),
        ("api", _) => list(&[
            "api",
            "http",
            "monitor",
            "export",
            "mail::model",
            "ground",
            "appliance::counter",
        ]),
        ("ui", _) => {
            list(&["ui", "api", "http", "monitor", "mail::model", "ground", "appliance::counter"])
        }
        ("webhooks", _) => {
            list(&["webhooks", "monitor", "mail::model", "ground", "appliance::counter"])
        }
        ("oauth", _) => list(&["oauth", "ground", "appliance::counter"]),
        ("maillog", _) => list(&["maillog", "mail::model", "ground", "appliance::counter"]),
        ("cli", _) => list(&["cli", "api", "http::response", "export", "mail::model", "ground"]),
        ("export", _) => list(&["export", "mail::model", "ground"]),
        ("init", _) => list(&["appliance", "ground"]),
        // A small server, built from the first two rooms.
        ("sink", _) => list(&[
            "sink",
            "mail::accept",
            "mail::parse",
            "mail::model",
            "ground",
            "appliance::counter",
        ]),
        // Starts this program as users would: a sink, a relay, the operator's tool.
        ("demo", _) => list(&["demo", "appliance::failure", "appliance::supervise::identity"]),
        // The composition root, the command line, and the list of modules.
        ("core" | "main" | "lib", _) => list(&[
            "api",
            "appliance",
            "carrier_process",
            "cli",
            "core",
            "demo",
            "directory",
            "export",
            "ground",
            "http",
            "init",
            "mail",
            "maillog",
            "monitor",
            "oauth",
            "sink",
            "ui",
            "volumes",
            "webhooks",
        ]),
        // The operator's tool, connected to data volumes that no relay uses.
        ("volumes", _) => {
            list(&["appliance::property", "ground::disk", "mail::model", "mail::spool", "cli"])
        }
        // The composition root of another process, without mail and without a runtime.
        ("carrier_process", _) => list(&["appliance", "ground", "maillog"]),
        _ => Vec::new(),
    }
}

fn is_inside(path: &str, part: &str) -> bool {
    path == part || path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn no_room_imports_what_it_must_not_know() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let allowed = allowed(&source.module);
        for import in source.imports() {
            seen += 1;
            // The macro of `appliance::counter`: macros are at the root of the crate.
            if import == "counters" {
                continue;
            }
            if !allowed.iter().any(|part| is_inside(&import, part)) {
                wrong.push(format!("{} imports {import}; it may import {allowed:?}", source.path));
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found: the reader of imports is broken");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let source = Source {
        path: "src/mail/parse/mod.rs".to_owned(),
        module: "mail::parse".to_owned(),
        code: "use crate::mail::{spool::{Entry, Spool}, model::Address};\nuse super::accept;\nfn \
        f() { crate::ui::page(); }"
            .to_owned(),
    };
    let expected = [
        "mail::accept",
        "mail::model::Address",
        "mail::spool::Entry",
        "mail::spool::Spool",
        "ui::page",
    ];
    assert_eq!(source.imports(), expected.map(str::to_owned).into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn unsafe_code_has_one_address() {
    for source in sources() {
        assert!(
            !source.code.contains("unsafe ") || source.path.starts_with("src/ground/sys"),
            "{}: unsafe code belongs into src/ground/sys",
            source.path
        );
    }
}

/// Where a lock of the standard library is permitted: inside the checked lock, in the clock, which
/// is read under any lock and takes no other, and in the code that reports hanging threads,
/// whatever they hold. Elsewhere the order is checked.
const PLAIN_LOCKS: [&str; 4] =
    ["src/ground/sync.rs", "src/ground/lock.rs", "src/ground/clock.rs", "src/ground/sys/stacks.rs"];

/// Locks that may be held across an await, each by tasks that hold no other: the groups, the
/// metrics and the ages, which are computed once for all callers, and the orders, which are
/// executed one at a time.
const ASYNC_LOCKS: [&str; 4] = [
    "src/mail/admin/mod.rs",
    "src/mail/outbound/mod.rs",
    "src/monitor/ages.rs",
    "src/monitor/probe.rs",
];

#[test]
fn what_threads_share_is_behind_the_checked_lock() {
    for source in sources() {
        let code = source.code.replace("tokio::sync::Mutex", "AsyncMutex");
        let plain = ["Mutex", "RwLock", "ReentrantLock", "parking_lot"].into_iter().find(|name| {
            let mut found = code.match_indices(name);
            found.any(|(at, _)| !code[..at].ends_with("Async"))
        });
        let known = PLAIN_LOCKS.contains(&source.path.as_str())
            || ASYNC_LOCKS.contains(&source.path.as_str());
        assert!(
            plain.is_none() || known,
            "{}: use ground::lock::Lock instead of {}",
            source.path,
            plain.unwrap_or_default()
        );
        let is_async = code.contains("AsyncMutex") || code.contains("tokio::sync::RwLock");
        assert!(
            !is_async || ASYNC_LOCKS.contains(&source.path.as_str()),
            "{}: a lock that is held across an await needs its reason here",
            source.path
        );
    }
}

#[test]
fn the_supervisor_has_no_runtime() {
    for source in sources() {
        let supervisor = source.module == "init"
            || source.module == "carrier_process"
            || source.module == "main"
            || is_inside(&source.module, "appliance");
        assert!(
            !supervisor || !source.code.contains("tokio"),
            "{}: PID 1 runs without tokio, and so does the carrier",
            source.path
        );
    }
}

#[test]
fn mail_touches_files_through_the_ground_alone() {
    for source in sources() {
        let files =
            ["std::fs", "tokio::fs", "fs::File"].iter().any(|name| source.code.contains(name));
        assert!(
            !files || !is_inside(&source.module, "mail") || source.module.ends_with("tests"),
            "{}: files belong to ground::disk",
            source.path
        );
    }
}

#[test]
fn every_folder_of_the_walk_is_in_the_plan() {
    let mut rooms: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(root().join("src/mail")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir()
            && name != "model"
            && name != "outbound"
            && name != "admin"
            && name != "events"
            && name != "session"
        {
            rooms.push(name);
        }
    }
    rooms.sort();
    let mut planned = ROOMS.map(str::to_owned).to_vec();
    planned.sort();
    assert_eq!(rooms, planned);
    let plan = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for room in ROOMS {
        assert!(
            plan.contains(&format!("`{room}`")),
            "ARCHITECTURE.md does not name the room {room}"
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let plan = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            assert!(
                plan.contains(&format!("| `{name}` |")),
                "ARCHITECTURE.md gives no reason for {name}"
            );
        }
    }
}

/// The root of the tree.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
