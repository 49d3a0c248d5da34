#!/usr/bin/env python3
"""Two builds of Postern in one run: does a change make the relay slower or larger?

    git worktree add /tmp/before REVISION && (cd /tmp/before && cargo build --locked --release)
    make build && benches/compare.py --before /tmp/before/target/release/postern

In each round each scenario runs with both builds, which take turns to be first. Printed are the medians of the rounds, and the
median of the ratios within a round with its quartiles: speeds of a machine vary over minutes, two runs in a row share them. Each
run is one of throughput.py: a load generator, the relay, a sink, until the sink has the last mail. Memory is the sum of the
largest resident sets of all processes of the relay.

Needs root and Postfix's smtp-source and smtp-sink, and a machine that does nothing else.
"""

import argparse
import statistics
import sys
from pathlib import Path

import servers
import throughput
from tools import SmtpSource

SCENARIOS = ("kept-20", "new-20", "large-20", "sequential")
FIELDS = (("rate", "mails per second"), ("server_cpu_ms", "ms CPU per mail"), ("peak_mb", "MB resident"))


class Build(servers.Postern):
    """A Postern of a given binary, which remembers how large it was."""

    peak_mb = 0.0

    def cpu_seconds(self):
        type(self).peak_mb = sum(map(_peak_mb, servers.family(self.process.pid)))
        return super().cpu_seconds()


def _peak_mb(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def build(name, binary):
    return type(name, (Build,), {"title": name, "binary": binary})


def one_run(kind, scenario, options, work):
    run = throughput.measure(kind, SmtpSource, scenario, scenario.count(kind, options.scale), work)
    return {"rate": run.rate, "server_cpu_ms": run.server_cpu_ms, "peak_mb": kind.peak_mb}


def compare(scenario, options, work):
    before, after = build("before", options.before), build("after", options.after)
    pairs = []
    for number in range(options.rounds):
        order = (before, after) if number % 2 == 0 else (after, before)
        runs = {kind: one_run(kind, scenario, options, work) for kind in order}
        pairs.append((runs[before], runs[after]))
        print(f"round {number + 1}/{options.rounds}  {scenario.name}", *(f"{runs[kind]['rate']:.0f}" for kind in (before, after)), flush=True)
    for field, unit in FIELDS:
        old, new = (statistics.median(pair[side][field] for pair in pairs) for side in (0, 1))
        low, middle, high = statistics.quantiles([after[field] / before[field] for before, after in pairs], n=4)
        print(f"{scenario.name:<11} {unit:<17} before {old:9.2f}  after {new:9.2f}  ratio {middle:.3f} (quartiles {low:.3f} to {high:.3f})", flush=True)


def parse():
    parser = argparse.ArgumentParser(description="Two builds of Postern in one run.")
    parser.add_argument("--before", type=Path, required=True, help="the binary to compare with")
    parser.add_argument("--after", type=Path, default=servers.Postern.binary, help="the binary to judge (default: target/release/postern)")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of mails")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="again for more (default: all)")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the queues are (default: /var/tmp)")
    return parser.parse_args()


def main():
    options = parse()
    throughput.check(options)
    if options.rounds < 2:
        sys.exit("compare: at least two rounds")
    try:
        for name in options.scenario or SCENARIOS:
            compare(throughput.BY_NAME[name], options, options.dir / "postern-compare")
    except servers.Failure as failure:
        sys.exit(f"compare: {failure}")


if __name__ == "__main__":
    main()
