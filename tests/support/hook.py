"""A receiver of events, as an operator's program would be one: `hook.py [FAILURES [SECRET [CHAIN KEY]]]`.

It answers the first FAILURES requests with 500, holds signatures to Standard Webhooks, and speaks TLS where it is given a key. The
first line of its output is its port; each further one is what came in, as JSON.
"""

import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

failures = int(sys.argv[1]) if len(sys.argv) > 1 else 0
secret = sys.argv[2] if len(sys.argv) > 2 else ""


def is_signed(headers, content):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and hmac.compare_digest(expected, headers["webhook-signature"] or "")


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        global failures
        content = self.rfile.read(int(self.headers["content-length"]))
        status = 500 if failures > 0 else 204
        failures -= 1
        heard = {
            "path": self.path, "id": self.headers["webhook-id"], "status": status, "type": self.headers["content-type"],
            "signed": bool(secret) and is_signed(self.headers, content), "event": json.loads(content),
        }
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print(json.dumps(heard), flush=True)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
