//! The container engine, used by its command-line programs.
//!
//! Everything that a test creates is removed when it goes out of scope, on failure too, after its
//! logs have been printed.

use crate::wait_for;
use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A name that no other run on this machine has.
pub fn unique(part: &str) -> String {
    format!("postern-test-{part}-{}", std::process::id())
}

fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let done =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    let out = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if done.status.success() {
        return Ok(out);
    }
    Err(format!(
        "{shown}: {}\n{out}\n{}",
        done.status,
        String::from_utf8_lossy(&done.stderr).trim()
    ))
}

/// One test at a time: two grids at once would use each other's networks, and more memory than a
/// small machine has. (`cargo nextest` separates them by its configuration; this is for `cargo
/// test`.)
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The client and Compose, found and tried.
pub struct Engine {
    _turn: MutexGuard<'static, ()>,
    docker: String,
    compose: Vec<String>,
}

impl Engine {
    /// Finds a client that can build and an engine that answers, and provides the base images; or
    /// fails the test.
    pub fn find() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let docker = run(&mut Command::new(format!("{ROOT}/scripts/docker-client.sh"))).unwrap_or_else(|why| {
            panic!("these tests need a Docker engine and can't be left out; `.ci/run prepare` sets \
            one up.\n{why}")
        });
        let mut compose = vec![docker.clone(), "compose".to_owned()];
        if run(Command::new(&docker).args(["compose", "version"])).is_err() {
            compose = vec!["docker-compose".to_owned()];
            run(Command::new("docker-compose").arg("version")).unwrap_or_else(|why| {
                panic!("neither the plug-in `docker compose` nor docker-compose is here.\n{why}")
            });
        }
        let engine = Self { _turn: turn, docker, compose };
        engine.timed(
            "base images",
            &mut engine.command(&format!("{ROOT}/scripts/base-images.sh"), &[]),
        );
        engine
    }

    /// A command that finds the right client first: docker-compose 1.29 calls the first `docker` on
    /// the PATH.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        if let Some(folder) = Path::new(&self.docker).parent().filter(|folder| folder.is_absolute())
        {
            command.env("PATH", format!("{}:{path}", folder.display()));
        }
        command
            .current_dir(ROOT)
            .args(args)
            .env("DOCKER_BUILDKIT", "1")
            .env("COMPOSE_DOCKER_CLI_BUILD", "1");
        command
    }

    fn timed(&self, what: &str, command: &mut Command) -> String {
        let began = Instant::now();
        eprintln!("grid: {what} …");
        let out = run(command).unwrap_or_else(|why| panic!("{why}"));
        eprintln!("grid: {what}: done in {:.1} s", began.elapsed().as_secs_f64());
        out
    }

    /// A file inside a container, which may have ended.
    pub fn file(&self, container: &str, path: &str) -> Result<String, String> {
        // The result is a tar archive of one file: its header and its end are blocks of 512 octets,
        // padded with zeros.
        let archive = self.try_docker(&["cp", &format!("{container}:{path}"), "-"])?;
        let text: String = archive.chars().skip(512).filter(|c| *c != '\0').collect();
        Ok(text)
    }

    fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        run(&mut self.command(&self.docker, args))
    }

    /// Runs the client; gives what it prints.
    pub fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A small network that no network of the engine overlaps with.
    pub fn free_subnet(&self) -> String {
        let ids = self.docker(&["network", "ls", "--quiet", "--no-trunc"]);
        let mut args =
            vec!["network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}"];
        args.extend(ids.lines());
        let taken = self.docker(&args);
        // Two simultaneous runs start at different numbers.
        let start = std::process::id() % 200;
        (0..200)
            .map(|step| format!("10.25.{}.", 30 + (start + step) % 200))
            .find(|prefix| {
                !taken.split_whitespace().any(|subnet| subnet.starts_with(prefix.as_str()))
            })
            .map(|prefix| format!("{prefix}0/24"))
            .expect("all of our test networks are taken; see `docker network ls`")
    }

    fn print_logs(&self, what: &str, id: &str) {
        let logs = self
            .command(&self.docker, &["logs", "--timestamps", "--tail", "40", id])
            .stdin(Stdio::null())
            .output();
        if let Ok(logs) = logs {
            let (out, err) =
                (String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&logs.stderr));
            eprintln!("---- the last lines of {what}\n{out}{err}");
        }
    }
}

