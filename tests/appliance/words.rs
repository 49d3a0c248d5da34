//! The output of the commands: `check`, `describe`, `health`, `--help`.

use crate::support::{Grid, is_root};
use postern::ground::gateway::default_gateways;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

#[test]
fn check_shows_values_sources_and_who_may_relay() {
    let grid = Grid::new();
    let secret = grid.make_file("secret", "hunter2\n");
    let vars = [
        ("MTA_PASSWORD_FILE", secret.to_str().unwrap()),
        ("MTA_USERNAME", "anna"),
        ("MTA_QUEUE_LIFETIME", "90m"),
    ];
    let ended = grid.run(&["check"], &vars);
    assert_eq!(ended.code, 0, "{ended:?}");
    let cells = |name: &str| {
        let line = ended
            .stdout
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("{name}"));
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(cells("hostname"), ["hostname", "localhost.localdomain", "default"]);
    assert_eq!(cells("username"), ["username", "anna", "MTA_USERNAME"]);
    assert_eq!(
        cells("password"),
        ["password", "********", &format!("{} (MTA_PASSWORD_FILE)", secret.display())]
    );
    assert_eq!(cells("queue_lifetime"), ["queue_lifetime", "1h30m", "MTA_QUEUE_LIFETIME"]);
    assert!(!ended.stdout.contains("hunter2"));
    assert!(
        ended.stdout.contains("127.0.0.1 may relay; everybody else is refused with 554 5.7.1."),
        "{}",
        ended.stdout
    );
}

#[test]
fn check_tells_every_property_of_the_class() {
    let grid = Grid::new();
    // A group has values as soon as it has a member.
    let ended = grid.run(&["check"], &[("MTA_UPSTREAM_A_HOST", "[127.0.0.1]:2526")]);
    for property in &postern::appliance::class::class().property {
        let name = property.name.replace("<name>", "a");
        let is_told = |line: &str| line.split(' ').next() == Some(&name);
        assert!(ended.stdout.lines().any(is_told), "{name}");
    }
}

/// A service named `mta`, a YAML block with a line break at its end, a file from Windows.
#[test]
fn check_takes_values_as_the_field_hands_them_over() {
    let grid = Grid::new();
    let name = grid.make_file("hostname", "\u{feff}relay.example\r\n");
    let vars = [
        ("MTA_HOSTNAME_FILE", name.to_str().unwrap()),
        ("MTA_SMART_RELAY", "[smart.example]:2525\n"),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1\n10.0.0.0/8\n"),
        ("MTA_PORT", "tcp://10.43.0.7:25"),
        ("MTA_SERVICE_HOST", "10.43.0.7"),
        ("MTA_SERVICE_PORT", "25"),
        ("MTA_PORT_25_TCP_ADDR", "10.43.0.7"),
    ];
    let ended = grid.run(&["check"], &vars);
    assert_eq!(ended.code, 0, "{ended:?}");
    for shown in ["relay.example ", "[smart.example]:2525 ", "127.0.0.1, 10.0.0.0/8 "] {
        assert!(ended.stdout.contains(shown), "{shown}:\n{}", ended.stdout);
    }
    let links = ended.stdout.lines().filter(|line| line.contains("a service named mta"));
    assert_eq!(links.count(), 1, "{}", ended.stdout);
}

/// `check` predicts the failure with which `init` ends.
#[test]
fn check_foresees_places_that_cannot_be_used() {
    for vars in [
        [("MTA_VOLUME_DATA", "/etc")],
        [("MTA_VOLUME_DATA", "/proc")],
        [("MTA_LISTEN", "0.0.0.0,[::]")],
        [("MTA_LISTEN", "127.0.0.1 127.0.0.1")],
        [("MTA_RUN_DIR", "/proc")],
        [("MTA_RUN_DIR", "/sys/postern")],
        [("MTA_RUN_DIR", "/etc/hostname")],
    ] {
        let grids = [Some(Grid::new()), is_root().then(Grid::as_root)];
        for grid in grids.into_iter().flatten() {
            let (foreseen, ended) = (grid.run(&["check"], &vars), grid.run(&["init"], &vars));
            assert!(![0, 143].contains(&ended.code), "{vars:?}: {ended:?}");
            assert_eq!(foreseen.code, 1, "{vars:?}: {foreseen:?}");
            let line =
                foreseen.stdout.lines().find_map(|line| line.split_once("would stop here with: "));
            let line = line.and_then(|(_, line)| line.split(" (").next()).unwrap();
            assert!(ended.stderr.contains(line), "{vars:?}: {line}\n{}", ended.stderr);
        }
    }
}

