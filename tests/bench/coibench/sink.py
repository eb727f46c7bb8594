# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The push service of the benchmarks (push_sink.cc), and subscriptions that lead to it."""

import itertools
import mmap
import os
import re
import signal
import struct
import subprocess
import time
from pathlib import Path

from harness.ports import HeldPort

RECORDS = 1 << 20
PATIENCE = 120
MODES = ("ok", "hang", "drip", "refuse")

_numbers = itertools.count(1)


class Sink:
    """One running push service, and what it has got so far. With a certificate: HTTP/2."""

    def __init__(self, options, mode="ok", port=0, certificate=None):
        self.held = None if port else HeldPort()
        self.port = port or self.held.number
        path = Path(options.work) / f"sink{next(_numbers)}"
        self.process = subprocess.Popen(
            [options.sink, mode, str(self.port), path, *([certificate] if certificate else [])],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n", "the sink doesn't start"
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    @property
    def count(self):
        return struct.unpack_from("=Q", self.map, 0)[0]

    def record(self, number):
        """Nanoseconds, and the number in the path."""
        return struct.unpack_from("=QQ", self.map, 16 + 16 * (number % RECORDS))

    def wait(self, count, patience=PATIENCE):
        """When the request that makes it that many came, in nanoseconds."""
        deadline = time.monotonic() + patience
        while self.count < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.count} pushes instead of {count}")
            time.sleep(0.001)
        return self.record(count - 1)[0]

    def become_ok(self):
        os.kill(self.process.pid, signal.SIGUSR1)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if self.held:
            self.held.release()


class Sinks:
    """A sink for each mode, started when it is first asked for."""

    def __init__(self, options):
        self.options = options
        self.found = {}

    def get(self, mode):
        if mode not in self.found:
            self.found[mode] = Sink(self.options, mode)
        return self.found[mode]

    def close(self):
        for sink in self.found.values():
            sink.stop()


ENDPOINT = re.compile(rb'http://127\.0\.0\.1:\d+/[^"\\]*')


def redirect(home, sink, number):
    """Has the subscriptions in a copied home lead to a sink, with a path of the copy's own.

    It is not what a client can do, but the same as far as deliveries and coi-push can
    tell: the endpoint isn't bound to the validation.
    """
    path = home / "dovecot-attributes"
    data, times = ENDPOINT.subn(
        b"http://127.0.0.1:%d/p/%d" % (sink.port, number), path.read_bytes()
    )
    assert times, "no subscription"
    # Not a new file, which would be root's.
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
