"""An hour in which mail comes and goes over a queue that stays: how much disk the volume takes, compared with its mail."""

import statistics
import threading
import time

from rig import GOOD, MIB, Relay, Sink, destination_address, end_process, fresh, load, mb, say
from servers import Failure

# Destinations that reject for a while: each gets the mail of one turn and accepts it when its turn comes again.
PATIENT = 10
# One more that rejects to the end, so that some mail is in segments of every age.
STAYING = 20_000
# Mails per second to the patient destination of a turn, and as many to the good one.
RATE = 150
TURN_SECONDS = 60
SAMPLE_SECONDS = 2
# One of so many samples is in the results; the ratios are of all.
SHOWN_SAMPLES = 15


def domain(number):
    return f"d{number:04}.example"


def refusing(number):
    return Sink(destination_address(number), options=["--refuse", f"{domain(number)}=450"])


class Gauge(threading.Thread):
    """Samples of disk and live octets while mail comes and goes."""

    def __init__(self, relay):
        super().__init__(daemon=True)
        self.relay, self.ended, self.samples = relay, threading.Event(), []
        self.began = time.monotonic()
        self.start()

    def run(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            try:
                counters = self.relay.counters()
            except OSError:
                continue
            live = counters["mta_mqueue_kbytes"] * 1024
            self.samples.append([round(time.monotonic() - self.began, 1), self.relay.disk(), live, counters["mta_spool_disk_bytes"]])

    def close(self):
        self.ended.set()
        self.join()


def let_go(relay, sinks, number):
    """The destination accepts all waiting mail, then rejects again."""
    sinks[number].close()
    sinks[number] = Sink(destination_address(number))
    relay.queue("retry", "--yes", "--domain", domain(number))
    end = time.monotonic() + TURN_SECONDS
    while f'"{domain(number)}"' in relay.get("/api/v1/destinations?limit=1000"):
        if time.monotonic() > end:
            raise Failure(f"{domain(number)} takes mail, and some is still waiting for it after {TURN_SECONDS} s")
        time.sleep(0.5)
    sinks[number].close()
    sinks[number] = refusing(number)


def churn(bench):
    turns = max(2, round(bench.churn_minutes * 60 / TURN_SECONDS))
    each = RATE * (TURN_SECONDS - 10)
    relay = Relay(fresh(bench.work, "churn"), bench.names, 128 * MIB)
    sinks, running, gauge = {}, [], None
    try:
        sinks = {number: refusing(number) for number in range(PATIENT + 1)}
        relay.start()
        load("send", relay.port, STAYING, f"to@{domain(PATIENT)}")
        relay.wait_for("mta_mqueue_deferred_messages", STAYING, "deferring what stays")
        gauge = Gauge(relay)
        good = Sink(GOOD)
        sinks["good"] = good
        for turn in range(turns):
            began = time.monotonic()
            number = turn % PATIENT
            if turn >= PATIENT:
                let_go(relay, sinks, number)
            pace = ["--rate", str(RATE)]
            running = [load("send", relay.port, each, f"to@{name}", sessions=4, more=pace, background=True) for name in (domain(number), "good.example")]
            for one in running:
                out, words = one.communicate(timeout=TURN_SECONDS * 5)
                if one.returncode != 0:
                    raise Failure(f"the load generator says: {(words + out).strip()[:800]}")
            at, disk, live, _ = gauge.samples[-1]
            say(f"churn {turn + 1}/{turns}: {disk / MIB:,.0f} MB on disk for {live / MIB:,.0f} MB of mail, {disk / live:.2f}×")
            time.sleep(max(0, TURN_SECONDS - (time.monotonic() - began)))
        relay.no_oom("churn")
        last = relay.counters()
        found = {
            "seconds": time.monotonic() - gauge.began, "accepted": last["mta_accepted_total"], "copied": last["mta_spool_copied_bytes_total"],
            "anonymous_peak": relay.cgroup.peak,
        }
    finally:
        for one in running:
            end_process(one)
        if gauge is not None:
            gauge.close()
        relay.close()
        for one in sinks.values():
            one.close()
    # The queue has its length once each patient destination had its turn.
    full = [sample for sample in gauge.samples if sample[0] > PATIENT * TURN_SECONDS] or gauge.samples
    volume, segments = ([sample[place] / sample[2] for sample in full] for place in (1, 3))
    found["samples"] = gauge.samples[::SHOWN_SAMPLES]
    minutes, long = round(found["seconds"] / 60), f"{round(found['seconds'] / 60)} minutes of churn"
    bench.rows += [
        [f"Mails accepted in {minutes} minutes", found["accepted"], None],
        ["Mail in the queue meanwhile, median, MB", mb(statistics.median(live for _, _, live, _ in full)), None],
        *([f"{what}, of the live octets: {when} {long}", round(value, 2), wanted]
          for what, ratios, wanted in (("All of the volume", volume, "below 2"), ("Its segments", segments, None))
          for when, value in (("after", ratios[-1]), ("median of", statistics.median(ratios)), ("the most in", max(ratios)))),
        ["Octets copied to empty segments, for each octet of mail accepted", round(found["copied"] / (found["accepted"] * bench.size), 2), None],
        ["Anonymous memory, peak, MB", mb(found["anonymous_peak"]), "within 128"],
    ]
    return found