/// Names that do not resolve take a moment, and are reported; the report stops nothing.
#[test]
fn check_tells_of_names_that_do_not_resolve() {
    let grid = Grid::new();
    let vars = [
        ("MTA_SMART_RELAY", "[relay.invalid]:587"),
        ("MTA_TERMINAL_NET", "gateway.invalid"),
        ("MTA_TERMINAL_MON", "http://monitor.invalid:9091"),
        ("MTA_WEBHOOK_URL", "http://127.0.0.1:8080/x"),
    ];
    let ended = grid.run(&["check"], &vars);
    assert_eq!(ended.code, 0, "{ended:?}");
    for words in [
        "NOTE: smart_relay is [relay.invalid]:587: relay.invalid does not resolve",
        "WARNING: smart_relay is [relay.invalid]:587: port 587 usually wants a login",
        "NOTE: terminal net: not connected: gateway.invalid does not resolve",
        "NOTE: terminal mon: monitor.invalid does not resolve",
        "WARNING: http://127.0.0.1:8080 of webhook_url gets no events",
    ] {
        assert!(ended.stdout.contains(words), "{words}:\n{}", ended.stdout);
    }
}

/// A silent name server costs two seconds in total, however many names are looked up.
#[test]
fn check_does_not_wait_for_name_servers_that_are_silent() {
    if !is_root() {
        return;
    }
    let grid = Grid::as_root();
    let _silent = UdpSocket::bind((grid.address, 53)).unwrap();
    let resolver = grid.make_file("resolv.conf", &format!("nameserver {}\n", grid.address));
    let vars = [
        ("MTA_SMART_RELAY", "relay.example"),
        ("MTA_TERMINAL_NET", "gateway.example"),
        ("MTA_TERMINAL_FS", "keys.example:/keys"),
        ("MTA_TERMINAL_LOG", "//nas.example/share"),
        ("MTA_LOGS_ENABLED", "yes"),
        ("MTA_TERMINAL_MON", "http://monitor.example"),
        ("MTA_WEBHOOK_URL", "https://hook.example/"),
    ];
    let script =
        format!("mount --bind {} /etc/resolv.conf && time -p \"$0\" check", resolver.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", &script]).arg(grid.path("postern"));
    grid.dress(&mut command, &vars);
    let output = command.output().unwrap();
    let (said, times) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        said.matches("does not resolve (no answer within 1.5 s)").count(),
        6,
        "{said}\n{times}"
    );
    // A start waits longer, and may have an answer then.
    assert!(!said.contains("not connected") && !times.contains("not connected"), "{said}\n{times}");
    assert_eq!(said.matches("a start waits 30 s for it").count(), 3, "{said}\n{times}");
    let seconds = times.lines().find_map(|line| line.strip_prefix("real ")).unwrap();
    // The limit is two; a busy machine starts programs slowly.
    assert!(seconds.parse::<f32>().unwrap() < 4.0, "{times}");
}

