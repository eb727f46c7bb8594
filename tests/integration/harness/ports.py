# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Ports for what tests start."""

import socket


class HeldPort:
    """A port for a server that is started, and perhaps stopped and started again.

    Before and between, the kernel would give it to others, be it only for the near end of
    a connection. So it stays bound; servers may listen on it all the same. Nor is it held
    a second time: coi-push remembers push services by their origins, and has retries for
    those that earlier tests had.
    """

    held = set()

    def __init__(self, host="127.0.0.1"):
        passed = []
        while True:
            self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.socket.bind((host, 0))
            self.number = self.socket.getsockname()[1]
            if self.number not in self.held:
                break
            # Until there is another, or the kernel could give it once more.
            passed.append(self.socket)
        for other in passed:
            other.close()
        self.held.add(self.number)
        # Only now: with it, bind() could take one that somebody else holds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def release(self):
        self.socket.close()
