#!/usr/bin/env python3
"""Whether cost grows with the queue, and what waits and connections take: Postern in cgroups of 128 and 256 MB.

    benches/scale.py                            all of it: writes limits.json, scale.json and churn.json in benches/results
    benches/scale.py --scenario million         one scenario (several: name it again)
    benches/scale.py --messages 50000           a smaller queue; the other counts shrink with it, printed only

Scenarios, with the file that has them:

    limits.py     idle          resident memory of all processes a minute after the start
                  connections   10,000 connections that say nothing, 256 MB
                  large         1,000 sessions that each send 10 MB at once, 128 MB
                  destinations  1,000 destinations, one of them refusing connections, swallowing them, or slow; the others' rate, in turn
                  viewers       ten people who watch the overview; mail with and without them, in turn
    million.py    million       1,000,000 mails of 5 kB that were all deferred once, 128 MB: memory with 200 sessions, the rate of new
                                mail beside the rate on an empty queue (in turn), restarts after SIGTERM and after SIGKILL with a cold
                                page cache, and the disk that is given back when half of the mail has gone
    churn.py      churn         an hour in which mail comes, waits and goes at a steady rate: the disk beside the live octets

How mail finds its way here: rig.py. Deferred mail waits for a day, so nothing is retried while it is measured. Memory: "anonymous" is
the memory of the processes themselves (what cannot be taken back), by the cgroup's own account; the page cache fills the rest of any
limit.

Needs root (network namespace, cgroup, page cache), target/release/postern (or the binary in POSTERN_BINARY) and the load generator
(`make bench` builds both), and 15 GB of room in --dir for a full run. Everything lives in a directory below --dir and is removed
afterwards, the cgroups too.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import page
from churn import churn
from limits import connections, destinations, idle, large, viewers
from million import million
from rig import SIZE, Names, more_files, own_network, say
from servers import Failure

MILLION = 1_000_000
CHURN_MINUTES = 60

SCENARIOS = {one.__name__: one for one in (idle, connections, large, destinations, viewers, million, churn)}
# Each is a part of the page, made when all its scenarios were run at full size.
PARTS = {"limits": ["idle", "connections", "large", "destinations", "viewers"], "scale": ["million"], "churn": ["churn"]}


class Bench:
    """What the scenarios share: options, the name server, the rows of the table."""

    def __init__(self, options, work):
        self.messages, self.rounds, self.work = options.messages, options.rounds, work
        self.share = min(1, options.messages / MILLION)
        self.idle_seconds, self.churn_minutes, self.size = options.idle_seconds, options.churn_minutes, SIZE
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
    if part == "churn":
        return "Disk is given back", [
            "Mail of 5 kB by MX to sinks on addresses of their own, at a steady 300 a second: half of it is delivered at once, the other half is deferred, each minute by another of ten destinations, which "
            f"takes all of its mail when its turn comes again; 20,000 mails stay to the end. The files of the volume and the live octets (the counter Mqueue Kbytes) were read every two seconds, and counted once the queue had its length. {memory}",
        ], "Disk, mail and memory"
    return "Connections, large mail, destinations, viewers", [
        f"Mail of 5 kB by MX to sinks on addresses of their own, but for the large ones. With and without a bad destination, with and without viewers: in turn, "
        f"{bench.rounds} rounds, medians of the ratios. *Closed*: nobody listens; *swallowing*: it takes connections and says nothing; *slow*: the reply to the end of a mail takes five seconds. "
        f"A viewer follows the stream of events and takes the overview anew at each. An idle Postern has let go of the pages of its program that it does not use, and the kernel "
        f"gives them back when they are wanted. {memory}",
    ], "Memory, and what one costs the others"


def result(part, bench, options, rows, raw):
    title, text, table = titles(part, bench)
    return {
        "order": {"scale": 20, "limits": 21, "churn": 22}[part],
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
    parser.add_argument("--churn-minutes", type=float, default=CHURN_MINUTES, help="how long mail comes and goes (default: 60)")
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
        whole = options.churn_minutes >= CHURN_MINUTES if part == "churn" else options.messages == MILLION
        if whole and set(PARTS[part]) <= set(chosen):
            page.save(part, made[part])
            print(f"benches/results/{part}.json is written; benches/page.py makes the page of it")


if __name__ == "__main__":
    # An interrupted run still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("scale: interrupted; what it started is stopped")
