# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Between Dovecot's processes and a service of theirs, on its socket or on one of our own."""

import contextlib
import socket
import threading

from .config import remote_dict


class Line:
    """Carries all that comes, once before(data) has returned."""

    def __init__(self, path, before, target=None):
        self.path = path
        self.target = target
        self.before = before
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen(128)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self.target))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.before(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.path.unlink()


def server_behind(line, fresh_server, directory, **config):
    """A server whose processes reach the users' metadata by the line, in a dict in there."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    server = fresh_server(before=remote_dict(directory / "dict", line.path), **config)
    line.target = server.dir / "run/dict"
    return server
