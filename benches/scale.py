#!/usr/bin/env python3
"""Whether cost grows with the queue, and what waits and connections take: Postern in cgroups of 128 and 256 MB.

    benches/scale.py                            all of it: writes benches/results/scale.json and limits.json
    benches/scale.py --scenario million         one scenario (several: name it again)
    benches/scale.py --messages 50000           a smaller queue; the other counts shrink with it, printed only

Scenarios:

    idle          resident memory of all processes a minute after the start
    connections   10,000 connections that say nothing, 256 MB
    large         1,000 sessions that each send 10 MB at once, 128 MB
    destinations  1,000 destinations, one of them refusing connections, swallowing them, or slow; the others' rate, in turn
    million       1,000,000 mails of 5 kB that were all deferred once, 128 MB: memory with 200 sessions, the rate of new mail beside
                  the rate on an empty queue (in turn), restarts after SIGTERM and after SIGKILL with a cold page cache, and the
                  disk that is given back when half of the mail has gone and after churn

Mail goes by MX: a name server of this script knows the domains, each has an address of its own in 127.0.0.0/8, and sinks listen there
on port 25. All of it runs in a network namespace of its own, so no port of the machine is taken. Deferred mail waits for a day, so
nothing is retried while it is measured. Memory: "anonymous" is the memory of the processes themselves (what cannot be taken back), by
the cgroup's own account; the page cache fills the rest of any limit.

Needs root (network namespace, cgroup, page cache), target/release/postern (or the binary in POSTERN_BINARY) and the load generator
(`make bench` builds both), and 15 GB of room in --dir for a full run. Everything lives in a directory below --dir and is removed
afterwards, the cgroups too.
"""

import argparse
import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import page
from servers import TARGET, Failure, Postern, _family, wait_for_greeting
from tools import own_binary

MILLION = 1_000_000
MIB = 1 << 20
SIZE = 5120
SESSIONS = 200
LARGE = 10 * MIB
GOOD, BAD = "127.1.0.1", "127.2.0.1"
LAST = "127.3.0.1"
DESTINATIONS = 1000
VIEWERS = 10
# Playwright lives here; see scripts/install-peers.sh.
PYTHON = Path("/usr/local/lib/postern-peers/python/bin/python3")
BINARY = Path(os.environ.get("POSTERN_BINARY", TARGET / "release/postern"))
# What a full queue may take to be filled, emptied or read.
LONG_SECONDS = 1800
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1


def say(words):
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def own_network():
    """A network namespace with nothing but loopback, for this process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Failure(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def destination_address(number):
    return f"127.1.{1 + number // 250}.{1 + number % 250}"


def address_of(name):
    """The mail host of a domain of this measurement: d0000 to d0999, dead0000 and dead0001, good."""
    label = name.split(".")[-2] if "." in name else name
    if label.startswith("dead"):
        return BAD
    if label[0] == "d" and label[1:].isdigit():
        number = int(label[1:])
        return LAST if number == DESTINATIONS - 1 else destination_address(number)
    return GOOD


class Names(threading.Thread):
    """A name server: NAME has the MX mx.NAME, which has an address."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self):
        while True:
            question, peer = self.socket.recvfrom(2048)
            try:
                self.socket.sendto(self.answer(question), peer)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue

    @staticmethod
    def answer(question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        end = at + 5
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        name = ".".join(labels)
        data = b""
        if kind == 15 and labels[0] != "mx":
            # The name again, by a pointer to the question.
            data = struct.pack(">H", 10) + b"\x02mx\xc0\x0c"
        elif kind == 1:
            data = socket.inet_aton(address_of(name))
        head = question[:2] + struct.pack(">HHHHH", 0x8580, 1, 1 if data else 0, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 86400, len(data)) + data if data else b""
        return head + question[12:end] + record


class Cgroup:
    """A group of processes with a memory limit, v1 or v2, that notes the peak of what they hold."""

    def __init__(self, name, limit):
        self.is_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self.path = Path("/sys/fs/cgroup" if self.is_v2 else "/sys/fs/cgroup/memory") / f"postern-scale-{os.getpid()}-{name}"
        if self.is_v2 and "memory" not in Path("/sys/fs/cgroup/cgroup.subtree_control").read_text().split():
            raise Failure("the root cgroup does not hand out memory limits: echo +memory > /sys/fs/cgroup/cgroup.subtree_control")
        try:
            self.path.mkdir()
            self._file("limit").write_text(str(limit))
        except OSError as error:
            raise Failure(f"no cgroup with a memory limit: {error}") from None
        self.peak, self.ended = 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _file(self, what):
        names = {
            "limit": ("memory.limit_in_bytes", "memory.max"),
            "usage": ("memory.usage_in_bytes", "memory.current"),
            "oom": ("memory.oom_control", "memory.events"),
        }
        return self.path / names[what][self.is_v2]

    def _table(self, path):
        return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}

    def anonymous(self):
        return self._table(self.path / "memory.stat")["anon" if self.is_v2 else "total_rss"]

    def without_cache(self):
        """What the group is charged with, page cache left out: kernel memory is in it where the kernel counts it."""
        stat = self._table(self.path / "memory.stat")
        return int(self._file("usage").read_text()) - stat["file" if self.is_v2 else "total_cache"]

    def oom_kills(self):
        return self._table(self._file("oom")).get("oom_kill", 0)

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def _watch(self):
        while not self.ended.wait(0.1):
            try:
                self.peak = max(self.peak, self.anonymous())
            except (OSError, KeyError, ValueError):
                continue

    def close(self):
        self.ended.set()
        self.watcher.join()
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)
        say(f"{self.path} could not be removed")


