# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A push service: HTTP/1.1 on the loopback interface, as good or as bad as a test wants it.

A behaviour is what it does with one request: a function of an Exchange that
returns whether the connection goes on. Those of a path are used up one a
request; the last one stays.
"""

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .ports import HeldPort

# Generous: what is waited for comes at once, or on a loaded machine.
PATIENCE = 120
MAX_HEADER = 64 * 1024
MAX_BODY = 1024 * 1024


class Authority:
    """A certificate authority of our own, and certificates of it, below a directory."""

    def __init__(self, directory):
        self.dir = directory
        self.dir.mkdir(exist_ok=True)
        self.dir.chmod(0o755)
        self.lock = threading.Lock()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        usage = dict.fromkeys(
            "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
            " key_cert_sign crl_sign encipher_only decipher_only".split(),
            False,
        )
        usage.update(key_cert_sign=True, crl_sign=True)
        certificate = self.sign(
            self.name,
            self.key,
            [(x509.BasicConstraints(True, None), True), (x509.KeyUsage(**usage), True)],
        )
        self.ca = self.dir / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.ca.chmod(0o644)

    def sign(self, subject, key, extensions, days=30, signer=None):
        start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3 + days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        signer = signer or self.key
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        for extension, critical in [(identifier, False), *extensions]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def certificate(self, *names, days=30, own=False):
        """A file with key and certificate for these host names and addresses.

        With own set it is signed by itself. With days below 0 it is over.
        """
        text = "-".join(names).replace(":", "_").replace("*", "any")
        path = self.dir / f"{text}-{days}{'-own' if own else ''}.pem"
        with self.lock:
            if path.exists():
                return path
            key = ec.generate_private_key(ec.SECP256R1())
            san = x509.SubjectAlternativeName([general_name(name) for name in names])
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "push service")])
            certificate = self.sign(subject, key, [(san, False)], days, key if own else None)
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
            return path


def general_name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@dataclass
class Request:
    number: int
    method: str
    path: str
    headers: list
    body: bytes
    behaviour: str = ""
    connection: int = 0
    extra: dict = field(default_factory=dict)

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        """The value of a header that must not be there twice, or None."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None


class Exchange:
    """One request and the connection that its answer goes to."""

    def __init__(self, service, sock, request):
        self.service = service
        self.sock = sock
        self.request = request

    def send(self, data):
        self.sock.sendall(data)

    def pause(self, seconds):
        """False once the service is to end."""
        return not self.service.ending.wait(seconds)

    def read_until_closed(self):
        while self.sock.recv(65536):
            pass


# -- behaviours --


def answer(status=201, *headers, body=b"", reason="Whatever"):
    def behave(exchange):
        lines = [f"HTTP/1.1 {status} {reason}", *headers, f"Content-Length: {len(body)}", "", ""]
        exchange.send("\r\n".join(lines).encode("latin-1") + body)
        return True

    behave.__name__ = f"answer {status}"
    return behave


def raw(data):
    """Whatever these bytes are, and then the end of the connection."""

    def behave(exchange):
        exchange.send(data)
        return False

    return behave


def hang(exchange):
    exchange.read_until_closed()