/// A running container.
pub struct Container<'a> {
    engine: &'a Engine,
    what: String,
    /// The engine's name for it.
    pub id: String,
}

impl Container<'_> {
    /// Waits until the image's own HEALTHCHECK says that it is ready.
    pub fn wait_healthy(&self) {
        wait_for(&format!("{} to be healthy", self.what), Duration::from_secs(90), || {
            let format = "{{.State.Status}} {{.State.Health.Status}}";
            let state = self.engine.try_docker(&["inspect", "--format", format, &self.id])?;
            assert!(
                state.starts_with("running") || state.starts_with("created"),
                "{} is not running: {state}; its logs are below",
                self.what
            );
            if state == "running healthy" { Ok(()) } else { Err(state) }
        });
    }

    /// Runs a program inside; gives what it prints.
    pub fn exec(&self, args: &[&str]) -> String {
        let mut all = vec!["exec", &self.id];
        all.extend(args);
        self.engine.docker(&all)
    }

    /// The port of this machine that leads to a port of the container.
    pub fn port(&self, inside: u16) -> u16 {
        let shown = self.engine.docker(&["port", &self.id, &inside.to_string()]);
        shown
            .lines()
            .next()
            .and_then(|line| line.rsplit(':').next()?.parse().ok())
            .unwrap_or_else(|| panic!("port {inside} of {} is not published: {shown:?}", self.what))
    }
}

/// One run of a compose file under its own name.
pub struct Grid<'a> {
    engine: &'a Engine,
    project: String,
    file: &'static str,
    variables: Vec<(&'static str, String)>,
    /// Whether the image is removed with the grid, because the file has built it.
    builds: bool,
}

impl<'a> Grid<'a> {
    /// The example grid, which builds its images.
    pub fn new(engine: &'a Engine, part: &str) -> Self {
        let variables = vec![("POSTERN_IMAGE", unique(part)), ("WEBAPP_INTERVAL", "2".to_owned())];
        let mut grid = Self::of(engine, part, "compose.yaml", variables);
        grid.builds = true;
        grid
    }

    /// Another file with its own variables, and a free network in every case.
    pub fn of(
        engine: &'a Engine,
        part: &str,
        file: &'static str,
        mut variables: Vec<(&'static str, String)>,
    ) -> Self {
        variables.push(("POSTERN_AUX_SUBNET", engine.free_subnet()));
        Self { engine, project: unique(part), file, variables, builds: false }
    }

    fn command(&self, args: &[&str]) -> Command {
        let (program, first) = self.engine.compose.split_first().expect("the name of a program");
        let mut command = self.engine.command(program, &[]);
        command.args(first).args(["--project-name", &self.project, "--file", self.file]).args(args);
        // The environment of these tests must not affect the files.
        command.env_remove("POSTERN_VERSION").env_remove("POSTERN_REVISION");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Port 0: any free one.
        for port in
            ["POSTERN_UI_PORT", "WEBAPP_PORT", "MX_PORT", "PROMETHEUS_PORT", "PUSHGATEWAY_PORT"]
        {
            command.env(port, "0");
        }
        command
    }

    pub fn compose(&self, args: &[&str]) {
        self.engine.timed(&format!("compose {}", args.join(" ")), &mut self.command(args));
    }

    /// The file as Compose resolves it.
    pub fn config(&self, variables: &[(&str, &str)]) -> String {
        run(self.command(&["config"]).envs(variables.iter().copied()))
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// The engine's name for a network of the file.
    pub fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    pub fn container(&self, service: &str) -> Container<'a> {
        let id = run(&mut self.command(&["ps", "--quiet", service]))
            .unwrap_or_else(|why| panic!("{why}"));
        assert!(!id.is_empty(), "the service {service} has no container");
        Container { engine: self.engine, what: service.to_owned(), id }
    }

    pub fn port(&self, service: &str, inside: u16) -> u16 {
        self.container(service).port(inside)
    }
}

impl Drop for Grid<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ids = run(&mut self.command(&["ps", "--quiet"])).unwrap_or_default();
            for id in ids.lines() {
                let name = self.engine.try_docker(&[
                    "inspect",
                    "--format",
                    "{{.Name}} ({{.State.Status}})",
                    id,
                ]);
                self.engine.print_logs(&name.unwrap_or_default(), id);
            }
        }
        eprintln!("grid: removing {}", self.project);
        let down = ["down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5"];
        let done = run(&mut self.command(&down));
        // `--rmi local` keeps an image that has a name in the file.
        let image = match self.builds {
            true => self.engine.try_docker(&["image", "rm", "--force", &self.project]),
            false => Ok(String::new()),
        };
        for why in [done, image].into_iter().filter_map(Result::err) {
            eprintln!("grid: could not remove everything: {why}");
        }
    }
}

