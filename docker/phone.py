# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A phone with a UnifiedPush distributor: keys, a topic at ntfy, and decryption (RFC 8291)."""

import base64
import http.client
import json
import os
import queue
import secrets
import threading
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def derive(secret, salt, info, length):
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


class Phone:
    def __init__(self, push_service):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self.auth = os.urandom(16)
        self.service = urllib.parse.urlsplit(push_service)
        self.topic = "up" + secrets.token_urlsafe(9).replace("-", "0").replace("_", "0")
        self.endpoint = f"{push_service}/{self.topic}?up=1"
        self.pushes = queue.Queue()
        # The subscription is there when the service has answered.
        self.stream = self._subscribe()
        threading.Thread(target=self._listen, daemon=True).start()

    def _subscribe(self):
        connection = http.client.HTTPConnection(self.service.netloc, timeout=300)
        connection.request("GET", f"/{self.topic}/json")
        answer = connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"the push service answers {answer.status}")
        return answer

    def _listen(self):
        for line in self.stream:
            event = json.loads(line)
            if event["event"] == "message":
                self.pushes.put((time.monotonic(), base64.b64decode(event["message"])))

    def subscription(self):
        """The JSON object that a client stores at its mail server."""
        return json.dumps(
            {
                "client": "demo",
                "device": "phone",
                "msgtype": "chat",
                "resource": {
                    "endpoint": self.endpoint,
                    "keys": {"p256dh": base64url(self.public), "auth": base64url(self.auth)},
                },
            }
        )

    def decrypt(self, body):
        salt, id_size, rest = body[:16], body[20], body[21:]
        sender, record = rest[:id_size], rest[id_size:]
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        secret = derive(
            self.key.exchange(ec.ECDH(), point),
            self.auth,
            b"WebPush: info\0" + self.public + sender,
            32,
        )
        key = derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derive(secret, salt, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, record, None)
        return padded.rstrip(b"\0")[:-1]

    def receive(self, seconds=30):
        """The next push: when it came, how large it was, and what is in it."""
        try:
            came, body = self.pushes.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no push came within {seconds} s") from None
        return came, len(body), json.loads(self.decrypt(body))