class Relay(Postern):
    """Postern by MX, in a cgroup, that can be stopped and started again on the same volume."""

    def __init__(self, work, names, limit, **properties):
        super().__init__(work, 0)
        del self.environment["MTA_SMART_RELAY"]
        self.work = work
        self.environment |= {
            "MTA_DNS_SERVERS": f"127.0.0.1:{names.port}",
            "MTA_SESSION_LIMIT": "20000",
            "MTA_SESSION_LIMIT_PER_ADDRESS": "20000",
            "MTA_MINIMAL_BACKOFF_TIME": "1d",
            "MTA_MAXIMAL_BACKOFF_TIME": "2d",
            "MTA_QUEUE_LIFETIME": "30d",
            "MTA_DELAY_WARNING_TIME": "0",
            "MTA_DRAIN_TIME": "5s",
            **{f"MTA_{name.upper()}": value for name, value in properties.items()},
        }
        self.cgroup = Cgroup(work.name, limit)

    def start(self):
        self.spawn()
        self.wait_ready()

    def spawn(self):
        if not BINARY.exists():
            raise Failure(f"{BINARY} is missing: make build")
        with open(self.log_path, "ab") as log:
            self.log_from = log.tell()
            self.process = subprocess.Popen([BINARY, "init"], env=self.environment, stdout=log, stderr=log, preexec_fn=self.cgroup.enter)

    def get(self, path, patience=30):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.environment['MTA_UI_PORT']}{path}", timeout=patience).read().decode()

    def is_ready(self):
        try:
            # The port is open before anybody answers on it.
            self.get("/readyz", 0.2)
            return True
        except OSError:
            return False

    def wait_ready(self, seconds=300):
        end = time.monotonic() + seconds
        while not self.is_ready():
            if self.process.poll() is not None:
                raise Failure("Postern ended while starting; its last words:\n  " + "\n  ".join(self.log()[-15:]))
            if time.monotonic() > end:
                raise Failure(f"Postern is not ready after {seconds} s; its last words:\n  " + "\n  ".join(self.log()[-15:]))
            time.sleep(0.01)

    def counters(self):
        """The counters without labels."""
        rows = (line.split() for line in self.get("/metrics").splitlines() if line and line[0] != "#" and "{" not in line)
        return {row[0]: float(row[1]) for row in rows}

    def wait_for(self, counter, wanted, why, seconds=LONG_SECONDS):
        end, told = time.monotonic() + seconds, time.monotonic()
        while (value := self.counters().get(counter)) != wanted:
            if self.process.poll() is not None:
                raise Failure(f"Postern ended while {why}:\n  " + "\n  ".join(self.log()[-15:]))
            if time.monotonic() > end:
                raise Failure(f"{why}: {counter} is {value:.0f} and not {wanted} after {seconds} s")
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"  {why}: {counter} is {value:,.0f}, {wanted:,} wanted")
            time.sleep(0.2)

    def log(self):
        """The lines since the last start."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace").splitlines()

    def processes(self):
        return _family(self.process.pid)

    def resident(self):
        return sum(_status(pid, "VmRSS") for pid in self.processes())

    def proportional(self):
        """Like resident, but pages that the processes share (those of the program) are counted once."""
        rolls = (Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in self.processes())
        return sum(int(line.split()[1]) * 1024 for roll in rolls for line in roll if line.startswith("Pss:"))

    def queue(self, *arguments):
        command = [BINARY, "queue", *arguments, "--socket", f"{self.environment['MTA_RUN_DIR']}/control.sock"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=LONG_SECONDS)
        if done.returncode != 0:
            raise Failure(f"postern queue {' '.join(arguments)}: {done.stderr.strip()[:500]}")

    def disk(self):
        """Octets that the files of the volume occupy."""
        total = 0
        for directory, _, files in os.walk(self.volume):
            for name in files:
                try:
                    total += os.stat(os.path.join(directory, name)).st_blocks * 512
                except FileNotFoundError:
                    continue
        return total

    def kill(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def no_oom(self, what):
        if self.cgroup.oom_kills():
            raise Failure(f"{what}: the kernel ended {self.cgroup.oom_kills()} processes for want of memory")

    def close(self):
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            self.cgroup.close()


def _status(pid, field):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Sink:
    """A sink of benches/load beside a generator of another process."""

    def __init__(self, *addresses, options=()):
        listen = [part for address in addresses for part in ("--listen", f"{address}:25")]
        self.process = subprocess.Popen([own_binary(), "sink", *listen, *options], stdout=subprocess.DEVNULL, preexec_fn=more_files)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((addresses[-1], 25), timeout=1).close()
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failure(f"the sink does not listen: {error}") from None
                time.sleep(0.02)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Swallow:
    """An address that answers no attempt to connect: its listener's queue is full."""

    def __init__(self, address):
        self.sockets = [socket.create_server((address, 25), backlog=0)]
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((address, 25))
            self.sockets.append(one)

    def close(self):
        for one in self.sockets:
            one.close()


