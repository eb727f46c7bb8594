# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A lock of a user's sessions, held as if another one had it."""

import fcntl
from pathlib import Path

LOCK_OF_MOVES = "dovecot-coi.lock"
LOCK_OF_SUBSCRIPTIONS = "dovecot-coi-push.lock"


def inbox_dir(server, user):
    """Where INBOX has its index."""
    place = server.home(user) / server.settings.mail_format
    return place if place.name == "maildir" else place / "mailboxes/INBOX/dbox-Mails"


def is_waited_for(path):
    """Somebody waits for a lock of the file."""
    inode = f":{path.stat().st_ino} "
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and inode in line for line in locks)


class Held:
    def __init__(self, server, user, name):
        self.path = inbox_dir(server, user) / name

    def __enter__(self):
        self.file = self.path.open("w")
        self.path.chmod(0o666)
        fcntl.lockf(self.file, fcntl.LOCK_EX)
        return self

    def end(self):
        if not self.file.closed:
            self.path.unlink()
            self.file.close()

    def __exit__(self, *_):
        self.end()
