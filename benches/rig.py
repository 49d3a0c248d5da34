"""The common parts of the measurements of scale.py: a network of their own, names, cgroups, Postern in them, sinks and load.

Mail goes by MX: a name server of this script knows the domains, each has an address of its own in 127.0.0.0/8, and sinks listen there
on port 25. All of it runs in a network namespace of its own, so no port of the machine is taken.
"""

import base64
import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from servers import TARGET, Failure, Postern, _family
from tools import own_binary

MIB = 1 << 20
SIZE = 5120
SESSIONS = 200
GOOD, BAD = "127.1.0.1", "127.2.0.1"
LAST = "127.3.0.1"
DESTINATIONS = 1000
BINARY = Path(os.environ.get("POSTERN_BINARY", TARGET / "release/postern"))
# Time limit to fill, empty or read a full queue.
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
    """A group of processes with a memory limit, v1 or v2, that records their peak memory."""

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
            "MTA_UI_PUBLIC": "yes",
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
        request = urllib.request.Request(f"{self.url()}{path}")
        if user := self.environment.get("MTA_USERNAME"):
            login = base64.b64encode(f"{user}:{self.environment['MTA_PASSWORD']}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        return urllib.request.urlopen(request, timeout=patience).read().decode()

    def url(self):
        return f"http://127.0.0.1:{self.environment['MTA_UI_PORT']}"

    def is_ready(self):
        try:
            # The port is open before it is served.
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
        return family(self.process.pid)

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
    """A sink of benches/load with a generator in another process."""

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