def more_files():
    """As many open files as the hard limit allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load(mode, port, messages, recipient, *, sinks=(), size=SIZE, sessions=SESSIONS, domains=1, more=(), background=False):
    command = [own_binary(), mode, "--to", f"127.0.0.1:{port}", "--messages", str(messages), "--size", str(size)]
    command += ["--sessions", str(min(sessions, messages)), "--recipient", recipient, "--domains", str(domains), "--patience", "300", *more]
    for address in sinks:
        command += ["--sink", f"{address}:25"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=more_files)
    if background:
        return process
    try:
        out, words = process.communicate(timeout=LONG_SECONDS)
    finally:
        end_process(process)
    if process.returncode != 0:
        raise Failure(f"the load generator says: {(words + out).strip()[:800]}")
    return json.loads(out)


def end_process(process):
    if process.poll() is None:
        process.kill()
    process.communicate()


def mb(octets):
    return round(octets / MIB, 1)


def fresh(work, name):
    path = work / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


def idle(bench):
    relay = Relay(fresh(bench.work, "idle"), bench.names, 128 * MIB)
    try:
        relay.start()
        say(f"idle: {bench.idle_seconds} s of nothing")
        time.sleep(bench.idle_seconds)
        relay.no_oom("idle")
        found = {"resident": relay.resident(), "anonymous": relay.cgroup.anonymous(), "proportional": relay.proportional(), "processes": len(relay.processes()), "oom_kills": relay.cgroup.oom_kills()}
    finally:
        relay.close()
    bench.rows += [
        ["Resident memory when idle, sum of all processes, MB", mb(found["resident"]), "below 16"],
        ["The same with shared pages counted once (proportional set size), MB", mb(found["proportional"]), None],
        ["Anonymous memory when idle, MB", mb(found["anonymous"]), None],
    ]
    return found


def connections(bench):
    wanted = max(100, round(10_000 * bench.share))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < wanted + 500:
        raise Failure(f"{wanted:,} connections need {wanted + 500:,} open files and {limit:,} are allowed: ulimit -Hn {wanted + 500}")
    relay = Relay(fresh(bench.work, "connections"), bench.names, 256 * MIB)
    held = []
    try:
        relay.start()
        before = relay.cgroup.anonymous()
        for number in range(wanted):
            one = socket.create_connection(("127.0.0.1", relay.port), timeout=30)
            held.append(one)
            if not one.recv(512).startswith(b"220"):
                raise Failure(f"connection {number + 1} of {wanted} got no greeting")
            if number % 2000 == 1999:
                say(f"connections: {number + 1:,} open")
        time.sleep(2)
        active = relay.counters()["mta_smtp_active_sessions"]
        if active != wanted:
            raise Failure(f"{active:.0f} sessions of {wanted} are open")
        relay.no_oom("connections")
        found = {
            "connections": wanted, "before": before, "anonymous": relay.cgroup.anonymous(), "without_cache": relay.cgroup.without_cache(),
            "resident": relay.resident(), "peak": relay.cgroup.peak, "oom_kills": relay.cgroup.oom_kills(),
        }
    finally:
        for one in held:
            one.close()
        relay.close()
    bench.rows.append([f"Resident memory with {wanted:,} idle connections, MB", mb(found["resident"]), "below 256"])
    return found


def large(bench):
    sessions = max(10, round(1000 * bench.share))
    relay = Relay(fresh(bench.work, "large"), bench.names, 128 * MIB)
    try:
        relay.start()
        told = load("both", relay.port, sessions, "to@good.example", sinks=[GOOD], size=LARGE, sessions=sessions)
        relay.no_oom("large")
        found = {"sessions": sessions, "anonymous_peak": relay.cgroup.peak, "oom_kills": relay.cgroup.oom_kills(), "load": told}
    finally:
        relay.close()
    bench.rows.append([f"Anonymous memory with {sessions:,} sessions of 10 MB each at once, peak, MB", mb(found["anonymous_peak"]), "within 128"])
    return found


def destinations(bench):
    messages = max(5000, round(20_000 * bench.share))
    others = [destination_address(number) for number in range(DESTINATIONS - 1)]
    rates = {kind: [] for kind in ("well", "closed", "swallowing", "slow")}
    for turn in range(bench.rounds):
        # Another one begins in each round, for the first run may differ from the rest.
        kinds = list(rates)
        for kind in kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]:
            found = rates[kind]
            relay = Relay(fresh(bench.work, "destinations"), bench.names, 256 * MIB)
            last = beside = None
            try:
                if kind in ("well", "slow"):
                    last = Sink(LAST, options=["--delay", f"d{DESTINATIONS - 1:04}.example=5000"] if kind == "slow" else [])
                elif kind == "swallowing":
                    last = Swallow(LAST)
                relay.start()
                # Ten times its share, so that it is well in the way from the start on.
                beside = load("send", relay.port, max(50, messages // 100), f"to@d{DESTINATIONS - 1:04}.example", sessions=5, background=True)
                told = load("both", relay.port, messages, "to@d{}.example", sinks=others, domains=DESTINATIONS - 1)
                relay.no_oom("destinations")
                found.append(told["mails_per_second"])
                say(f"destinations {turn + 1}/{bench.rounds}: the last one {kind}: the others' mail at {found[-1]:,.0f}/s")
            finally:
                if beside is not None:
                    end_process(beside)
                # What waits for the last one would only hold up a stop.
                if relay.process is not None and relay.process.poll() is None:
                    relay.kill()
                relay.close()
                if last is not None:
                    last.close()
    base = statistics.median(rates["well"])
    for kind in ("closed", "swallowing", "slow"):
        ratio = statistics.median(value / well for value, well in zip(rates[kind], rates["well"]))
        bench.rows.append([f"Rate of 999 destinations when the thousandth is {kind}, of the rate when it is well, %", round(ratio * 100, 1), "above 90"])
    return {"messages": messages, "rates": rates, "median_well": base}


def cold():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


# What an operator looks at, and the tool asks for.
LOOKS = {
    "the overview": "/",
    "the page of the queue": "/queue",
    "a search that finds nothing, one request": "/api/v1/queue?search=nobody-of-this-name",
    "messages of one destination": "/api/v1/queue?destination=dead0001.example&limit=50",
    "destinations by age": "/api/v1/destinations",
    "groups by reason, anew": "/api/v1/groups?by=reason",
    "groups by reason, again": "/api/v1/groups?by=reason",
    "/metrics": "/metrics",
}


# The same in a browser.
DRAWN = {"the overview, drawn by Chromium": "/", "the page of the queue, drawn by Chromium": "/queue", "a search, drawn by Chromium": "/queue?search=nobody-of-this-name"}


def looks(relay):
    """Seconds that each look at a long queue takes."""
    found = {}
    for name, path in LOOKS.items():
        began = time.monotonic()
        relay.get(path, 60)
        found[name] = time.monotonic() - began
        say(f"million: {name} in {found[name] * 1000:,.0f} ms")
    for name, path in DRAWN.items():
        found[name] = drawn(relay, path)
        say(f"million: {name} in {found[name] * 1000:,.0f} ms")
    return found


def drawn(relay, path):
    """Seconds until Chromium has drawn a page; it leaves a picture in target/screenshots."""
    pictures = TARGET / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    picture = pictures / f"long-{path.strip('/').replace('?', '-') or 'overview'}.png"
    url = f"http://127.0.0.1:{relay.environment['MTA_UI_PORT']}{path}"
    done = subprocess.run([PYTHON, Path(__file__).with_name("look.py"), url, picture], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failure(f"Chromium did not draw {path} (scripts/install-peers.sh installs it): {done.stderr.strip()[-800:]}")
    return int(done.stdout) / 1000


def processor_seconds(relay):
    """User and system time of the core."""
    seconds = 0
    for pid in relay.processes():
        if b"core" in Path(f"/proc/{pid}/cmdline").read_bytes():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


class Viewer(threading.Thread):
    """One browser with the overview open: it follows the stream, and takes the page anew at each event, as the page's script does."""

    def __init__(self, relay):
        super().__init__(daemon=True)
        self.relay, self.ended, self.pages = relay, threading.Event(), 0
        self.start()

    def run(self):
        while not self.ended.is_set():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.relay.environment['MTA_UI_PORT']}/api/v1/stream", timeout=10) as stream:
                    for line in stream:
                        if self.ended.is_set():
                            return
                        if line.startswith(b"data:"):
                            self.relay.get("/")
                            self.pages += 1
            except (OSError, ValueError):
                time.sleep(1)


