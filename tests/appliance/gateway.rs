//! Terminal `net` in network namespaces: mail leaves through the configured gateway, and no other
//! route changes.

use crate::netns::{FAR, FAR_PORT, Internet};
use crate::support::{Grid, Running};
use nix::sys::signal::Signal;
use std::process::Command;

const LINE: &str = "Error: failed to preconfigure the MTA";

/// The user of the appliance in the namespace.
#[derive(Clone, Copy)]
enum Who {
    Root,
    /// With CAP_NET_ADMIN and nothing else.
    Administrator,
    Ordinary,
}

fn command(grid: &Grid, internet: &Internet, who: Who, vars: &[(&str, &str)]) -> Command {
    let program = grid.path("postern");
    let mut command = match who {
        Who::Root => internet.in_box(&program),
        Who::Administrator => internet.in_box_as_user(&program, "+net_admin"),
        Who::Ordinary => internet.in_box_as_user(&program, "-net_admin"),
    };
    command.arg("init");
    grid.dress(&mut command, vars);
    command
}

/// Starts it in the namespace and waits until it is ready; gives its output until then, too.
fn start(grid: &Grid, internet: &Internet, who: Who, vars: &[(&str, &str)]) -> (Running, String) {
    let mut running = Running::start(command(grid, internet, who, vars));
    running.wait_ready();
    let said = running.seen.join("\n");
    (running, said)
}

/// Starts it in the namespace, where it must end by itself.
fn refuse(grid: &Grid, internet: &Internet, who: Who, vars: &[(&str, &str)]) -> (i32, String) {
    let mut running = Running::start(command(grid, internet, who, vars));
    running.wait_all_gone();
    (running.end().code().unwrap(), running.seen.join("\n") + "\n")
}

fn open_to_all(grid: &Grid) {
    for name in ["data", "run"] {
        std::os::unix::fs::chown(
            grid.path(name),
            Some(crate::support::ORDINARY),
            Some(crate::support::ORDINARY),
        )
        .unwrap();
    }
}

#[test]
fn mail_leaves_through_the_gateway_that_is_asked_for() {
    let grid = Grid::as_root();
    let mut internet = Internet::new();
    internet.open_sinks(&grid.path("postern"), &grid.path("mail"));
    let server = format!("{}:12925", grid.address);
    let relay = format!("[{}]:{FAR_PORT}", FAR[0]);
    let vars = |gateway: &'static str| {
        [("MTA_SMART_RELAY", relay.clone()), ("MTA_TERMINAL_NET", gateway.to_owned())]
    };
    let borrowed = |vars: &[(&'static str, String)]| {
        vars.iter().map(|(n, v)| (*n, v.clone())).collect::<Vec<_>>()
    };
    let routes = internet.route(&["show"]);

    let run = |vars: Vec<(&'static str, String)>, expected: [usize; 2]| {
        let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (mut running, said) = start(&grid, &internet, Who::Root, &vars);
        assert_eq!(internet.mail(&server), expected, "{said}");
        assert_eq!(running.stop(Signal::SIGTERM), 143);
        said
    };
    // Nothing is configured: the namespace's own route, which leads through gateway 1.
    run(borrowed(&vars("")), [1, 0]);
    assert_eq!(internet.route(&["show"]), routes);

    let said = run(borrowed(&vars("10.91.2.1")), [1, 1]);
    let line = "INFO init: terminal net: the default route now leads through 10.91.2.1 (before: \
    via 10.91.1.1 (eth1))";
    assert!(said.contains(line), "{said}");
    let now = internet.route(&["show"]);
    assert_eq!(
        now,
        routes.replace(
            "default via 10.91.1.1 dev eth1",
            "default via 10.91.2.1 dev eth2 proto static"
        )
    );
    assert!(
        internet.route(&["-6", "show", "default"]).contains("fd91:1::1"),
        "the other family is left alone"
    );

    // Again: there is nothing to do, and nothing is done.
    let said = run(borrowed(&vars("10.91.2.1")), [1, 2]);
    assert!(
        said.contains("terminal net: the default route leads through 10.91.2.1 already"),
        "{said}"
    );
    assert_eq!(internet.route(&["show"]), now);

    // And back.
    let said = run(borrowed(&vars("10.91.1.1")), [2, 2]);
    assert!(said.contains("now leads through 10.91.1.1 (before: via 10.91.2.1 (eth2))"), "{said}");
}

