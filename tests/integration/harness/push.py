# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The other ends of Web Push: devices, the clients that subscribe them, and what they receive."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .mails import mail
from .push_service import PATIENCE, answer

WEBPUSH = "/private/vendor/vendor.dovecot/webpush"
SUBSCRIPTIONS = f"{WEBPUSH}/subscriptions"
VAPID = f"{WEBPUSH}/vapid"

MAX_PAYLOAD = 3993
_numbers = itertools.count(1)


def b64(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    """Takes nothing but base64url without padding."""
    assert not set(text) & set("+/="), text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key):
    """The uncompressed point of a key pair or of a public key."""
    public = key.public_key() if hasattr(key, "public_key") else key
    return public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def hkdf(salt, secret, info, length):
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


class Device:
    """What a browser or an app is to Web Push: a key pair and a secret (RFC 8291)."""

    def __init__(self, private=None, auth=None):
        if private is None:
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())
        self.auth = auth or os.urandom(16)

    @property
    def p256dh(self):
        return b64(point(self.private))

    def decrypt(self, body):
        """The plaintext. An assertion says what is not as RFC 8291 and MSG-6 want it."""
        assert 16 + 4 + 1 + 65 + 1 + 16 <= len(body) <= 4096, len(body)
        salt, record_size, id_size = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        assert (record_size, id_size) == (4096, 65)
        sender, record = body[21:86], body[86:]
        secret = self.private.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        )
        keys = b"WebPush: info\0" + point(self.private) + sender
        secret = hkdf(self.auth, secret, keys, 32)
        key = hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
        text = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\0")
        assert text.endswith(b"\2"), "the last record ends with a 2 and padding"
        return text[:-1]

    def encrypt(self, text):
        """What a push service gets for this device. For tests of the harness itself."""
        sender, salt = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        secret = sender.exchange(ec.ECDH(), self.private.public_key())
        keys = b"WebPush: info\0" + point(self.private) + point(sender)
        secret = hkdf(self.auth, secret, keys, 32)
        key = hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
        head = salt + (4096).to_bytes(4, "big") + bytes([65]) + point(sender)
        return head + AESGCM(key).encrypt(nonce, text + b"\2", None)

    def decrypt_by_http_ece(self, body):
        """The same by the library that push services' own tests use; None if it isn't there."""
        scalar = self.private.private_numbers().private_value.to_bytes(32, "big")
        try:
            import http_ece
        except ImportError:
            return self.decrypt_by_node(body, scalar)
        return http_ece.decrypt(body, private_key=self.private, auth_secret=self.auth)

    def decrypt_by_node(self, body, scalar):
        modules = os.environ.get("COI_TEST_NODE_MODULES")
        if not modules or not os.path.isdir(f"{modules}/http_ece") or not shutil.which("node"):
            return None
        given = {"d": scalar, "p": point(self.private), "auth": self.auth, "body": body}
        done = subprocess.run(
            ["node", "-e", NODE_DECRYPT],
            env={**os.environ, "NODE_PATH": modules},
            input=json.dumps({name: value.hex() for name, value in given.items()}).encode(),
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


NODE_DECRYPT = """
const given = JSON.parse(require("fs").readFileSync(0));
for (const name in given) given[name] = Buffer.from(given[name], "hex");
const key = require("crypto").createECDH("prime256v1");
key.setPrivateKey(given.d);
process.stdout.write(require("http_ece").decrypt(given.body, {
  version: "aes128gcm", privateKey: key, authSecret: given.auth }));
"""


@dataclass
class Vapid:
    """A checked Authorization header (RFC 8292)."""

    header: dict
    claims: dict
    key: bytes


def read_vapid(value, pem):
    """pem: what the server tells as its public key. An assertion says what is wrong."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "vapid", value
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    assert set(fields) == {"t", "k"}, value
    public = serialization.load_pem_public_key(pem)
    assert public.curve.name == "secp256r1"
    assert unb64(fields["k"]) == point(public)
    signed, _, signature = fields["t"].rpartition(".")
    signature = unb64(signature)
    assert len(signature) == 64, "ES256 is r and s, 32 octets each (RFC 7518, 3.4)"
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise AssertionError("the signature is wrong") from None
    header, claims = (json.loads(unb64(part)) for part in signed.split("."))
    return Vapid(header, claims, point(public))


@dataclass
class Push:
    request: object
    plaintext: bytes

    @property
    def payload(self):
        """Not json.loads alone: a key that is there twice is an error."""

        def pairs(found):
            assert len({name for name, _ in found}) == len(found), found
            return dict(found)

        return json.loads(self.plaintext.decode("utf-8"), object_pairs_hook=pairs)


class Subscriber:
    """A user's client that subscribes one device for the mail at one server."""

    def __init__(self, server, user, service, msgtype="all", id=None, device=None, path=None):
        number = next(_numbers)
        self.server = server
        self.user = user
        self.service = service
        self.msgtype = msgtype
        self.id = id or f"device-{number:06}"
        self.device = device or Device()
        self.path = path or f"/push/{number}/{b64(os.urandom(12))}"
        self.extra = {}

    @property
    def entry(self):
        return f"{SUBSCRIPTIONS}/{self.id}"

    @property
    def endpoint(self):
        return self.service.origin + self.path

    @property
    def value(self):
        """The object to be set (SUB-3)."""
        keys = {"p256dh": self.device.p256dh, "auth": b64(self.device.auth)}
        return {
            "client": "Test client",
            "device": f"Test device {self.id}",
            "msgtype": self.msgtype,
            "resource": {"endpoint": self.endpoint, "keys": keys},
            **self.extra,
        }

    def set(self, value=None):
        """Creates or replaces. value: another object, or text, than ours. Returns the response."""
        if not isinstance(value, (str, bytes)):
            value = json.dumps(value or self.value)
        with self.server.imap(self.user) as client:
            return client.setmetadata({self.entry: value})

    def remove(self):
        with self.server.imap(self.user) as client:
            return client.setmetadata({self.entry: None})

    def validate(self, text):
        with self.server.imap(self.user) as client:
            return client.setmetadata({f"{self.entry}/validate": text})

    def stored(self):
        """What the server tells of it, or None."""
        return subscriptions(self.server, self.user).get(self.id.lower())

    def register(self):
        """Creates or replaces it. Returns the validation text."""
        before = len(self.validations())
        response = self.set()
        assert response.ok, response
        self.service.wait(
            lambda: len(self.validations()) > before, f"a validation message for {self.id}"
        )
        return self.validations()[-1].payload["validation"]

    def subscribe(self):
        """All that a client does to get pushes."""
        response = self.validate(self.register())
        assert response.ok, response
        assert self.stored()["validated"] is True
        return self

    def read(self, request):
        return Push(request, self.device.decrypt(request.body))

    def received(self, validations):
        return [
            self.read(request)
            for request in self.service.of(self.path)
            if (request.header("WebPush-Validation") is not None) == validations
        ]

    def validations(self):
        return self.received(True)

    def requests(self):
        """Requests with pushes for mail, accepted ones or not."""
        return [
            request
            for request in self.service.of(self.path)
            if request.header("WebPush-Validation") is None
        ]

    def pushes(self, count=0):
        """Pushes for mail, once there are that many."""
        self.service.wait(lambda: len(self.requests()) >= count, f"{count} pushes for {self.id}")
        return self.received(False)

    def subjects(self, count=0):
        """Subjects of all pushes, in the order of their arrival."""
        return [push.payload.get("subject") for push in self.pushes(count)]

    def until(self, subject):
        """Subjects of all pushes, once one with this subject has come."""
        what = f"a push of {subject!r} for {self.id}"
        self.service.wait(lambda: subject in self.subjects(), what)
        return self.subjects()


def subscriptions(server, user):
    """Id to the JSON object that the server tells, of all of a user's subscriptions."""
    with server.imap(user) as client:
        entries = client.getmetadata(SUBSCRIPTIONS, depth=1)
    return {
        name.rpartition("/")[2]: json.loads(value)
        for name, value in entries.items()
        if name != SUBSCRIPTIONS and value is not None
    }


def queued(server):
    """Pushes in the queue."""
    path = server.dir / "push/queue/queue.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as queue:
        return queue.execute("SELECT count(*) FROM push").fetchone()[0]


def vapid_key(server, user):
    """The public key that the server tells, as PEM."""
    with server.imap(user) as client:
        return client.getmetadata(VAPID)[VAPID]


def eventually(condition, what):
    """For what nothing announces. Returns what the condition returned at last."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)
    return result


def gone(server, one):
    """The service has heard that it is, and the user's metadata still have it."""
    one.service.on(one.path, answer(410))
    server.deliver("lmtp", one.user, mail("mail"))
    one.pushes(1)
    eventually(lambda: queued(server) == 0, "the answer was noted")


def service_pids(server):
    return server.children("coi-push")
