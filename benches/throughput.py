#!/usr/bin/env python3
"""How many mails per second go through, and what each costs: Postern beside Postfix.

    benches/throughput.py [--messages 5000] [--rounds 3] [--only postern|postfix] [--json FILE]

smtp-source -> the server -> smtp-sink, all on loopback and on one disk, mails of 5 kB over 20
sessions; once with connections that are kept for many mails, once with a new one for each. A run
ends when the sink has taken the last mail, so this is the way of a mail through the whole house and
not the speed of saying 250. Both servers sync each mail to disk before they answer. CPU is what all
processes of the server have used, divided by the mails.

Machines differ, and the same machine differs from hour to hour: the figure to quote is the ratio of
two servers measured in one call, whose rounds alternate. Run it on a machine that does nothing else.

Needs root (Postfix insists), Postfix with smtp-source and smtp-sink (scripts/install-peers.sh), and
target/release/postern (make build). Everything lives in a directory below --dir, by default
/var/tmp, and is removed afterwards. It must be on a real disk, and the users of the servers must be able
to reach it, which is why it is not below the home of the one who builds.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SIZE = 5120
SESSIONS = 20
TICKS = os.sysconf("SC_CLK_TCK")
# A server that needs longer than this for a round is not slow, it is stuck.
ROUND_SECONDS = 300
START_SECONDS = 20

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
    """Something that makes the measurement impossible, in words."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_greeting(port, alive, name):
    end = time.monotonic() + START_SECONDS
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
    raise Failure(f"{name} does not greet on port {port} after {START_SECONDS} s")


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


def cpu_seconds(root):
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

    def __init__(self, work, sink):
        self.work, self.port = work, free_port()
        self.config = work / "etc"
        for part in ("etc", "spool", "lib"):
            (work / part).mkdir(parents=True)
        # Postfix refuses a data directory that is not its own user's.
        shutil.chown(work / "lib", "postfix")
        (self.config / "main.cf").write_text(POSTFIX_MAIN.format(work=work, sink=sink))
        (self.config / "master.cf").write_text(POSTFIX_MASTER.format(port=self.port))

    def start(self):
        done = subprocess.run(["postfix", "-c", self.config, "start"], capture_output=True, text=True)
        if done.returncode != 0:
            log = self.work / "log"
            words = log.read_text(errors="replace").strip() if log.exists() else done.stderr.strip()
            raise Failure(f"postfix does not start:\n{words}")
        self.pid = int((self.work / "spool/pid/master.pid").read_text())
        wait_for_greeting(self.port, lambda: os.path.exists(f"/proc/{self.pid}"), self.name)

    def stop(self):
        subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True)


class Postern:
    name = "postern"

    def __init__(self, work, sink):
        self.port = free_port()
        self.log_path = work / "log"
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
        binary = TARGET / "release/postern"
        if not binary.exists():
            raise Failure(f"{binary} is missing: make build")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([binary, "init"], env=self.environment, stdout=log, stderr=log)
        self.pid = self.process.pid
        try:
            wait_for_greeting(self.port, lambda: self.process.poll() is None, self.name)
        except Failure as failure:
            self.stop()
            tail = self.log_path.read_text(errors="replace").splitlines()[-15:]
            raise Failure("\n  ".join([f"{failure}; its last words:", *tail])) from None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def measure(kind, kept, messages, work):
    """One round: (mails per second, CPU milliseconds per mail)."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Postfix's and Postern's own users must get through to their directories.
    work.chmod(0o755)
    sink_port = free_port()
    # More connections than any of the servers opens; ends by itself with the last mail.
    sink = subprocess.Popen(
        ["smtp-sink", "-u", "nobody", "-M", str(messages), f"127.0.0.1:{sink_port}", "1024"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = None
    try:
        wait_for_greeting(sink_port, lambda: sink.poll() is None, "smtp-sink")
        server = kind(work / kind.name, sink_port)
        server.start()
        command = ["smtp-source", "-s", str(SESSIONS), "-m", str(messages), "-l", str(SIZE)]
        command += ["-f", "from@example.com", "-t", "to@example.org"]
        if kept:
            command.append("-d")
        cpu = cpu_seconds(server.pid)
        began = time.monotonic()
        done = subprocess.run([*command, f"127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=ROUND_SECONDS)
        if done.returncode != 0:
            raise Failure(f"smtp-source into {kind.name}: {(done.stderr or done.stdout).strip()[:500]}")
        try:
            sink.wait(ROUND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{kind.name}: the sink had not got all {messages} mails after {ROUND_SECONDS} s") from None
        seconds = time.monotonic() - began
        cpu = cpu_seconds(server.pid) - cpu
        return messages / seconds, cpu * 1000 / messages
    except subprocess.TimeoutExpired:
        raise Failure(f"{kind.name}: smtp-source was not done after {ROUND_SECONDS} s") from None
    finally:
        if server is not None and hasattr(server, "pid"):
            server.stop()
        if sink.poll() is None:
            sink.kill()
        sink.wait()
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="Throughput and CPU per mail, Postern beside Postfix.")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("postern", "postfix"))
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the queues are (default: /var/tmp)")
    parser.add_argument("--json", metavar="FILE", help="write every single measurement there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("throughput: needs root, for Postfix starts under no other user")
    missing = [p for p in ("postfix", "smtp-source", "smtp-sink") if shutil.which(p) is None]
    if missing:
        sys.exit(f"throughput: {', '.join(missing)} missing: scripts/install-peers.sh")

    kinds = [k for k in (Postfix, Postern) if options.only in (None, k.name)]
    kind_of_disk = subprocess.run(["stat", "-f", "-c", "%T", options.dir], capture_output=True, text=True).stdout.strip()
    if kind_of_disk in ("tmpfs", "ramfs", ""):
        sys.exit(f"throughput: {options.dir} is {kind_of_disk or 'not there'}; syncing to it would cost nothing. Use --dir")
    work = options.dir / f"postern-bench-{os.getpid()}"
    results = {}
    try:
        for number in range(options.rounds):
            for kept in (True, False):
                for kind in kinds:
                    rate, cost = measure(kind, kept, options.messages, work)
                    results.setdefault((kind.name, kept), []).append((rate, cost))
                    way = "kept connections" if kept else "one connection per mail"
                    print(f"round {number + 1}  {kind.name:<8} {way:<24} {rate:8.0f} mails/s  {cost:6.2f} ms CPU per mail", flush=True)
    except Failure as failure:
        sys.exit(f"throughput: {failure}")

    print(f"\nmedians of {options.rounds}, {options.messages} mails of {SIZE} bytes, {SESSIONS} sessions, {os.cpu_count()} cores")
    for kept in (True, False):
        print("kept connections" if kept else "one connection per mail")
        rates = {}
        for kind in kinds:
            rate, cost = (statistics.median(column) for column in zip(*results[kind.name, kept]))
            rates[kind.name] = rate, cost
            print(f"  {kind.name:<8} {rate:8.0f} mails/s  {cost:6.2f} ms CPU per mail")
        if len(rates) == 2:
            speed = rates["postern"][0] / rates["postfix"][0]
            cheap = rates["postfix"][1] / rates["postern"][1]
            print(f"  postern : postfix = {speed:.2f} in speed, {cheap:.2f} in mails per CPU second")
    if options.json:
        rows = [
            {"server": name, "kept": kept, "mails_per_second": rate, "cpu_ms_per_mail": cost}
            for (name, kept), measured in results.items()
            for rate, cost in measured
        ]
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    # An interrupted run still stops the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
