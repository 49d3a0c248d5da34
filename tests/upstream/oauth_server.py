"""A token endpoint (authlib on Flask), and a mail server that knows its tokens (aiosmtpd).

    oauth_server.py DIRECTORY CHAIN KEY TOKEN_PORT SMTP_PORT MECHANISMS

Both speak TLS with the same certificate. What they do next is in DIRECTORY/control, a JSON object:

    secret      the secret of the client (default: "planted-client-s3cret")
    refresh     the refresh token of the mailbox (default: "planted-refresh-first")
    dead        so many of the next access tokens are not accepted by the mail server
    length      octets of an access token
    life        its expires_in
    mode        "ok", "slow" (no answer), "busy" (503), "echo" (an error that repeats all it got)
    at_once     the mail server refuses with 535, without a challenge before it

What they did is in DIRECTORY/events, a line for each: `granted TOKEN`, `refused ERROR`,
`login MECHANISM accepted|refused at-once|asked`, `mail`.
"""

import base64
import json
import os
import secrets
import ssl
import sys
import threading
import time
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from flask import Flask, jsonify, request

DIRECTORY, CHAIN, KEY, TOKEN_PORT, SMTP_PORT, MECHANISMS = sys.argv[1:7]
MAILBOX = "box@here.example"

lock = threading.Lock()
tokens = {}  # access token -> whether the mail server accepts it
rotated = []  # refresh tokens given here, of which the last one is valid
used = set()


def control(name, default):
    try:
        return json.loads(Path(DIRECTORY, "control").read_text()).get(name, default)
    except (FileNotFoundError, ValueError):
        return default


def event(text):
    with lock, open(Path(DIRECTORY, "events"), "a") as file:
        file.write(text + "\n")


class Client(ClientMixin):
    client_id = "client"

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_client_secret(self, secret):
        return secret == control("secret", "planted-client-s3cret")

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_post", "client_secret_basic")

    def check_grant_type(self, grant_type):
        return grant_type in ("client_credentials", "refresh_token")


class RefreshToken:
    def check_client(self, client):
        return True

    def get_scope(self):
        return "mail"


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, token):
        # Rotation: each refresh token is good for one request.
        known = token in rotated or token == control("refresh", "planted-refresh-first")
        return RefreshToken() if known and token not in used else None

    def authenticate_user(self, token):
        return MAILBOX

    def revoke_old_credential(self, token):
        used.add(request.form["refresh_token"])


def access_token(**_):
    return ("planted-access-" + secrets.token_hex(16)).ljust(control("length", 40), "x")


def refresh_token(**_):
    rotated.append("planted-rotated-" + secrets.token_hex(16))
    return rotated[-1]


def save(token, _):
    text = token["access_token"]
    dead = sum(not good for good in tokens.values()) < control("dead", 0)
    tokens[text] = not dead
    event(f"granted {text}")


app = Flask(__name__)
server = AuthorizationServer(app, query_client=lambda _: Client(), save_token=save)
server.register_token_generator(
    "default", BearerTokenGenerator(access_token, refresh_token, lambda *_: control("life", 3600))
)
server.register_grant(ClientCredentials)
server.register_grant(Refresh)


@app.post("/token")
def token():
    mode = control("mode", "ok")
    if mode == "slow":
        event("slow")
        time.sleep(15)
    if mode == "busy":
        event("busy")
        return jsonify(error="server_error", error_description="come back"), 503
    if mode == "echo":
        event("echo")
        return jsonify(error="invalid_request", error_description=request.get_data(as_text=True)), 400
    response = server.create_token_response()
    if response.status_code != 200:
        event("refused " + response.get_json()["error"])
    return response


@app.route("/introspect", methods=["GET", "POST"])
def introspect():
    """RFC 7662, for Dovecot."""
    text = request.form.get("token") or request.headers.get("Authorization", "")[len("Bearer ") :]
    good = tokens.get(text, False)
    return jsonify(active=good, username=MAILBOX) if good else jsonify(active=False)


class Patient(SMTP):
    # RFC 4954, section 4.
    line_length_limit = 12288


class Handler:
    async def login(self, server, args, mechanism, prefix, refusal):
        when = "at-once" if len(args) > 1 else "asked"
        if len(args) > 1:
            message = base64.b64decode(args[1])
        else:
            message = await server.challenge_auth("")
            if message is MISSING:
                return AuthResult(success=False, handled=True)
        user, _, shown = message.decode().partition("auth=Bearer ")
        good = tokens.get(shown.rstrip("\x01"), False) and user.startswith(prefix)
        event(f"login {mechanism} {'accepted' if good else 'refused'} {when}")
        if good:
            return AuthResult(success=True, auth_data=MAILBOX)
        if not control("at_once", False):
            answer = await server.challenge_auth(json.dumps(refusal | {"token": shown}))
            if answer is MISSING:
                return AuthResult(success=False, handled=True)
            if answer != (b"\x01" if mechanism == "OAUTHBEARER" else b""):
                event(f"wrong answer {answer!r}")
        await server.push("535 5.7.3 Authentication unsuccessful")
        return AuthResult(success=False, handled=True)

    async def auth_XOAUTH2(self, server, args):
        prefix = f"user={MAILBOX}\x01"
        return await self.login(server, args, "XOAUTH2", prefix, {"status": "401"})

    async def auth_OAUTHBEARER(self, server, args):
        prefix = f"n,a={MAILBOX},\x01"
        return await self.login(server, args, "OAUTHBEARER", prefix, {"status": "invalid_token"})

    async def handle_DATA(self, server, session, envelope: Envelope):
        event("mail")
        return "250 2.0.0 Ok"


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CHAIN, KEY)
    return made


class Mail(Controller):
    def factory(self):
        others = {"LOGIN", "PLAIN", "XOAUTH2", "OAUTHBEARER"} - set(MECHANISMS.split(","))
        return Patient(
            self.handler,
            hostname="mx.example",
            tls_context=context(),
            require_starttls=True,
            auth_required=True,
            auth_require_tls=True,
            auth_exclude_mechanism=list(others),
        )


os.umask(0)
Mail(Handler(), hostname="127.0.0.1", port=int(SMTP_PORT)).start()
app.run(host="127.0.0.1", port=int(TOKEN_PORT), ssl_context=(CHAIN, KEY), threaded=True)