/// A running appliance is not disturbed and keeps its ports; a second one would not start.
#[test]
fn check_tries_ports_where_no_appliance_runs() {
    let grid = Grid::new();
    let mut running = grid.init(&[]);
    let ended = grid.run(&["check"], &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("free ports were not checked"), "{}", ended.stdout);
    let other = grid.make_dir("other");
    let ended = grid.run(&["check"], &[("MTA_RUN_DIR", other.to_str().unwrap())]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for words in ["smtp_port=12925 cannot be opened", "ui_port=12980 cannot be opened"] {
        assert!(ended.stdout.contains(words), "{words}:\n{}", ended.stdout);
    }
    assert_eq!(grid.run(&["health"], &[]).code, 0);
    assert_eq!(running.stop(nix::sys::signal::Signal::SIGTERM), 143);
    let ended = grid.run(&["check"], &[("MTA_RUN_DIR", other.to_str().unwrap())]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(other.read_dir().unwrap().next().is_none());
}

#[test]
fn check_understands_words_of_other_relays() {
    let grid = Grid::new();
    let ended =
        grid.run(&["check"], &[("MTA_RELAYHOST", "a.example"), ("MTA_RELAYHOST_PASSWORD", "x")]);
    assert_eq!(ended.code, 64);
    assert!(ended.stderr.contains("did you mean MTA_SMART_RELAY?"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the login at MTA_SMART_RELAY is MTA_SMART_RELAY_USERNAME"),
        "{}",
        ended.stderr
    );
    let ended = grid.run(
        &["check"],
        &[("SMTPD_TRUSTED_NETWORKS", "10.0.0.0/8"), ("POSTFIX_myhostname", "a.example")],
    );
    assert_eq!(ended.code, 0);
    for words in ["WARNING: SMTPD_TRUSTED_NETWORKS is ignored", "write MTA_HOSTNAME"] {
        assert!(ended.stdout.contains(words), "{words}:\n{}", ended.stdout);
    }
}

#[test]
fn too_few_threads_are_told_before_they_are_missed() {
    let grid = Grid::new();
    for verb in ["check", "init"] {
        let mut command = Command::new("prlimit");
        command.arg("--nproc=12").arg(grid.path("postern")).arg(verb);
        grid.dress(&mut command, &[("MTA_WORKER_THREADS", "2")]);
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("no more than 12 processes and threads are allowed here"), "{said}");
        assert!(said.contains("docker run --pids-limit 106"), "{said}");
        assert_eq!(ended.status.code(), Some(if verb == "check" { 1 } else { 64 }), "{said}");
    }
}

#[test]
fn check_warns_of_open_relays_and_of_gateways() {
    let grid = Grid::new();
    for open in ["0.0.0.0/0", "::/0"] {
        let ended = grid.run(&["check"], &[("MTA_SMTPD_TRUSTED_NETWORKS", open)]);
        assert!(ended.code == 0 && ended.stdout.contains("OPEN RELAY"), "{ended:?}");
    }
    // The two halves of the IPv4 address space contain any gateway.
    let ended = grid.run(&["check"], &[("MTA_SMTPD_TRUSTED_NETWORKS", "0.0.0.0/1 128.0.0.0/1")]);
    for gateway in default_gateways().iter().filter(|gateway| gateway.is_ipv4()) {
        let words = format!("the default gateway {gateway} is not trusted merely because ");
        assert!(ended.stdout.contains(&words), "{}", ended.stdout);
    }
    let none = default_gateways().iter().all(|gateway| !gateway.is_ipv4());
    assert_eq!(!none, ended.stdout.contains("merely because"), "{}", ended.stdout);
}

#[test]
fn check_answers_64_for_wrong_properties_and_warns_of_what_init_refuses() {
    let grid = Grid::new();
    let ended = grid.run(&["check"], &[("MTA_SMTP_PORT", "no"), ("MTA_LOG_FORMAT", "xml")]);
    assert_eq!(ended.code, 64);
    assert_eq!(
        ended.stderr.lines().filter(|line| line.starts_with("Error: ")).count(),
        2,
        "{ended:?}"
    );
    let ended = grid.run(
        &["check"],
        &[
            ("MTA_SMART_RELAY", "a.example"),
            ("MTA_CC_MTA", "b.example"),
            ("MTA_TERMINAL_NET", "203.0.113.77"),
        ],
    );
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.contains("WARNING: cc_mta does nothing"), "{}", ended.stdout);
    assert!(ended.stdout.contains("`postern init` would stop here"), "{}", ended.stdout);
}

#[test]
fn describe_speaks_three_languages() {
    let grid = Grid::new();
    let toml = grid.run(&["describe"], &[]).stdout;
    assert_eq!(toml, include_str!("../../appliance/mta.toml"));
    let json: serde_json::Value =
        serde_json::from_str(&grid.run(&["describe", "--format", "json"], &[]).stdout).unwrap();
    assert_eq!(json["counter"][0]["name"], "mta_mqueue_messages");
    let markdown = grid.run(&["describe", "--format", "markdown"], &[]).stdout;
    assert_eq!(markdown, include_str!("../../docs/class.md"));
    assert!(grid.run(&["describe", "--format", "yaml"], &[]).code == 64);
}

#[test]
fn health_is_the_answer_of_readyz() {
    let grid = Grid::new();
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 69)] {
        let listener = TcpListener::bind((grid.address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 {status}\r\n\r\nstarting\n").unwrap();
            String::from_utf8(request).unwrap()
        });
        let ended = grid.run(&["health"], &[("MTA_UI_PORT", &port)]);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.0\r\n"));
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(
            code == 69,
            ended.stderr.contains("503 Service Unavailable' starting"),
            "{ended:?}"
        );
    }
    let nobody = grid.run(&["health"], &[]);
    assert_eq!(nobody.code, 69);
    assert!(
        nobody.stderr.contains(&format!("no answer from {}:12980: ", grid.address)),
        "{nobody:?}"
    );
}

#[test]
fn help_names_the_commands_and_where_to_look_next() {
    let grid = Grid::new();
    let help = grid.run(&["--help"], &[]).stdout;
    for word in [
        "init",
        "check",
        "health",
        "describe",
        "MTA_SMTP_PORT=2525",
        "/var/log/appliance/log",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} missing in\n{help}");
    }
    assert!(!help.contains("\n  core "), "{help}");
    assert!(grid.run(&["--version"], &[]).stdout.starts_with("postern 0."));
}