def viewers(bench):
    """What ten people who watch the page cost: the core's processor, and mail."""
    relay = Relay(fresh(bench.work, "viewers"), bench.names, 128 * MIB)
    flow = max(2000, round(20_000 * min(1, bench.share * 4)))
    rates = {False: [], True: []}
    try:
        relay.start()
        load("both", relay.port, flow, "to@good.example", sinks=[GOOD])
        for turn in range(bench.rounds):
            for watched in (False, True) if turn % 2 == 0 else (True, False):
                watching = [Viewer(relay) for _ in range(VIEWERS)] if watched else []
                time.sleep(1)
                told = load("both", relay.port, flow, "to@good.example", sinks=[GOOD])
                rates[watched].append(told["mails_per_second"])
                say(f"viewers {turn + 1}/{bench.rounds}: {told['mails_per_second']:,.0f}/s {'with' if watched else 'without'} viewers")
                for one in watching:
                    one.ended.set()
        watching = [Viewer(relay) for _ in range(VIEWERS)]
        time.sleep(5)
        before, began = processor_seconds(relay), time.monotonic()
        time.sleep(20)
        share = (processor_seconds(relay) - before) / (time.monotonic() - began)
        pages = sum(one.pages for one in watching)
        for one in watching:
            one.ended.set()
    finally:
        relay.close()
    ratio = statistics.median(value / base for value, base in zip(rates[True], rates[False]))
    say(f"viewers: {share * 100:.1f} % of a core, {pages} pages")
    bench.rows += [
        [f"{VIEWERS} viewers of the overview, nothing else to do: the core's share of a processor, %", round(share * 100, 1), "below 2"],
        [f"Mail with {VIEWERS} viewers, of the rate without, %", round(ratio * 100, 1), "at least 97"],
    ]
    return {"share": share, "rates": {"with": rates[True], "without": rates[False]}, "pages": pages}


