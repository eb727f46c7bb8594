# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""ImapFlow, an IMAP client of others: by a program for Node.js, imapflow.js."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from .imap import SERVERS_FLAGS

# Older ones don't have all that it needs.
NODE_VERSION = 20


def modules():
    """Where ImapFlow is, or None."""
    found = os.environ.get("COI_TEST_IMAPFLOW") or "/usr/local/lib/node_modules"
    if not Path(found, "imapflow").exists() or not shutil.which("node"):
        return None
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return found if int(version.lstrip("v").partition(".")[0]) >= NODE_VERSION else None


class Refused(Exception):
    pass


class ImapFlow:
    """A session that is logged in. Other methods than these are ImapFlow's own."""

    def __init__(self, server, user):
        _, port = server.imap_address
        program = Path(__file__).with_suffix(".js")
        self.process = subprocess.Popen(
            ["node", program, str(port), user, server.password],
            env={**os.environ, "NODE_PATH": modules()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events = []
        self.capabilities = self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def read(self):
        line = self.process.stdout.readline()
        assert line, "ImapFlow has ended"
        return json.loads(line)

    def __getattr__(self, name):
        def call(*args):
            self.process.stdin.write(json.dumps([name, *args]) + "\n")
            self.process.stdin.flush()
            while "event" in (answer := self.read()):
                self.events.append(answer)
            if "failed" in answer:
                raise Refused(answer["failed"])
            return answer["result"]

        return call

    def until(self, event):
        """Waits for such an event, and returns it. The ones before are gone."""
        while True:
            found = self.events.pop(0) if self.events else self.read()
            if found["event"] == event:
                return found

    def mails(self, folder):
        """Subject and flags of all mails, without the server's own."""
        self.mailboxOpen(folder)
        return {subject: set(flags) - SERVERS_FLAGS for subject, flags in self.fetch()}
