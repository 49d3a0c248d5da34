"""Shows by strace that no mail is answered before it is on the disk.

A trace is a list of lines in the order in which the tracer let things happen: the end of a write stands before the beginning of a
sync only if the sync began after the write had returned. `judge` reads it and finds, for each "250 2.0.0 Ok: queued as ID":

  1. the first write to a file of the data volume that holds the id (as docs/queue-format.md says: u64, little-endian),
  2. a sync of the same file that began after that write had returned and that succeeded,
  3. and the end of that sync, in front of the reply.

A judge that says yes to everything would look like a good one. So each trace is judged again with its syncs struck out, and then
it must find fault with every reply.
"""

import re

SYNCS = ("fdatasync", "fsync")
WRITES = ("pwrite64", "pwritev", "pwritev2", "write", "writev")
SENDS = ("sendto", "sendmsg", "write", "writev")
CALLS = sorted({*SYNCS, *WRITES, *SENDS, "sync_file_range", "io_uring_enter"})
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
QUEUED = re.compile(rb"250 2\.0\.0 Ok: queued as (\w+)")
PATH = re.compile(r"^\d+<([^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
RESULT = re.compile(r" = (-?\d+)")


def command(output):
    """The tracer, in front of the server's own command: names for files, all octets of each text in hexadecimal."""
    return ["strace", "-f", "-qq", "-y", "-xx", "-s", str(1 << 20), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(output)]


def events(lines):
    """("begin" or "end", call, path, octets, result) of each call, in order."""
    open_calls = {}
    for line in lines:
        match = LINE.match(line)
        if not match:
            continue
        pid, resumed, call, rest = match.groups()
        if resumed:
            call, path, octets = open_calls.pop(pid, (resumed, "", b""))
        else:
            path = PATH.match(rest)
            path = _plain(path.group(1)) if path else ""
            octets = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in TEXT.findall(rest))
            yield "begin", call, path, octets, None
            if rest.endswith("<unfinished ...>"):
                open_calls[pid] = (call, path, octets)
                continue
        result = RESULT.findall(rest)
        yield "end", call, path, octets, int(result[-1]) if result else None


def _plain(path):
    """With -xx strace writes the names of files in hexadecimal, too."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda found: bytes.fromhex(found.group().replace("\\x", "")).decode(errors="replace"), path)


def number_of(text):
    """The id that a reply names in Crockford's base 32."""
    value = 0
    for letter in text:
        value = value * 32 + CROCKFORD.index(letter)
    return value


def judge(lines, volume, with_syncs=True):
    """(ids answered, syncs of the volume's files, what is wrong)."""
    written = {}  # of each file: what was written to it, in order
    durable = {}  # of each file: how many of its writes a finished sync covers
    begun = {}  # of each file: how many of its writes the syncs under way cover
    answered, syncs, wrong = [], 0, []
    for when, call, path, octets, result in events(lines):
        inside = path.startswith(volume)
        if call == "io_uring_enter":
            wrong.append("writes through io_uring are not in this trace")
        elif inside and call in SYNCS and when == "begin":
            begun.setdefault(path, []).append(len(written.get(path, ())))
        elif inside and call in SYNCS:
            covered = begun[path].pop(0)
            if result == 0 and with_syncs:
                syncs += 1
                durable[path] = max(durable.get(path, 0), covered)
        elif inside and call in WRITES and when == "end":
            if result == len(octets):
                written.setdefault(path, []).append(octets)
        elif when == "begin" and call in SENDS and not inside:
            for name in QUEUED.findall(octets):
                answered.append(name.decode())
                fault = _fault(name.decode(), written, durable)
                if fault:
                    wrong.append(fault)
    return answered, syncs, wrong


def _fault(name, written, durable):
    key = number_of(name).to_bytes(8, "little")
    for path, pieces in written.items():
        for at, octets in enumerate(pieces):
            if key in octets:
                return None if durable.get(path, 0) > at else f"{name} was answered before the sync of its write was done"
    return f"{name} was answered before it was written"


def count(lines, volume):
    """(mails answered, syncs of files of the volume): for servers whose format is not checked."""
    answered = syncs = 0
    for when, call, path, octets, result in events(lines):
        if when == "end" and call in SYNCS and path.startswith(volume) and result == 0:
            syncs += 1
        if when == "begin" and call in SENDS:
            answered += len(QUEUED.findall(octets))
    return answered, syncs