#[test]
fn the_new_gateway_is_not_trusted_and_the_old_one_is_a_neighbour_as_any_other() {
    let grid = Grid::as_root();
    let internet = Internet::new();
    let listen = format!("{}, 10.91.1.2, 10.91.2.2", grid.address);
    let vars = [
        ("MTA_TERMINAL_NET", "gw.test"),
        ("MTA_LISTEN", listen.as_str()),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1 10.91.0.0/16"),
    ];
    let (mut running, said) = start(&grid, &internet, Who::Root, &vars);
    assert!(said.contains("the default gateway 10.91.2.1 is not trusted merely because"), "{said}");
    assert!(!said.contains("the default gateway 10.91.1.1"), "{said}");
    // 24: swaks' exit code for a refused recipient.
    assert_eq!(internet.try_recipient("gw2", "10.91.2.2:12925"), 24);
    assert_eq!(internet.try_recipient("gw1", "10.91.1.2:12925"), 0);
    assert_eq!(running.stop(Signal::SIGTERM), 143);
}

#[test]
fn mail_leaves_through_a_gateway_of_ipv6() {
    let grid = Grid::as_root();
    let mut internet = Internet::new();
    internet.open_sinks(&grid.path("postern"), &grid.path("mail"));
    let server = format!("{}:12925", grid.address);
    let relay = format!("[{}]:{FAR_PORT}", FAR[1]);
    // A link-local gateway needs its interface; both gateways have this address.
    for (gateway, expected) in [("", [1, 0]), ("fd91:2::1", [1, 1]), ("fe80::91%eth1", [2, 1])] {
        let (mut running, said) = start(
            &grid,
            &internet,
            Who::Root,
            &[("MTA_SMART_RELAY", &relay), ("MTA_TERMINAL_NET", gateway)],
        );
        assert_eq!(internet.mail(&server), expected, "{said}");
        assert_eq!(running.stop(Signal::SIGTERM), 143);
        let routes = internet.route(&["-6", "show", "default"]);
        assert_eq!(routes.lines().count(), 1, "{routes}");
        assert_eq!(internet.route(&["show", "default"]), "default via 10.91.1.1 dev eth1\n");
    }
}

