"""The servers that are measured: Postern and Postfix, each in a directory of its own, and none at all.

Each has a name, a port once it runs, `start`, `stop`, and `cpu_seconds`. Postfix is Debian's with its default durability: it
syncs the file of each mail before it answers.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
START_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")

POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {work}/spool
data_directory = {work}/lib
maillog_file = {work}/log
maillog_file_prefixes = {work}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
myhostname = bench.example.org
relayhost = [127.0.0.1]:{sink}
smtpd_peername_lookup = no
smtp_host_lookup = native
disable_dns_lookups = yes
alias_maps =
"""


class Failure(Exception):
    """An error that makes the measurement impossible."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_greeting(port, alive, name, seconds=START_SECONDS):
    """Until a server greets on a port of this machine."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive():
            raise Failure(f"{name} ended while starting")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.settimeout(5)
                if connection.recv(512).startswith(b"220"):
                    connection.sendall(b"QUIT\r\n")
                    connection.recv(512)
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise Failure(f"{name} does not greet on port {port} after {seconds} s")


def postfix_version():
    try:
        return subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True).stdout.strip()
    except OSError:
        return "not there"


def family(root):
    """The process numbers of a process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def _family_cpu(root):
    """CPU of a process family so far, those of its members included that have ended and been reaped."""
    ticks = 0
    for pid in family(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


class Postfix:
    name = "postfix"
    title = "Postfix"

    def __init__(self, work, sink, trace=()):
        """`trace` is a command that runs the server under it."""
        self.work, self.port, self.trace, self.tracer = work, free_port(), list(trace), None
        self.config = work / "etc"
        self.volume = work / "spool"
        for part in ("etc", "spool", "lib"):
            (work / part).mkdir(parents=True)
        # Postfix refuses a data directory that is not its own user's.
        shutil.chown(work / "lib", "postfix")
        (self.config / "main.cf").write_text(POSTFIX_MAIN.format(work=work, sink=sink))
        (self.config / "master.cf").write_text(POSTFIX_MASTER.format(port=self.port))

    def start(self):
        command = [*self.trace, "postfix", "-c", self.config, "start"]
        # A tracer stays as long as the processes that it traces, so it cannot be waited for.
        self.tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not self.trace and self.tracer.wait() != 0:
            log = self.work / "log"
            words = log.read_text(errors="replace").strip() if log.exists() else "it left no log"
            raise Failure(f"postfix does not start:\n{words}")
        wait_for_greeting(self.port, lambda: self.tracer.poll() in (None, 0), self.name)
        self.pid = int((self.work / "spool/pid/master.pid").read_text())

    def cpu_seconds(self):
        return _family_cpu(self.pid)

    def stop(self):
        if self.tracer is not None:
            subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True)
            try:
                self.tracer.wait(60)
            except subprocess.TimeoutExpired:
                self.tracer.kill()
                self.tracer.wait()


class Postern:
    name = "postern"
    title = "Postern"
    binary = TARGET / "release/postern"

    def __init__(self, work, sink, trace=()):
        self.port, self.trace, self.process = free_port(), list(trace), None
        self.log_path = work / "log"
        self.volume = work / "data"
        for part in ("data", "run"):
            (work / part).mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "MTA_HOSTNAME": "bench.example.org",
            "MTA_LISTEN": "127.0.0.1",
            "MTA_SMTP_PORT": str(self.port),
            "MTA_UI_PORT": str(free_port()),
            "MTA_SMTPD_TRUSTED_NETWORKS": "127.0.0.1",
            "MTA_SMART_RELAY": f"[127.0.0.1]:{sink}",
            "MTA_VOLUME_DATA": str(work / "data"),
            "MTA_RUN_DIR": str(work / "run"),
        }

    def start(self):
        if not self.binary.exists():
            raise Failure(f"{self.binary} is missing: make build")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*self.trace, self.binary, "init"], env=self.environment, stdout=log, stderr=log)
        try:
            wait_for_greeting(self.port, lambda: self.process.poll() is None, self.name)
        except Failure as failure:
            tail = self.log_path.read_text(errors="replace").splitlines()[-15:]
            raise Failure("\n  ".join([f"{failure}; its last words:", *tail])) from None

    def cpu_seconds(self):
        return _family_cpu(self.process.pid)

    def stop(self):
        if self.process is None:
            return
        # Under a tracer it is its first child that is Postern.
        pids = family(self.process.pid)
        try:
            os.kill(pids[1] if self.trace and len(pids) > 1 else pids[0], signal.SIGTERM)
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        except ProcessLookupError:
            self.process.wait()


class Straight:
    """No server: the generator sends straight into the sink. What the load tools alone reach."""

    name = "straight"
    title = "straight into the sink"

    def __init__(self, _work, sink):
        self.port = sink

    def start(self):
        pass

    def cpu_seconds(self):
        return 0.0

    def stop(self):
        pass


def flushes(directory):
    """How often the kernel has told the disk below a directory to write its cache; None where it does not count that."""
    device = os.stat(directory).st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        # A partition's flushes are counted with its disk.
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)) and len(fields) > 18:
            parent = re.sub(r"p?\d+$", "", fields[2])
            return int(fields[18]) if int(fields[18]) or parent == fields[2] else _flushes_of(parent)
    return None


def _flushes_of(name):
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if fields[2] == name and len(fields) > 18:
            return int(fields[18])
    return None
