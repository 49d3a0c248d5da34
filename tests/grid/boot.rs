//! The boot matrix in real containers: output and exit code of the image when it cannot start, in
//! each of the usual ways to run it. The rows that need no container are in
//! `tests/appliance/matrix`.

use crate::engine::{self, Ended, Engine, Undo};
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// How the container is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// As in the image.
    Image,
    /// Root, with the default capabilities of an engine.
    Root,
    /// Root that may mount and set routes.
    MightyRoot,
    /// Any uid, only its volumes are writable, no capability.
    AnyUid,
}

impl World {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Image => &[],
            Self::Root => &["--user", "0"],
            Self::MightyRoot => {
                &["--user", "0", "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"]
            }
            Self::AnyUid => &[
                "--user",
                "12345",
                "--read-only",
                "--cap-drop",
                "ALL",
                "--security-opt",
                "no-new-privileges",
            ],
        }
    }

    fn log(self) -> &'static str {
        match self {
            Self::Root | Self::MightyRoot => "/var/log/appliance/log",
            Self::Image | Self::AnyUid => "/run/postern/log/appliance/log",
        }
    }
}

struct Row {
    world: World,
    /// Options of the client; `{volume}` is a volume, `{keys}` a directory with a pair that only
    /// root may read.
    options: &'static [&'static str],
    line: &'static str,
    code: i32,
    cause: &'static str,
}

/// A longer start counts as a hang; most of it is the engine's own time.
const PATIENCE: Duration = Duration::from_secs(20);

const DATA: &str = "Error: failed to mount data volume.";
const FS: &str = "Error: failed to mount the 'fs' terminal.";
const KEY: &str = "Error: failed to mount key volume.";
const KEYS: &str = "Error: couldn't find ssl keys on the key volume!";
const LOG: &str = "Error: failed to mount log share.";
const PRECONFIGURE: &str = "Error: failed to preconfigure the MTA";
const UI_PORT: &str = "Error: ui_port value must be between 1 and 65535";

const ROWS: &[Row] = &[
    Row {
        world: World::Image,
        options: &["-e", "MTA_UI_PORT=0"],
        line: UI_PORT,
        code: 64,
        cause: "MTA_UI_PORT is '0'",
    },
    Row {
        world: World::Root,
        options: &["-e", "MTA_UI_PORT=0"],
        line: UI_PORT,
        code: 64,
        cause: "MTA_UI_PORT is '0'",
    },
    Row {
        world: World::AnyUid,
        options: &["-e", "MTA_UI_PORT=0"],
        line: UI_PORT,
        code: 64,
        cause: "MTA_UI_PORT is '0'",
    },
    Row {
        world: World::Image,
        options: &["-e", "MTA_VOLUME_DATA=/none"],
        line: DATA,
        code: 73,
        cause: "-v mta-data:/data",
    },
    Row {
        world: World::Image,
        options: &["-v", "{volume}:/data:ro"],
        line: DATA,
        code: 77,
        cause: "Read-only file system",
    },
    Row {
        world: World::Root,
        options: &["-v", "{volume}:/data:ro"],
        line: DATA,
        code: 77,
        cause: "Read-only file system",
    },
    Row {
        world: World::AnyUid,
        options: &["-e", "MTA_VOLUME_DATA=/etc"],
        line: DATA,
        code: 77,
        cause: "is not writable for uid 12345",
    },
    Row {
        world: World::Root,
        options: &["-e", "MTA_VOLUME_KEY=/none"],
        line: KEY,
        code: 66,
        cause: "volume_key is /none",
    },
    Row {
        world: World::AnyUid,
        options: &["-v", "{keys}:/key:ro", "-e", "MTA_SSL_DISABLED=no"],
        line: KEYS,
        code: 66,
        cause: "/key/server.key (ssl_key_file): Permission denied",
    },
    Row {
        world: World::Image,
        options: &["-e", "MTA_LOGS_ENABLED=yes", "-e", "MTA_TERMINAL_LOG=//127.0.0.1/share"],
        line: LOG,
        code: 69,
        cause: "cap_add: [SYS_ADMIN]",
    },
    Row {
        world: World::Root,
        options: &["-e", "MTA_LOGS_ENABLED=yes", "-e", "MTA_TERMINAL_LOG=//127.0.0.1/share"],
        line: LOG,
        code: 69,
        cause: "cap_add: [SYS_ADMIN]",
    },
    // The kernel was asked, and has no such file system, or the server does not answer.
    Row {
        world: World::MightyRoot,
        options: &["-e", "MTA_LOGS_ENABLED=yes", "-e", "MTA_TERMINAL_LOG=//127.0.0.1/share"],
        line: LOG,
        code: 69,
        cause: "(os error ",
    },
    Row {
        world: World::Image,
        options: &["-e", "MTA_TERMINAL_FS=127.0.0.1:/k"],
        line: FS,
        code: 69,
        cause: "cap_add: [SYS_ADMIN]",
    },
    Row {
        world: World::MightyRoot,
        options: &["-e", "MTA_TERMINAL_FS=127.0.0.1:/k"],
        line: FS,
        code: 69,
        cause: "(os error ",
    },
    Row {
        world: World::Image,
        options: &["-e", "MTA_TERMINAL_NET=203.0.113.77"],
        line: PRECONFIGURE,
        code: 77,
        cause: "cap_add: [NET_ADMIN]",
    },
    Row {
        world: World::Root,
        options: &["-e", "MTA_TERMINAL_NET=203.0.113.77"],
        line: PRECONFIGURE,
        code: 77,
        cause: "cap_add: [NET_ADMIN]",
    },
    Row {
        world: World::MightyRoot,
        options: &["-e", "MTA_TERMINAL_NET=203.0.113.77"],
        line: PRECONFIGURE,
        code: 69,
        cause: "it is not on any network of this machine",
    },
];