#[test]
fn every_default_route_of_the_family_is_replaced_and_no_other_one() {
    let grid = Grid::as_root();
    let internet = Internet::new();
    for route in [
        &["add", "default", "via", "10.91.1.1", "metric", "50"][..],
        &["add", "default", "via", "10.91.2.1", "metric", "70"],
        &[
            "add",
            "default",
            "metric",
            "90",
            "nexthop",
            "via",
            "10.91.1.1",
            "nexthop",
            "via",
            "10.91.2.1",
        ],
        &["add", "128.0.0.0/1", "via", "10.91.1.1"],
        &["add", "203.0.113.0/24", "via", "10.91.1.1"],
        &["add", "default", "via", "10.91.1.1", "table", "100"],
        &[
            "-6",
            "add",
            "default",
            "metric",
            "2000",
            "nexthop",
            "via",
            "fd91:1::1",
            "nexthop",
            "via",
            "fd91:2::1",
        ],
    ] {
        internet.route(route);
    }
    let others = |internet: &Internet| {
        let all = internet.route(&["show", "table", "all"])
            + &internet.route(&["-6", "show", "table", "all"]);
        // The kernel's own unreachable routes, and expiry counters, are left out.
        let kept = |line: &&str| {
            (line.contains("table 100") || !line.starts_with("default"))
                && !line.contains("expires")
        };
        let mut lines: Vec<_> = all
            .lines()
            .filter(kept)
            // The kernel adds link-local addresses after duplicate address detection.
            .filter(|line| !line.contains("nexthop") && !line.starts_with("local fe80:"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let before = others(&internet);
    let (mut running, said) =
        start(&grid, &internet, Who::Root, &[("MTA_TERMINAL_NET", "both.test")]);
    assert_eq!(running.stop(Signal::SIGTERM), 143);
    assert_eq!(
        internet.route(&["show", "default"]),
        "default via 10.91.2.1 dev eth2 metric 70\n",
        "{said}"
    );
    assert!(
        said.contains(
            "now leads through 10.91.2.1 (before: via 10.91.1.1 (eth1), via 10.91.1.1 \
        (eth1), via several"
        ),
        "{said}"
    );
    let six = internet.route(&["-6", "show", "default"]);
    assert!(
        six.starts_with("default via fd91:2::1 dev eth2 ") && six.lines().count() == 1,
        "{six}"
    );
    assert_eq!(others(&internet), before);
}

#[test]
fn an_ordinary_user_needs_one_capability_and_only_for_a_change() {
    let grid = Grid::as_root();
    open_to_all(&grid);
    let internet = Internet::new();
    let vars = [("MTA_TERMINAL_NET", "10.91.2.1")];
    let (code, said) = refuse(&grid, &internet, Who::Ordinary, &vars);
    assert_eq!(code, 77, "{said}");
    let cause = said
        .split_once(&format!("{LINE}\n  "))
        .unwrap_or_else(|| panic!("{said}"))
        .1
        .lines()
        .next()
        .unwrap();
    assert!(
        cause.starts_with("MTA_TERMINAL_NET is '10.91.2.1': Operation not permitted"),
        "{cause}"
    );
    assert!(cause.contains("cap_add: [NET_ADMIN]"), "{cause}");
    assert!(grid.log().contains(LINE) && grid.log().contains(cause), "{}", grid.log());
    assert_eq!(internet.route(&["show", "default"]), "default via 10.91.1.1 dev eth1\n");

    let (mut running, said) = start(&grid, &internet, Who::Administrator, &vars);
    assert!(said.contains("now leads through 10.91.2.1"), "{said}");
    assert_eq!(
        crate::support::status_of(running.core, "CapEff"),
        "0000000000000000",
        "the core cannot change routes"
    );
    assert_eq!(running.stop(Signal::SIGTERM), 143);
    assert!(grid.log().contains("now leads through 10.91.2.1"), "{}", grid.log());

    // An existing route needs no right.
    let (mut running, said) = start(&grid, &internet, Who::Ordinary, &vars);
    assert!(said.contains("leads through 10.91.2.1 already"), "{said}");
    assert_eq!(running.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_gateway_that_is_not_near_stops_the_start_and_changes_nothing() {
    let grid = Grid::as_root();
    let internet = Internet::new();
    let routes = internet.route(&["show"]) + &internet.route(&["-6", "show"]);
    for (gateway, words) in [
        ("192.0.2.1", "Network is unreachable"),
        ("2001:db8:99::1", "fd91:1::2/64 on eth1"),
        ("192.0.2.1", "10.91.1.2/24 on eth1, 10.91.2.2/24 on eth2"),
        ("10.91.1.2", "that is an address of this machine"),
        ("fd91:1::2", "that is an address of this machine"),
        ("fe80::91", "write fe80::91%eth0"),
    ] {
        let (code, said) = refuse(&grid, &internet, Who::Root, &[("MTA_TERMINAL_NET", gateway)]);
        assert_eq!(code, 69, "{said}");
        let cause = said
            .split_once(&format!("{LINE}\n  "))
            .unwrap_or_else(|| panic!("{said}"))
            .1
            .lines()
            .next()
            .unwrap();
        assert!(
            cause.starts_with(&format!("MTA_TERMINAL_NET is '{gateway}': "))
                && cause.contains(words),
            "{gateway}: {cause}"
        );
        assert_eq!(
            internet.route(&["show"]) + &internet.route(&["-6", "show"]),
            routes,
            "{gateway}"
        );
    }
    // Of a name with an address of each family, one that works is enough.
    let (mut running, said) =
        start(&grid, &internet, Who::Root, &[("MTA_TERMINAL_NET", "half.test")]);
    assert!(said.contains("now leads through 10.91.2.1"), "{said}");
    assert!(said.contains("WARN init: terminal net: 2001:db8:99::1 is not used: "), "{said}");
    assert_eq!(running.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_terminal_without_a_wire_is_not_connected() {
    let grid = Grid::as_root();
    open_to_all(&grid);
    let internet = Internet::new();
    // As an ordinary user, who cannot change anything.
    for (host, why) in [
        ("0.255.255.255", "0.255.255.255 is 0.255.255.255"),
        ("nowhere.test", "nowhere.test is 0.255.255.255"),
        ("nobody.test", "nobody.test does not resolve ("),
    ] {
        let export = format!("{host}:/keys");
        let share = format!("//{host}/share");
        let vars = [
            ("MTA_TERMINAL_NET", host),
            ("MTA_TERMINAL_FS", &export),
            ("MTA_TERMINAL_LOG", &share),
        ];
        let (mut running, said) = start(&grid, &internet, Who::Ordinary, &vars);
        assert!(said.contains(&format!("WARN init: terminal net: not connected: {why}")), "{said}");
        for name in ["fs", "log"] {
            assert!(
                said.contains(&format!("WARN init: terminal {name} is not connected: {why}")),
                "{said}"
            );
        }
        assert_eq!(running.stop(Signal::SIGTERM), 143);
        assert_eq!(internet.route(&["show", "default"]), "default via 10.91.1.1 dev eth1\n");

        // A monitor that does not resolve may start later; one at the address "nowhere" will not.
        let monitor = format!("http://{host}:9091");
        let vars = [("MTA_TERMINAL_MON", monitor.as_str())];
        let (mut running, said) = start(&grid, &internet, Who::Ordinary, &vars);
        assert_eq!(
            said.contains(&format!("terminal mon is not connected: {why}")),
            host != "nobody.test",
            "{said}"
        );
        assert_eq!(running.stop(Signal::SIGTERM), 143);

        let vars = [("MTA_TERMINAL_LOG", share.as_str()), ("MTA_LOGS_ENABLED", "yes")];
        let (code, said) = refuse(&grid, &internet, Who::Ordinary, &vars);
        assert_eq!(code, 69, "{said}");
        assert!(
            said.contains("Error: logs are enabled but the 'log' terminal is not connected.\n"),
            "{said}"
        );
    }
}

#[test]
fn a_low_port_takes_a_right() {
    let grid = Grid::as_root();
    open_to_all(&grid);
    // A network namespace has its own setting for privileged ports, whatever this machine has.
    let internet = Internet::new();
    let start = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log \
    file in MTA for more details on the failure";
    for (name, line) in
        [("smtp_port", start), ("ui_port", "Error: failed to initialize the UI backend")]
    {
        let variable = format!("MTA_{}", name.to_uppercase());
        let (code, said) = refuse(&grid, &internet, Who::Ordinary, &[(&variable, "26")]);
        assert_eq!(code, 77, "{said}");
        let cause = said
            .split_once(&format!("{line}\n  "))
            .unwrap_or_else(|| panic!("{said}"))
            .1
            .lines()
            .next()
            .unwrap();
        assert!(
            cause.starts_with(&format!("{name}=26 cannot be opened: Permission denied")),
            "{cause}"
        );
        assert!(cause.contains("CAP_NET_BIND_SERVICE"), "{cause}");
        assert!(grid.log().contains(line) && grid.log().contains(cause), "{}", grid.log());
    }
}

#[test]
fn check_foresees_what_would_stop_the_start() {
    let grid = Grid::as_root();
    open_to_all(&grid);
    let internet = Internet::new();
    let check = |who: Who, gateway: &str| {
        let command = command(&grid, &internet, who, &[("MTA_TERMINAL_NET", gateway)]);
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut check = Command::new(command.get_program());
        check.args(&args[..args.len() - 1]).arg("check");
        grid.dress(&mut check, &[("MTA_TERMINAL_NET", gateway)]);
        let output = check.output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(told.contains("would stop here"))));
        told
    };
    let stop = "`postern init` would stop here with: Error: failed to preconfigure the MTA";
    for (who, gateway, words) in [
        (Who::Root, "10.91.2.1", None),
        (Who::Administrator, "10.91.2.1", None),
        (Who::Ordinary, "10.91.1.1", None),
        (Who::Ordinary, "nowhere.test", None),
        (Who::Root, "half.test", None),
        (Who::Ordinary, "10.91.2.1", Some("cap_add: [NET_ADMIN]")),
        (Who::Root, "192.0.2.1", Some("10.91.1.2/24 on eth1")),
    ] {
        let told = check(who, gateway);
        match words {
            None => assert!(!told.contains(stop), "{gateway}: {told}"),
            Some(words) => {
                assert!(told.contains(stop) && told.contains(words), "{gateway}: {told}")
            }
        }
    }
    assert_eq!(
        internet.route(&["show", "default"]),
        "default via 10.91.1.1 dev eth1\n",
        "nothing was changed"
    );
}
