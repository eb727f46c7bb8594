# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A push service over TLS with HTTP/2, which may misbehave. One thread a connection.

It is given a way to behave: a class with the methods of Behaviour that are to be
different. `push_service()` makes one.
"""

import contextlib
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


class Behaviour:
    """Answers 201 at the end of each request. One object a connection."""

    # "http/1.1": a server without HTTP/2
    alpn = ("h2",)
    # of the first connection, where that is another one
    alpn_first = None
    streams_max = 100
    # what a stream may send before it is allowed more
    # without HTTP/2: so many have to be there before it answers
    connections_wanted = 1
    # without HTTP/2: for so many seconds, before it answers
    hesitates = 0

    def __init__(self, connection, number):
        # a h2.connection.H2Connection, and how many connections came before it
        self.connection = connection
        self.number = number
        self.requests = 0
        # Set, it closes the connection once all is sent.
        self.is_over = False

    def on_data(self, data):
        """That has come, and nothing of it has been looked at."""

    def on_headers(self, stream):
        """The header of a request is there."""

    def on_request(self, stream):
        self.answer(stream)

    def answer(self, stream, status=201, fields=(), body=b""):
        header = [(":status", str(status)), *fields]
        self.connection.send_headers(stream, header, end_stream=not body)
        if body:
            self.connection.send_data(stream, body, end_stream=True)


class PushService:
    """Listens on 127.0.0.1 until it is closed."""

    def __init__(self, certificate, behaviour=Behaviour):
        self.behaviour = behaviour
        self.connections = 0
        self.requests = []
        self.lock = threading.Lock()
        self.open = set()
        # the most at once
        self.open_max = 0
        # requests of HTTP/1.1 that came before the one before them was answered
        self.early = 0
        self.context = self._context(certificate, behaviour.alpn)
        self.context_first = self._context(certificate, behaviour.alpn_first or behaviour.alpn)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @staticmethod
    def _context(certificate, alpn):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.set_alpn_protocols(list(alpn))
        return context

    @property
    def url(self):
        return f"https://localhost:{self.port}/push"

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain):
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError), plain:
            with self.lock:
                self.open.add(plain)
                self.open_max = max(self.open_max, len(self.open))
                number = self.connections
                self.connections += 1
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                context = self.context if number > 0 else self.context_first
                with context.wrap_socket(plain, server_side=True) as tls:
                    with self.lock:
                        self.open.discard(plain)
                        self.open.add(tls)
                    try:
                        if tls.selected_alpn_protocol() == "h2":
                            self._serve_http2(tls, number)
                        else:
                            self._serve_http1(tls)
                    finally:
                        with self.lock:
                            self.open.discard(tls)
            finally:
                with self.lock:
                    self.open.discard(plain)

    def _serve_http2(self, tls, number):
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.behaviour.streams_max,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            },
        )
        connection.initiate_connection()
        behaviour = self.behaviour(connection, number)
        tls.sendall(connection.data_to_send())
        while True:
            data = tls.recv(65536)
            if not data:
                return
            behaviour.on_data(data)
            for event in connection.receive_data(data):
                self._on_event(behaviour, event)
            tls.sendall(connection.data_to_send())
            if behaviour.is_over:
                return

    def _on_event(self, behaviour, event):
        if isinstance(event, h2.events.RequestReceived):
            behaviour.requests += 1
            with self.lock:
                self.requests.append(dict(event.headers))
            behaviour.on_headers(event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            behaviour.connection.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id
            )
        elif isinstance(event, h2.events.StreamEnded):
            with contextlib.suppress(h2.exceptions.StreamClosedError):
                behaviour.on_request(event.stream_id)

    def _serve_http1(self, tls):
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = tls.recv(65536)
                if not data:
                    return
                buffer += data
            header, _, buffer = buffer.partition(b"\r\n\r\n")
            fields = {}
            for line in header.decode().split("\r\n")[1:]:
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            with self.lock:
                self.requests.append(fields)
            size = int(fields.get("content-length", 0))
            while len(buffer) < size:
                buffer += tls.recv(65536)
            buffer = buffer[size:]
            end = time.monotonic() + 60
            while self.connections < self.behaviour.connections_wanted and time.monotonic() < end:
                time.sleep(0.01)
            if self.behaviour.hesitates:
                tls.settimeout(self.behaviour.hesitates)
                with contextlib.suppress(TimeoutError):
                    data = tls.recv(65536)
                    buffer += data
                    self.early += bool(data)
                tls.settimeout(None)
            tls.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def push_service(certificate, behaviour=Behaviour):
    """`certificate` is a file with the key in it (Authority.certificate())."""
    service = PushService(certificate, behaviour)
    try:
        yield service
    finally:
        service.close()