def hang_in_body(exchange):
    exchange.send(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n12345")
    exchange.read_until_closed()


def drip(exchange):
    """A status line, and then one octet of a header at a time."""
    exchange.send(b"HTTP/1.1 201 Created\r\nX: ")
    while exchange.pause(0.2):
        exchange.send(b"x")


def drip_body(exchange):
    exchange.send(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000\r\n\r\n")
    while exchange.pause(0.2):
        exchange.send(b"x")


def endless(head, piece):
    def behave(exchange):
        exchange.send(head)
        while exchange.pause(0.005):
            exchange.send(piece)

    return behave


endless_header = endless(b"HTTP/1.1 201 Created\r\nX: ", b"x" * 4096)
endless_headers = endless(b"HTTP/1.1 201 Created\r\n", b"X-Header: x\r\n" * 300)
endless_body = endless(b"HTTP/1.1 201 Created\r\n\r\n", b"x" * 4096)
endless_chunks = endless(
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"1000\r\n" + b"x" * 4096 + b"\r\n",
)
continue_for_ever = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
hints_for_ever = endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </>; rel=x\r\n\r\n" * 10)


def reset(exchange):
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(exchange):
    """Reads a request, and says nothing."""


GARBAGE = b"\0\xff\x16\x03\x01 HTTP/9 \r\n\r\n" * 100
HOSTILE = {
    "hang": hang,
    "hang in the body": hang_in_body,
    "drip": drip,
    "drip the body": drip_body,
    "endless header": endless_header,
    "endless headers": endless_headers,
    "endless body": endless_body,
    "endless chunks": endless_chunks,
    "continue for ever": continue_for_ever,
    "hints for ever": hints_for_ever,
    "reset": reset,
    "close": close,
    "garbage": raw(GARBAGE),
    "half an answer": raw(b"HTTP/1.1 20"),
    "status out of range": raw(b"HTTP/1.1 99999 What\r\n\r\n"),
    "negative length": raw(b"HTTP/1.1 503 What\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": raw(b"HTTP/1.1 503 W\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345"),
    "bad chunk": raw(b"HTTP/1.1 503 What\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "NUL in a header": raw(b"HTTP/1.1 503 What\r\nX: a\0b\r\n\r\n"),
    "another protocol": raw(b"* OK IMAP4rev1 ready\r\n" * 3),
}


class PushService:
    """Listens as soon as it is made. tls is a file with a key and its certificate, or None."""

    def __init__(self, tls=None, host="127.0.0.1", port=0, name=None):
        self.host = host
        self.held = None if port else HeldPort(host)
        self.port = port or self.held.number
        self.name = name or (f"[{host}]" if ":" in host else host)
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls)
        self.changed = threading.Condition(threading.RLock())
        self.requests = []
        # Connections that were accepted, whatever came of them.
        self.connections = 0
        self.behaviours = {}
        self.default = answer(201, "Location: /message/1")
        # Done with a connection in place of serving it; see mute().
        self.instead = None
        self.ending = threading.Event()
        self.open = {}
        self.listener = None
        self.up()

    @property
    def origin(self):
        return f"{'https' if self.context else 'http'}://{self.name}:{self.port}"

    # -- life --

    def up(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.ending = threading.Event()
        self.listener = socket.create_server((self.host, self.port), family=family, backlog=128)
        self.thread = threading.Thread(
            target=self.accept, args=(self.listener, self.ending), daemon=True
        )
        self.thread.start()

    def down(self):
        """Refuses connections from now on, and ends those that are there."""
        if not self.listener:
            return
        self.ending.set()
        # Wakes up accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        self.thread.join()
        with self.changed:
            for sock in self.open.values():
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:  # it has just been closed
                    pass
        self.wait(lambda: not self.open, "connections ended")

    def close(self):
        self.down()
        if self.held:
            self.held.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def accept(self, listener, ending):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                number = self.connections
                self.open[number] = sock
                self.changed.notify_all()
            threading.Thread(
                target=self.serve, args=(sock, number, ending), daemon=True
            ).start()

    def serve(self, sock, number, ending):
        try:
            sock.settimeout(None)
            if self.instead:
                self.instead(sock, ending)
                return
            if self.context:
                sock = self.context.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
                with self.changed:
                    self.open[number] = sock
                sock.do_handshake()
            buffer = bytearray()
            while not ending.is_set():
                request = self.read(sock, buffer, number)
                if not request:
                    return
                behave = self.note(request)
                if not behave(Exchange(self, sock, request)):
                    return
        except (OSError, ValueError):  # the other side has had enough
            pass
        finally:
            sock.close()
            with self.changed:
                del self.open[number]
                self.changed.notify_all()

    # -- requests --

    @staticmethod
    def more(sock, buffer):
        data = sock.recv(65536)
        buffer += data
        return bool(data)

    def read(self, sock, buffer, connection):
        """One request, or None at the end of the connection."""
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if len(buffer) > MAX_HEADER or not self.more(sock, buffer):
                return None
        first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        method, path, protocol = first.split(" ")
        if protocol != "HTTP/1.1":
            raise ValueError(first)
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(line)
            headers.append((name, value.strip()))
        request = Request(0, method, path, headers, b"", connection=connection)
        if (request.header("Expect") or "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = int(request.header("Content-Length") or 0)
        if not 0 <= size <= MAX_BODY:
            raise ValueError(size)
        while len(buffer) < size:
            if not self.more(sock, buffer):
                return None
        request.body = bytes(buffer[:size])
        del buffer[:size]
        return request

    def note(self, request):
        """Keeps a request, and says what is to be done with it."""
        with self.changed:
            request.number = len(self.requests)
            self.requests.append(request)
            waiting = self.behaviours.get(request.path) or [self.default]
            behave = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            request.behaviour = behave.__name__
            self.changed.notify_all()
        return behave

    # -- for tests --

    def on(self, path, *behaviours):
        with self.changed:
            self.behaviours[path] = list(behaviours)

    def mute(self):
        """From now on accepts connections, and never reads from them."""
        self.instead = lambda sock, ending: ending.wait()

    def babble(self, data):
        """From now on sends this at once, without a request or a TLS handshake."""

        def instead(sock, ending):
            sock.sendall(data)
            while sock.recv(65536):
                pass

        self.instead = instead

    def of(self, path):
        with self.changed:
            return [request for request in self.requests if request.path == path]

    def wait(self, condition, what, patience=PATIENCE):
        """condition is called with the lock held, after every change."""
        deadline = time.monotonic() + patience
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    told = [(r.method, r.path, r.behaviour, len(r.body)) for r in self.requests]
                    raise AssertionError(
                        f"{what}: not within {patience} s; {self.connections} connections, "
                        f"requests: {told[-40:]}"
                    )
                self.changed.wait(left)

    def wait_for(self, path, count=1):
        """The requests to a path, once there are that many."""
        self.wait(lambda: len(self.of(path)) >= count, f"{count} requests to {path}")
        return self.of(path)
