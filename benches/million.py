"""A million deferred mails: their effect on new mail, memory, a restart, the disk, and the pages."""

import json
import os
import socket
import statistics
import subprocess
import time
from pathlib import Path

from rig import BAD, GOOD, MIB, SESSIONS, Relay, Sink, end_process, fresh, load, mb, say
from servers import TARGET, Failure, wait_for_greeting

# With a login the pages allow operator actions.
LOGIN = {"username": "operator", "password": "for this measurement only"}
# Playwright lives here; see scripts/install-peers.sh.
PYTHON = Path("/usr/local/lib/postern-peers/python/bin/python3")


def cold():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


# The pages of an operator, and the requests of the tool.
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
    """Seconds of each page and request with a long queue."""
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
    picture = pictures() / f"long-{path.strip('/').replace('?', '-') or 'overview'}.png"
    return int(browser("look.py", relay.url() + path, picture)) / 1000


def acts(relay, destination, count):
    """Seconds of each step when an operator holds, releases and would delete all mail for a destination, in Chromium."""
    told = json.loads(browser("act.py", relay.url(), destination, pictures()))
    if told["held"] != f"{count:,} messages held.":
        raise Failure(f"{count:,} messages were to be held, and the page says: {told['held']}")
    for name, milliseconds in told["took"].items():
        say(f"million: {name} in {milliseconds:,} ms")
    return {name: milliseconds / 1000 for name, milliseconds in told["took"].items()}


def pictures():
    path = TARGET / "screenshots"
    path.mkdir(parents=True, exist_ok=True)
    return path


def browser(script, *arguments):
    """The output of a script of Chromium."""
    environment = os.environ | {"POSTERN_USER": LOGIN["username"], "POSTERN_PASSWORD": LOGIN["password"]}
    command = [PYTHON, Path(__file__).with_name(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    if done.returncode != 0:
        raise Failure(f"Chromium did not do {' '.join(map(str, arguments))} (scripts/install-peers.sh installs it): {done.stderr.strip()[-800:]}")
    return done.stdout


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
    # Planning may continue after the port is open: waits until its lines have ended.
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
    """Disk space compared with live octets; compaction gets a minute to finish."""
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
    full = Relay(fresh(bench.work, "full"), bench.names, 128 * MIB, **LOGIN)
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
        found["acts"] = acts(full, "dead0001.example", count // 2)
        full.no_oom("million")
        empty.stop()
        found["restarts"] = [restart(full, count, how) for how in ("SIGTERM", "SIGKILL")]
        bad.close()
        bad = Sink(BAD, options=refuse[:2])
        full.queue("retry", "--yes", "--domain", "dead0001.example")
        full.wait_for("mta_mqueue_messages", count // 2, "delivering half of it")
        found["disk"].append(volume_of(full, "half of it delivered"))
        say(f"million: {count // 2:,} mails come and go")
        load("both", full.port, count // 2, "to@good.example", sinks=[GOOD])
        full.wait_for("mta_mqueue_messages", count // 2, "ending what came and went")
        found["disk"].append(volume_of(full, "after as many came and went"))
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
        *([f"With {count:,} deferred, {count // 2:,} of them for one destination: {name}, in Chromium, s", round(seconds, 1), None] for name, seconds in found["acts"].items()),
    ]
    return found