def restart(relay, count, how):
    """Ends and starts again, with nothing in the page cache."""
    say(f"million: restart after {how}")
    began = time.monotonic()
    relay.stop() if how == "SIGTERM" else relay.kill()
    stopped = time.monotonic() - began
    cold()
    began = time.monotonic()
    relay.spawn()
    ready = None
    seen = {}
    while True:
        now = time.monotonic() - began
        if relay.process.poll() is not None or now > 600:
            raise Failure(f"after {how} Postern is not there after {now:.0f} s:\n  " + "\n  ".join(relay.log()[-15:]))
        for line in relay.log():
            seen.setdefault(line, round(now, 2))
        if ready is None and relay.is_ready():
            ready = time.monotonic() - began
            wait_for_greeting(relay.port, lambda: relay.process.poll() is None, "Postern")
            greeted = time.monotonic() - began
        if ready is not None:
            counters = relay.counters()
            if counters["mta_mqueue_messages"] == count and counters["mta_mqueue_deferred_messages"] == count:
                counted = time.monotonic() - began
                break
        time.sleep(0.05)
    # Planning may go on behind the open door: until its lines have come to an end.
    quiet = time.monotonic() + 3
    while time.monotonic() < quiet:
        for line in relay.log():
            if line not in seen:
                seen[line] = round(time.monotonic() - began, 2)
                quiet = time.monotonic() + 3
        time.sleep(0.1)
    lines = [[at, line] for line, at in seen.items() if "recover" in line or "plan" in line]
    planned = max([counted, *(at for at, line in lines)])
    if not lines:
        raise Failure(f"after {how} the log says nothing of the way")
    relay.no_oom(f"restart after {how}")
    say(f"million: ready {ready:.2f} s after {how}, greeting {greeted:.2f} s, planned {planned:.2f} s; {len(lines)} lines of progress")
    return {"how": how, "stop": stopped, "ready": ready, "greeting": greeted, "planned": planned, "lines": lines, "anonymous_peak": relay.cgroup.peak}