#[test]
fn every_world_says_why_it_does_not_start() {
    let engine = Engine::find();
    let name = engine::unique("boot");
    let undo = Undo::new(&engine);
    let image = undo.image(&name, "Dockerfile");
    let keys = root_only_keys();
    let keys = keys.path().display().to_string();
    let mut wrong = Vec::new();
    let mut took = Duration::ZERO;
    let volume = undo.volume(&name);
    for row in ROWS {
        let options: Vec<_> = row
            .options
            .iter()
            .map(|option| option.replace("{volume}", &volume).replace("{keys}", &keys))
            .collect();
        let mut args = row.world.options().to_vec();
        args.extend(options.iter().map(String::as_str));
        args.push(&image);
        let ended = undo.run_to_its_end("a start that fails", &args);
        took += ended.took;
        if let Err(why) = judge(&engine, row, &ended) {
            wrong.push(format!(
                "--- {:?} {options:?}: {why}\nexit code {}\n{}",
                row.world, ended.code, ended.stderr
            ));
        }
    }
    eprintln!("grid: {} starts in {:.1} s", ROWS.len(), took.as_secs_f64());
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn judge(engine: &Engine, row: &Row, ended: &Ended) -> Result<(), String> {
    let mut lines = ended.stderr.lines().skip_while(|line| *line != row.line);
    lines.next().ok_or_else(|| format!("no line is '{}'", row.line))?;
    let cause =
        lines.next().and_then(|line| line.strip_prefix("  ")).ok_or("there is no second line")?;
    if !cause.contains(row.cause) {
        return Err(format!("'{}' is not in the cause", row.cause));
    }
    let log = engine.file(&ended.id, row.world.log())?;
    for text in [row.line, cause] {
        let kept = log
            .lines()
            .any(|line| line.split_once(" ERROR init: ").is_some_and(|(_, found)| found == text));
        if !kept {
            return Err(format!("'{text}' is not in {}:\n{log}", row.world.log()));
        }
    }
    if ended.took > PATIENCE {
        return Err(format!("it took {:?}", ended.took));
    }
    if ended.code == row.code { Ok(()) } else { Err(format!("the exit code must be {}", row.code)) }
}

/// Root prepares with all its rights, and the core has none: the gateway is set, keys that only
/// root may read are read, and the mail is sent.
#[test]
fn root_sets_the_gateway_and_reads_the_keys_for_a_core_without_rights() {
    let engine = Engine::find();
    let name = engine::unique("root");
    let undo = Undo::new(&engine);
    let image = undo.image(&name, "Dockerfile");
    let subnet = engine.free_subnet();
    let prefix = subnet.trim_end_matches("0/24");
    let network = undo.network(&name, &subnet);
    let sink_address = format!("{prefix}77");
    let sink = [
        "--network",
        &network,
        "--ip",
        &sink_address,
        "--entrypoint",
        "/usr/bin/postern",
        &image,
        "sink",
    ];
    undo.run("sink", &[&sink[..], &["--listen", "0.0.0.0:25", "--maildir", "/data"]].concat());
    let keys = root_only_keys();
    let keys = format!("{}:/key:ro", keys.path().display());
    let gateway = format!("MTA_TERMINAL_NET={sink_address}");
    let relay = format!("MTA_SMART_RELAY=[{sink_address}]:25");
    let mut args = World::MightyRoot.options().to_vec();
    args.extend([
        "--network",
        &network,
        "-v",
        &keys,
        "-e",
        "MTA_SSL_DISABLED=no",
        "-e",
        &gateway,
        "-e",
        &relay,
    ]);
    args.push(&image);
    let mta = undo.run("mta", &args);
    mta.wait_healthy();

    let log = mta.exec(&["cat", "/var/log/appliance/log"]);
    let line = format!(
        "INFO init: terminal net: the default route now leads through {sink_address} (before: via \
        {prefix}1 (eth0))"
    );
    assert!(log.contains(&line), "{log}");
    let octets: Vec<u8> = sink_address.split('.').map(|octet| octet.parse().unwrap()).collect();
    let hexadecimal = format!("{:08X}", u32::from_ne_bytes(octets.try_into().unwrap()));
    let routes = mta.exec(&["cat", "/proc/net/route"]);
    let defaults: Vec<_> =
        routes.lines().filter(|line| line.split('\t').nth(1) == Some("00000000")).collect();
    assert!(defaults.len() == 1 && defaults[0].contains(&hexadecimal), "{hexadecimal} in {routes}");

    let core = mta.exec(&["cat", "/proc/1/task/1/children"]);
    let core = core.split_whitespace().next().expect("a core").to_owned();
    let status = mta.exec(&["cat", &format!("/proc/{core}/status")]);
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
    };
    assert_eq!(field("Uid:").split_whitespace().collect::<Vec<_>>(), ["2525"; 4]);
    // Ports below 1024 and no other right.
    assert_eq!((field("CapEff:"), field("CapBnd:")), ("0000000000000400", "0000000000000400"));
    assert_eq!(field("NoNewPrivs:"), "1");
}

/// A key and a certificate in a directory that only root can enter.
fn root_only_keys() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["mta.example.org".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    for (name, content) in [("server.key", key.serialize_pem()), ("server.pem", certificate.pem())]
    {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}
