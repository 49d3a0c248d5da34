"""Resources of connections and large mail, and the effect of one destination or viewer on the others."""

import os
import resource
import socket
import statistics
import threading
import time
import urllib.request
from pathlib import Path

from rig import (
    DESTINATIONS, GOOD, LAST, MIB, Relay, Sink, Swallow, destination_address, end_process, fresh, load, mb, say,
)
from servers import Failure

LARGE = 10 * MIB
VIEWERS = 10


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
                # Ten times its share, so that it occupies its share from the start on.
                beside = load("send", relay.port, max(50, messages // 100), f"to@d{DESTINATIONS - 1:04}.example", sessions=5, background=True)
                told = load("both", relay.port, messages, "to@d{}.example", sinks=others, domains=DESTINATIONS - 1)
                relay.no_oom("destinations")
                found.append(told["mails_per_second"])
                say(f"destinations {turn + 1}/{bench.rounds}: the last one {kind}: the others' mail at {found[-1]:,.0f}/s")
            finally:
                if beside is not None:
                    end_process(beside)
                # Mail for the last one would only delay the stop.
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
    """The cost of ten viewers of the page: the core's processor time, and the rate of mail."""
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
