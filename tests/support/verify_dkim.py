"""Verifies the DKIM signatures of mails with dkimpy.

usage: verify_dkim.py RECORDS MAIL...

RECORDS is a file of lines `NAME VALUE`: the TXT records that exist. For each mail a line of JSON is
printed: a list with the domain, the selector and the algorithm of each signature, and whether it
holds.
"""

import json
import sys

import dkim
from dkim.util import parse_tag_value

with open(sys.argv[1], encoding="ascii") as records:
    ZONE = dict(line.rstrip("\n").split(" ", 1) for line in records)


def look_up(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    value = ZONE.get(name.rstrip("."))
    return value.encode() if value is not None else None


def results(octets):
    message = dkim.DKIM(octets, minkey=1024)
    found = []
    signatures = [value for name, value in message.headers if name.lower() == b"dkim-signature"]
    for place, value in enumerate(signatures):
        tags = {name.decode(): text.decode() for name, text in parse_tag_value(value).items()}
        try:
            holds = dkim.DKIM(octets, minkey=1024).verify(idx=place, dnsfunc=look_up)
        except dkim.DKIMException as error:
            holds = str(error)
        found.append({
            "d": tags.get("d"), "s": tags.get("s"), "a": tags.get("a"), "h": tags.get("h"),
            "holds": holds,
        })
    return found


for path in sys.argv[2:]:
    with open(path, "rb") as mail:
        print(json.dumps(results(mail.read())))
