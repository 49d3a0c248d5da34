"""Reads pairs of files, and prints where the second message is not the first in 7 bits."""
import email, email.policy, sys

def leaves(message, path=""):
    """Every leaf as path, type and decoded octets."""
    kind = message.get_content_type()
    payload = message.get_payload()
    if isinstance(payload, list):
        for number, part in enumerate(payload):
            yield from leaves(part, f"{path}/{kind}[{number}]")
    else:
        yield f"{path}/{kind}", message.get_payload(decode=True)

def read(path):
    with open(path, "rb") as file:
        return file.read()

wrong = 0
for line in sys.stdin:
    before, after = (read(path) for path in line.split())
    want, have = (list(leaves(email.message_from_bytes(text, policy=email.policy.compat32))) for text in (before, after))
    # Line ends at the very end of a message are the receiver's business.
    strip = lambda found: [(path, octets.rstrip(b"\r\n")) for path, octets in found]
    if strip(want) != strip(have):
        wrong += 1
        print("wanted", want, "and have", have)
sys.exit(1 if wrong else 0)