/// A container that has ended.
pub struct Ended {
    pub id: String,
    pub code: i32,
    pub stderr: String,
    pub took: Duration,
}

/// Removes what one test has created by hand, in reverse order.
pub struct Undo<'a> {
    engine: &'a Engine,
    made: RefCell<Vec<(&'static str, String, String)>>,
}

impl<'a> Undo<'a> {
    pub fn new(engine: &'a Engine) -> Self {
        Self { engine, made: RefCell::default() }
    }

    fn note(&self, kind: &'static str, id: &str, what: &str) {
        self.made.borrow_mut().push((kind, id.to_owned(), what.to_owned()));
    }

    pub fn network(&self, name: &str, subnet: &str) -> String {
        let id = self.engine.docker(&["network", "create", "--subnet", subnet, name]);
        self.note("network", &id, name);
        id
    }

    pub fn volume(&self, name: &str) -> String {
        self.engine.docker(&["volume", "create", name]);
        self.note("volume", name, name);
        name.to_owned()
    }

    pub fn image(&self, tag: &str, file: &str) -> String {
        let mut command = self
            .engine
            .command(&self.engine.docker, &["build", "--quiet", "--tag", tag, "--file", file, "."]);
        self.engine.timed(&format!("image from {file}"), &mut command);
        self.note("image", tag, tag);
        tag.to_owned()
    }

    /// Starts a container that ends by itself. `args` ends with the image, or with its arguments.
    pub fn run_to_its_end(&self, what: &str, args: &[&str]) -> Ended {
        let mut all = vec!["create"];
        all.extend(args);
        let id = self.engine.docker(&all);
        self.note("container", &id, what);
        let began = Instant::now();
        let mut command = self.engine.command(&self.engine.docker, &["start", "--attach", &id]);
        let output = command.stdin(Stdio::null()).output().expect("the client runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ended { id, code: output.status.code().unwrap_or(-1), stderr, took: began.elapsed() }
    }

    /// Starts a container. `args` ends with the image.
    pub fn run(&self, what: &str, args: &[&str]) -> Container<'a> {
        // Created first and recorded at once, so that one which fails to start is removed too, and
        // its reason is shown.
        let mut all = vec!["create"];
        all.extend(args);
        let id = self.engine.docker(&all);
        self.note("container", &id, what);
        self.engine.docker(&["start", &id]);
        Container { engine: self.engine, what: what.to_owned(), id }
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let made = self.made.take();
        if std::thread::panicking() {
            for (_, id, what) in made.iter().filter(|(kind, _, _)| *kind == "container") {
                self.engine.print_logs(what, id);
            }
        }
        for (kind, id, what) in made.iter().rev() {
            let args: &[&str] = match *kind {
                "container" => &["rm", "--force", "--volumes", id],
                "network" => &["network", "rm", id],
                "volume" => &["volume", "rm", "--force", id],
                _ => &["image", "rm", "--force", id],
            };
            if let Err(why) = self.engine.try_docker(args) {
                eprintln!("grid: could not remove the {kind} {what}: {why}");
            }
        }
    }
}