def volume_of(relay, what):
    """Disk beside live octets; compaction gets a minute to come to rest."""
    before, still = relay.disk(), 0
    for _ in range(30):
        time.sleep(2)
        now = relay.disk()
        still = still + 1 if now == before else 0
        before = now
        if still == 5:
            break
    live = relay.counters()["mta_mqueue_kbytes"] * 1024
    found = {"what": what, "disk": before, "live": live, "ratio": before / live}
    say(f"million: {what}: {before / MIB:,.0f} MB on disk for {live / MIB:,.0f} MB of mail, {found['ratio']:.2f}×")
    return found


def million(bench):
    count = bench.messages // 2 * 2
    flow = max(2000, round(20_000 * min(1, bench.share * 4)))
    full = Relay(fresh(bench.work, "full"), bench.names, 128 * MIB)
    empty = bad = None
    found = {"messages": count}
    try:
        empty = Relay(fresh(bench.work, "empty"), bench.names, 128 * MIB)
        refuse = ["--refuse", "dead0000.example=450", "--refuse", "dead0001.example=450"]
        bad = Sink(BAD, options=refuse)
        full.start()
        empty.start()
        say(f"million: filling with {count:,} mails that are deferred")
        began = time.monotonic()
        filling = load("send", full.port, count, "to@dead{}.example", domains=2, background=True)
        try:
            while filling.poll() is None:
                time.sleep(1)
                if int(time.monotonic() - began) % 10 == 0:
                    seen = full.counters()
                    say(f"  {seen['mta_accepted_total']:,.0f} accepted, {seen['mta_mqueue_deferred_messages']:,.0f} deferred, {full.cgroup.anonymous() / MIB:.0f} MB")
            out, words = filling.communicate()
            if filling.returncode != 0:
                raise Failure(f"the load generator says: {(words + out).strip()[:800]}; {full.cgroup.oom_kills()} processes ended for want of memory")
        finally:
            if filling.returncode is None:
                end_process(filling)
        accepted = time.monotonic() - began
        full.wait_for("mta_mqueue_deferred_messages", count, "deferring")
        found["fill"] = {"accepted_seconds": accepted, "deferred_seconds": time.monotonic() - began, "anonymous_peak": full.cgroup.peak}
        say(f"million: accepted in {accepted:.0f} s, all deferred after {found['fill']['deferred_seconds']:.0f} s")
        found["disk"] = [volume_of(full, "all deferred")]
        found["flow"] = {"full": [], "empty": []}
        for turn in range(bench.rounds):
            for name, relay in (("empty", empty), ("full", full)):
                told = load("both", relay.port, flow, "to@good.example", sinks=[GOOD])
                found["flow"][name].append(told["mails_per_second"])
                say(f"million {turn + 1}/{bench.rounds}: new mail on the {name} queue at {told['mails_per_second']:,.0f}/s")
        held = [socket.create_connection(("127.0.0.1", full.port), timeout=10) for _ in range(SESSIONS)]
        time.sleep(1)
        found["memory"] = {
            "anonymous": full.cgroup.anonymous(), "peak": full.cgroup.peak, "without_cache": full.cgroup.without_cache(),
            "resident": full.resident(), "empty": empty.cgroup.anonymous(), "oom_kills": full.cgroup.oom_kills(),
        }
        for one in held:
            one.close()
        found["looks"] = looks(full)
        full.no_oom("million")
        empty.stop()
        found["restarts"] = [restart(full, count, how) for how in ("SIGTERM", "SIGKILL")]
        bad.close()
        bad = Sink(BAD, options=refuse[:2])
        full.queue("retry", "--domain", "dead0001.example")
        full.wait_for("mta_mqueue_messages", count // 2, "delivering half of it")
        found["disk"].append(volume_of(full, "half of it delivered"))
        say(f"million: churn, {count // 2:,} mails come and go")
        load("both", full.port, count // 2, "to@good.example", sinks=[GOOD])
        full.wait_for("mta_mqueue_messages", count // 2, "ending the churn")
        found["disk"].append(volume_of(full, "after churn"))
        full.no_oom("million")
        found["peak_at_the_end"] = full.cgroup.peak
    finally:
        for one in (full, empty, bad):
            if one is not None:
                one.close()
    ratio = statistics.median(value / base for value, base in zip(found["flow"]["full"], found["flow"]["empty"]))
    bench.rows += [
        [f"New mail with {count:,} deferred, of the rate on an empty queue, %", round(ratio * 100, 1), "at least 80"],
        [f"Anonymous memory with {count:,} deferred and {SESSIONS} sessions, peak, MB", mb(found["memory"]["peak"]), "within 128"],
        *([f"Ready to accept after {one['how']}, page cache cold, s", round(one["ready"], 2), "within 10"] for one in found["restarts"]),
        *([f"All planned after {one['how']}, s", round(one["planned"], 2), "in the background"] for one in found["restarts"]),
        *([f"Disk, of the live octets: {one['what']}", round(one["ratio"], 2), "below 2"] for one in found["disk"]),
        *([f"With {count:,} deferred: {name}, ms", round(seconds * 1000), None] for name, seconds in found["looks"].items()),
    ]
    return found


SCENARIOS = {one.__name__: one for one in (idle, connections, large, destinations, viewers, million)}
# Each is a part of the page, made when all its scenarios were run at full size.
PARTS = {"limits": ["idle", "connections", "large", "destinations", "viewers"], "scale": ["million"]}


class Bench:
    """What the scenarios share: options, the name server, the rows of the table."""

    def __init__(self, options, work):
        self.messages, self.rounds, self.work = options.messages, options.rounds, work
        self.share = min(1, options.messages / MILLION)
        self.idle_seconds = options.idle_seconds
        self.names = Names()
        self.names.start()
        # Of the part that is being measured.
        self.rows = []


def titles(part, bench):
    """Title, method and the table's title of a part."""
    memory = "Memory limits are set by cgroup, and no process was ended for want of memory. Anonymous memory is what the processes hold and the kernel cannot take back."
    if part == "scale":
        return "Cost does not grow with the queue", [
            f"Mail of 5 kB by MX to sinks on addresses of their own. {bench.messages:,} mails were each accepted, tried and deferred once; then new mail "
            f"flowed through that queue and through an empty one in turn, {bench.rounds} rounds, medians of the ratios. Before each start the page cache was dropped. {memory}",
        ], "Memory, restarts and disk"
    return "Connections, large mail, destinations, viewers", [
        f"Mail of 5 kB by MX to sinks on addresses of their own, but for the large ones. With and without a bad destination, with and without viewers: in turn, "
        f"{bench.rounds} rounds, medians of the ratios. *Closed*: nobody listens; *swallowing*: it takes connections and says nothing; *slow*: the reply to the end of a mail takes five seconds. "
        f"A viewer follows the stream of events and takes the overview anew at each. {memory}",
    ], "Memory, and what one costs the others"


def result(part, bench, options, rows, raw):
    title, text, table = titles(part, bench)
    return {
        "order": {"scale": 20, "limits": 21}[part],
        "title": title,
        "text": text,
        "made": page.made(options.dir),
        "command": "benches/scale.py " + " ".join(f"--scenario {name}" for name in PARTS[part]),
        "tables": [{"name": part, "title": table, "columns": ["", "Postern", "wanted"], "rows": rows}],
        "raw": raw,
    }


def parse():
    parser = argparse.ArgumentParser(description="Whether cost grows with the queue; memory of connections and sessions.")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="again for more (default: all)")
    parser.add_argument("--messages", type=int, default=MILLION, help="in the queue; the other counts shrink with it (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle-seconds", type=int, default=60, help="before idle memory is read")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the queues are (default: /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there; without it a part of the page that was measured whole is written")
    options = parser.parse_args()
    if options.messages < 1000 or options.rounds < 1:
        parser.error("--messages must be 1000 or more, --rounds 1 or more")
    return options


def check(options):
    if os.geteuid() != 0:
        sys.exit("scale: needs root, for a network namespace, cgroups and an empty page cache")
    kind_of_disk = subprocess.run(["stat", "-f", "-c", "%T", options.dir], capture_output=True, text=True).stdout.strip()
    if kind_of_disk in ("tmpfs", "ramfs", ""):
        sys.exit(f"scale: {options.dir} is {kind_of_disk or 'not there'}; syncing to it would cost nothing. Use --dir")


def main():
    options = parse()
    check(options)
    work = options.dir / f"postern-scale-{os.getpid()}"
    chosen = options.scenario or list(SCENARIOS)
    rows, raw = {part: [] for part in PARTS}, {part: {} for part in PARTS}
    try:
        own_network()
        more_files()
        bench = Bench(options, work)
        for name in chosen:
            say(name)
            part = next(part for part, names in PARTS.items() if name in names)
            bench.rows = rows[part]
            raw[part][name] = SCENARIOS[name](bench)
            shutil.rmtree(work, ignore_errors=True)
    except Failure as failure:
        sys.exit(f"scale: {failure}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    made = {part: result(part, bench, options, rows[part], raw[part]) for part in PARTS if rows[part]}
    for row in (row for part in made.values() for row in part["tables"][0]["rows"]):
        print(f"  {row[0]:<90} {page.svg.number(row[1]):>10}   {row[2] or ''}")
    if options.json:
        options.json.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        return
    for part in made:
        if options.messages == MILLION and set(PARTS[part]) <= set(chosen):
            page.save(part, made[part])
            print(f"benches/results/{part}.json is written; benches/page.py makes the page of it")


if __name__ == "__main__":
    # An interrupted run still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("scale: interrupted; what it started is stopped")
