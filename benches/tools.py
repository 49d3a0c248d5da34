"""The load tools: Postfix's smtp-source and smtp-sink, and the generator and sink of benches/load.

Both kinds have the same shape: `prepare` opens the sink's port where that has to be there before the server, `run` sends all
mails to a port and waits until the sink has got them, and returns what it saw:

    {"seconds": 1.9, "mails_per_second": 5263.0, "source_cpu": 0.3, "sink_cpu": 0.2, "latency": {...} or None}
"""

import json
import os
import signal
import subprocess
import time

from servers import TARGET, Failure, wait_for_greeting

# A server that needs longer than this is not slow but stuck.
ROUND_SECONDS = 600


class SmtpSource:
    """Counts received mails, by number only."""

    name = "smtp-source"

    def __init__(self, scenario, messages, sink_port, is_straight=False):
        self.scenario, self.messages, self.sink_port, self.sink = scenario, messages, sink_port, None
        self.is_straight = is_straight

    def prepare(self):
        # Ends by itself with the last mail, so early that its reply is lost: a server tolerates that, smtp-source does not.
        limit = [] if self.is_straight else ["-M", str(self.messages)]
        # More connections than any of the servers opens.
        command = ["smtp-sink", "-u", "nobody", *limit, f"127.0.0.1:{self.sink_port}", "1024"]
        self.sink = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_greeting(self.sink_port, lambda: self.sink.poll() is None, "smtp-sink")

    def run(self, port):
        scenario = self.scenario
        command = ["smtp-source", "-s", str(scenario.sessions), "-m", str(self.messages), "-l", str(scenario.size)]
        command += ["-f", "from@example.com", "-t", "to@example.org", *(["-d"] if scenario.kept else [])]
        began = time.monotonic()
        source = subprocess.Popen([*command, f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            source_cpu = _wait(source, began, "smtp-source")
            if self.is_straight:
                # Every mail that was answered is in the sink.
                seconds = time.monotonic() - began
                self.sink.terminate()
                sink_cpu = _wait(self.sink, began, "smtp-sink", (0, -signal.SIGTERM))
            else:
                sink_cpu = _wait(self.sink, began, "smtp-sink")
                seconds = time.monotonic() - began
        finally:
            if source.returncode is None:
                source.kill()
                source.wait()
        return {
            "seconds": seconds,
            "mails_per_second": self.messages / seconds,
            "source_cpu": source_cpu,
            "sink_cpu": sink_cpu,
            "latency": None,
        }

    def stop(self):
        if self.sink is not None and self.sink.returncode is None:
            self.sink.kill()
            self.sink.wait()


class Own:
    """Checks that each mail came, and came once."""

    name = "own"

    def __init__(self, scenario, messages, sink_port, _is_straight=False):
        self.scenario, self.messages, self.sink_port, self.process = scenario, messages, sink_port, None

    def prepare(self):
        """Its sink opens with the generator; servers connect to it when they have something to send."""

    def run(self, port):
        scenario = self.scenario
        command = [own_binary(), "both", "--to", f"127.0.0.1:{port}", "--sink", f"127.0.0.1:{self.sink_port}"]
        command += ["--messages", str(self.messages), "--size", str(scenario.size), "--sessions", str(scenario.sessions)]
        command += [] if scenario.kept else ["--new-connections"]
        command += ["--rate", str(scenario.rate)] if scenario.rate else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, words = self.process.communicate(timeout=ROUND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"the load generator was not done after {ROUND_SECONDS} s") from None
        if self.process.returncode != 0:
            raise Failure(f"the load generator says: {(words + out).strip()[:800]}")
        told = json.loads(out)
        return {
            "seconds": told["seconds"],
            "mails_per_second": told["mails_per_second"],
            "source_cpu": told["generator"]["cpu_seconds"],
            "sink_cpu": told["sink"]["cpu_seconds"],
            "latency": told["latency"],
        }

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def own_binary():
    """The load generator; its usage is in benches/load/main.rs."""
    binary = TARGET / "release/examples/load"
    if not binary.exists():
        raise Failure(f"{binary} is missing: cargo build --release --example load")
    return binary


def _wait(process, began, name, good=(0,)):
    """Waits until a process has succeeded; gives its CPU seconds."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > ROUND_SECONDS:
            raise Failure(f"{name} was not done after {ROUND_SECONDS} s: the mails did not all arrive")
        time.sleep(0.001)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in good:
        words = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
        raise Failure(f"{name} ended with {process.returncode}: {words[:500]}")
    return usage.ru_utime + usage.ru_stime
