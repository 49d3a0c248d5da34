#!/usr/bin/env python3
"""Mails per second, cost and latency of each: Postern compared with Postfix.

    benches/throughput.py                       all of it: writes benches/results/throughput.json and docs/performance.md
    benches/throughput.py --scenario kept-20    one scenario (several: name it again), printed only
    benches/throughput.py --only postern        one server, printed only
    benches/throughput.py --rounds 5 --scale 1  rounds of which the median counts; --scale 0.1 sends a tenth of the mails

A load generator -> the server -> a sink, all on loopback, queues on one disk. A run ends when the sink has the last mail, so this
is the way of a mail through the whole house and not the speed of saying 250. In each round each scenario runs with both kinds of
load tools (tools.py) and both servers in turn, and once straight from the generator into its sink, which is the ceiling that the
load tools set. CPU is user and system time of all processes of the server, divided by the mails.

Needs root (Postfix insists), Postfix with smtp-source and smtp-sink, strace (scripts/install-peers.sh has Postfix), and
target/release/postern and the load generator (`make bench` builds both). Everything lives in a directory below --dir, by default
/var/tmp, and is removed afterwards. It must be on a real disk, and the users of the servers must be able to reach it, which is why
it is not below the home of the one who builds. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import floors
import page
import syncs
from servers import Failure, Postern, Postfix, Straight, flushes, free_port, postfix_version
from tools import Own, SmtpSource

SERVERS = (Postfix, Postern, Straight)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    size: int
    sessions: int
    kept: bool
    # Mails of a run: a slow server needs fewer for a run of seconds.
    messages: dict
    tools: tuple = (SmtpSource, Own)
    rate: float | None = None

    def count(self, server, scale):
        return max(self.sessions, round(self.messages[server.name] * scale))


def _mails(postfix, postern):
    return {"postfix": postfix, "postern": postern, "straight": postern}


SCENARIOS = (
    Scenario("kept-20", "5 kB, 20 sessions", 5120, 20, True, _mails(5000, 20000)),
    Scenario("kept-100", "5 kB, 100 sessions", 5120, 100, True, _mails(5000, 20000)),
    Scenario("new-20", "5 kB, a connection for each mail", 5120, 20, False, _mails(4000, 10000)),
    Scenario("large-20", "100 kB, 20 sessions", 102400, 20, True, _mails(2000, 4000)),
    Scenario("sequential", "5 kB, one session, one after the other", 5120, 1, True, _mails(600, 2000)),
    Scenario("latency", "5 kB, 20 mails per second, 4 sessions", 5120, 4, True, _mails(300, 300), (Own,), 20.0),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
# Mails of the runs under strace, which is slow.
TRACED = 400


@dataclass
class Run:
    """The result of one run of one scenario."""

    rate: float
    server_cpu_ms: float
    tools_cpu_ms: float
    # Of all cores, while the run lasted.
    tools_share: float
    flushes: float | None
    latency: dict | None


def prepare(work):
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Postfix's and Postern's own users must get through to their directories.
    work.chmod(0o755)


def measure(server_kind, tool_kind, scenario, messages, work):
    """One run."""
    prepare(work)
    sink_port = free_port()
    tool = tool_kind(scenario, messages, sink_port, server_kind is Straight)
    server = None
    try:
        tool.prepare()
        server = server_kind(work / server_kind.name, sink_port)
        server.start()
        cpu, flushed = server.cpu_seconds(), flushes(work)
        seen = tool.run(server.port)
        cpu = server.cpu_seconds() - cpu
        now = flushes(work)
        used = seen["source_cpu"] + seen["sink_cpu"]
        return Run(
            rate=seen["mails_per_second"],
            server_cpu_ms=cpu * 1000 / messages,
            tools_cpu_ms=used * 1000 / messages,
            tools_share=used / (seen["seconds"] * os.cpu_count()),
            flushes=None if flushed is None or now is None else (now - flushed) / messages,
            latency=seen["latency"],
        )
    except Failure as failure:
        raise Failure(f"{scenario.name}, {server_kind.name}, {tool_kind.name}: {failure}") from None
    finally:
        if server is not None:
            server.stop()
        tool.stop()
        shutil.rmtree(work, ignore_errors=True)


def trace(server_kind, work):
    """A short run under strace: the confirmed mails, the number of syncs, the errors."""
    prepare(work)
    scenario = BY_NAME["kept-20"]
    sink_port = free_port()
    output = work / "trace"
    tool = Own(scenario, TRACED, sink_port)
    server = server_kind(work / server_kind.name, sink_port, syncs.command(output))
    try:
        try:
            server.start()
            tool.run(server.port)
        finally:
            server.stop()
            tool.stop()
        volume = str(server.volume.resolve())
        with open(output, errors="replace") as lines:
            if server_kind is Postern:
                answered, synced, wrong = syncs.judge(lines, volume)
                lines.seek(0)
                blind = syncs.judge(lines, volume, with_syncs=False)
                if len(blind[2]) < len(blind[0]):
                    raise Failure("the judge of the syncs finds no fault with a trace without syncs, so it proves nothing")
                wrong = wrong if len(set(answered)) == TRACED else [*wrong, f"{len(answered)} answers in the trace of {TRACED} mails"]
                return {"answered": len(answered), "syncs": synced, "wrong": wrong}
            answered, synced = syncs.count(lines, volume)
            return {"answered": answered, "syncs": synced, "wrong": None}
    finally:
        shutil.rmtree(work, ignore_errors=True)


class Results:
    """All runs, and the medians of them."""

    def __init__(self):
        self.runs, self.floors, self.traces = {}, {}, {}

    def add(self, scenario, tool, server, run):
        self.runs.setdefault((scenario.name, tool.name, server.name), []).append(run)

    def median(self, scenario, tool, server, field):
        runs = self.runs.get((scenario.name, tool.name, server.name), [])
        values = [getattr(run, field) for run in runs if getattr(run, field) is not None]
        return statistics.median(values) if values else None

    def latency(self, scenario, server, way, part):
        runs = self.runs.get((scenario.name, Own.name, server.name), [])
        return statistics.median(run.latency[way][part] for run in runs) if runs else None

    def pairs(self):
        """Each scenario with each of its tools, where there are runs."""
        for scenario in SCENARIOS:
            for tool in scenario.tools:
                if any((scenario.name, tool.name, server.name) in self.runs for server in SERVERS):
                    yield scenario, tool

    def raw(self):
        runs = [{"scenario": key[0], "tools": key[1], "server": key[2], "runs": [vars(run) for run in runs]} for key, runs in self.runs.items()]
        return {"runs": runs, "floors": self.floors, "traces": self.traces}


def ratio(one, other):
    return one / other if one and other else None


def rates(results):
    rows, labels = [], []
    for scenario, tool in results.pairs():
        if scenario.rate:
            continue
        postern, postfix, straight = (results.median(scenario, tool, server, "rate") for server in (Postern, Postfix, Straight))
        rows.append([f"{scenario.title}; {tool.name}", postern, postfix, ratio(postern, postfix), straight, ratio(postern, straight and straight / 2)])
        labels.append(f"{scenario.name}, {tool.name}")
    return {
        "name": "rates",
        "title": "Mails per second, end to end",
        "columns": ["mails; load tools", "Postern", "Postfix", "ratio", "straight into the sink", "Postern : half of straight"],
        "rows": rows,
        "notes": [
            "*smtp-source* is Postfix's smtp-source and smtp-sink, *own* is `benches/load`. The last column is for large mails: who takes a "
            "mail and sends it on can move at best half the octets of one who sends it straight to its end."
        ],
        "chart": {
            "kind": "bars",
            "title": "Mails per second, end to end",
            "unit": "mails/s",
            "labels": labels,
            "series": [{"name": "Postern", "values": [row[1] for row in rows]}, {"name": "Postfix", "values": [row[2] for row in rows]}],
        },
    }


def costs(results):
    rows, labels = [], []
    for scenario, tool in results.pairs():
        if scenario.rate:
            continue
        postern, postfix = (results.median(scenario, tool, server, "server_cpu_ms") for server in (Postern, Postfix))
        cells = [results.median(scenario, tool, server, field) for server in (Postern, Postfix) for field in ("tools_cpu_ms", "tools_share")]
        cells[1::2] = [None if share is None else f"{share:.0%}" for share in cells[1::2]]
        rows.append([f"{scenario.title}; {tool.name}", postern, postfix, ratio(postfix, postern), *cells])
        labels.append(f"{scenario.name}, {tool.name}")
    return {
        "name": "cpu",
        "title": "CPU per mail, in ms",
        "text": ["User and system time of all processes of the server; beside it what the load tools used, and which part of all cores that was."],
        "columns": ["mails; load tools", "Postern", "Postfix", "ratio", "tools with Postern", "their share", "tools with Postfix", "their share"],
        "rows": rows,
        "chart": {
            "kind": "bars",
            "title": "CPU of the server per mail",
            "unit": "ms",
            "labels": labels,
            "series": [{"name": "Postern", "values": [row[1] for row in rows]}, {"name": "Postfix", "values": [row[2] for row in rows]}],
        },
    }


def latencies(results):
    scenario = BY_NAME["latency"]
    ways = (("content_to_250", "last octet to 250"), ("answer_to_sink", "250 to the sink"), ("content_to_sink", "last octet to the sink"))
    rows, labels, series = [], [], [{"name": "Postern", "values": []}, {"name": "Postfix", "values": []}]
    for way, title in ways:
        cells = []
        for server, one in zip((Postern, Postfix), series):
            for part in ("p50", "p99"):
                value = results.latency(scenario, server, way, part)
                cells.append(value)
                one["values"].append(value)
        rows.append([title, *cells])
        labels += [f"{title}, p50", f"{title}, p99"]
    return {
        "name": "latency",
        "title": "Time of a mail at low load, in ms",
        "text": [f"{scenario.title}, own load tools: generator and sink share a clock. A time below zero means that the sink had the mail before its sender had read 250."],
        "columns": ["from … to", "Postern p50", "Postern p99", "Postfix p50", "Postfix p99"],
        "rows": rows,
        "chart": {"kind": "bars", "title": "Time of a mail at low load", "unit": "ms", "labels": labels, "series": series},
    }


def floor_table(results):
    rows = [[name, statistics.median(values)] for name, values in results.floors.items()]
    for scenario, tool in results.pairs():
        straight = results.median(scenario, tool, Straight, "rate")
        if straight and not scenario.rate:
            rows.append([f"{tool.name} straight into its sink: {scenario.title}", straight])
    return {
        "name": "floors",
        "title": "What disk and load tools alone reach, per second",
        "text": ["One process, one sync after the other. A server that syncs many mails at once passes it; one that syncs each mail by itself does not."],
        "columns": ["what", "per second"],
        "rows": rows,
        "chart": {
            "kind": "bars",
            "title": "Floors",
            "unit": "per second",
            "labels": [row[0].replace(" straight into its sink", "")[:36] for row in rows],
            "series": [{"name": "alone", "values": [row[1] for row in rows]}],
        },
    }


def sync_table(results):
    rows = []
    for server in (Postern, Postfix):
        traced = results.traces.get(server.name)
        flushed = [results.median(BY_NAME["kept-20"], tool, server, "flushes") for tool in (SmtpSource, Own)]
        if traced:
            fault = "not judged" if traced["wrong"] is None else len(traced["wrong"])
            rows.append([server.title, traced["answered"], traced["syncs"], traced["syncs"] / traced["answered"], fault, *flushed])
    return {
        "name": "syncs",
        "title": "Syncs",
        "text": [
            f"{TRACED} mails over 20 sessions under `strace`, which makes everything slow and lets few mails share a sync. Each answer of Postern is held "
            "against the trace (`benches/syncs.py`): in front of it must stand the end of a sync that began after the write of this mail's record had "
            "returned. Beside it the flushes of the disk per mail in the full runs, from the kernel's counters (/proc/diskstats: all that the machine flushes)."
        ],
        "columns": ["", "250 answered", "syncs", "syncs per mail", "answers before their sync", "flushes per mail, smtp-source", "flushes per mail, own"],
        "rows": rows,
        "chart": {
            "kind": "bars",
            "title": "Syncs per mail",
            "unit": "syncs per mail",
            "labels": ["under strace", "full runs, smtp-source", "full runs, own"],
            "series": [{"name": row[0], "values": [row[3], row[5], row[6]]} for row in rows],
        },
    }


def show(table):
    """A table for the terminal."""
    print(f'\n{table["title"]}')
    for row in [table["columns"], *table["rows"]]:
        print("  " + f"{row[0]:<52}" + "".join(f" {page.svg.number(cell):>14.14}" for cell in row[1:]))


def result(results, options):
    return {
        "order": 10,
        "title": "Throughput, cost and latency",
        "text": [
            f"A load generator, the server, a sink, all on this machine and on loopback; the queues of both servers on one file system. Medians of {options.rounds} "
            "rounds; in each the servers take turns. A run ends when the sink has the last mail. Postern gets more mails than Postfix, so that the "
            "runs of both last for seconds: "
            + "; ".join(f"{one.name} {one.count(Postern, options.scale):,} and {one.count(Postfix, options.scale):,}" for one in SCENARIOS)
            + ". Postfix runs with Debian's default durability.",
        ],
        "made": page.made(options.dir, Postfix=postfix_version()),
        "command": "make bench",
        "tables": [make(results) for make in (rates, costs, latencies, floor_table, sync_table)],
        "raw": results.raw(),
    }


def run(options, work):
    """Everything that was requested."""
    results = Results()
    servers = [server for server in SERVERS if options.only in (None, server.name)]
    scenarios = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    tools = [tool for tool in (SmtpSource, Own) if options.tools in (None, tool.name)]
    for number in range(options.rounds):
        for scenario in scenarios:
            for tool in (tool for tool in tools if tool in scenario.tools):
                for server in servers:
                    if scenario.rate and server is Straight:
                        continue
                    one = measure(server, tool, scenario, scenario.count(server, options.scale), work)
                    results.add(scenario, tool, server, one)
                    print(
                        f"round {number + 1}/{options.rounds}  {scenario.name:<10}  {tool.name:<11}  {server.name:<8} {one.rate:8.0f} mails/s  "
                        f"{one.server_cpu_ms:7.3f} ms CPU per mail  load tools {one.tools_cpu_ms:6.3f} ms ({one.tools_share:.0%} of the cores)",
                        flush=True,
                    )
        if options.is_whole or options.floors:
            prepare(work)
            for name, value in (
                ("append 5 kB + fdatasync", floors.appends_per_second(work, 5120)),
                ("append 100 kB + fdatasync", floors.appends_per_second(work, 102400, 300)),
                ("overwrite 5 kB + fdatasync", floors.overwrites_per_second(work, 5120)),
            ):
                results.floors.setdefault(name, []).append(value)
                print(f"round {number + 1}/{options.rounds}  {name}: {value:.0f} per second", flush=True)
    if options.is_whole or options.syncs:
        for server in (one for one in servers if one is not Straight):
            results.traces[server.name] = traced = trace(server, work)
            faults = "" if traced["wrong"] is None else f", {len(traced['wrong'])} answers before their sync"
            print(f"strace  {server.name:<8} {traced['answered']} answers, {traced['syncs']} syncs{faults}", flush=True)
            if traced["wrong"]:
                raise Failure("answered before it was safe:\n  " + "\n  ".join(traced["wrong"][:20]))
    return results


def parse():
    parser = argparse.ArgumentParser(description="Throughput, CPU per mail and latency, Postern beside Postfix.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of mails")
    parser.add_argument("--only", choices=[server.name for server in SERVERS])
    parser.add_argument("--scenario", action="append", choices=[*BY_NAME, "none"], help="again for more; none for only --syncs or --floors")
    parser.add_argument("--tools", choices=(SmtpSource.name, Own.name))
    parser.add_argument("--syncs", action="store_true", help="the proof by strace, too, in a run that is not whole")
    parser.add_argument("--floors", action="store_true", help="what the disk alone reaches, too, in a run that is not whole")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the queues are (default: /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there; a whole run without it writes the page")
    options = parser.parse_args()
    options.is_whole = not (options.only or options.scenario or options.tools)
    return options


def check(options):
    if os.geteuid() != 0:
        sys.exit("throughput: needs root, for Postfix starts under no other user")
    missing = [p for p in ("postfix", "smtp-source", "smtp-sink", "strace") if shutil.which(p) is None]
    if missing:
        sys.exit(f"throughput: {', '.join(missing)} missing: scripts/install-peers.sh, apt-get install strace")
    kind_of_disk = subprocess.run(["stat", "-f", "-c", "%T", options.dir], capture_output=True, text=True).stdout.strip()
    if kind_of_disk in ("tmpfs", "ramfs", ""):
        sys.exit(f"throughput: {options.dir} is {kind_of_disk or 'not there'}; syncing to it would cost nothing. Use --dir")


def main():
    options = parse()
    check(options)
    work = options.dir / f"postern-bench-{os.getpid()}"
    try:
        results = run(options, work)
    except Failure as failure:
        sys.exit(f"throughput: {failure}")
    made = result(results, options)
    for table in made["tables"]:
        if any(cell is not None for row in table["rows"] for cell in row[1:]):
            show(table)
    if options.json:
        options.json.write_text(json.dumps(made, indent=1))
    elif options.is_whole:
        page.save("throughput", made)
        print(f"\n{page.PAGE.relative_to(page.ROOT)} and {page.write()} charts are written")


if __name__ == "__main__":
    # An interrupted run still stops the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("throughput: interrupted; its servers are stopped")
