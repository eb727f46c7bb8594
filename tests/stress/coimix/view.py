# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A client's view of the folder that it has selected, kept up by what the server tells."""

import re

from harness.imap import SERVERS_FLAGS, Imap, ImapError

from .model import Broken

COUNTED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)\b")
VANISHED = re.compile(rb"\* VANISHED (\(EARLIER\) )?([\d:,]+)$")
HEADER = re.compile(rb"^Message-ID: (<[^>]+>)", re.M | re.I)
UID = re.compile(rb"\bUID (\d+)")
FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")


class Gone(Exception):
    """The connection is. What the last command did isn't known."""


def flag_set(match):
    return set(match.group(1).decode().split()) - SERVERS_FLAGS


def uid_set(text):
    uids = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        uids += range(int(first), int(last or first) + 1)
    return uids


class View:
    """A connection, and the folder that is selected in it."""

    def __init__(self, address, user, password, kind):
        self.kind = kind
        self.client = None
        self.forget()
        try:
            self.client = Imap(address, timeout=300)
            self.client.login(user, password)
        except (ImapError, OSError) as error:
            raise Gone(error) from error
        if kind != "plain":
            self.do(f"ENABLE {kind}")

    def forget(self):
        self.folder = None
        self.uidvalidity = None
        self.uids = []  # None for a mail that isn't known but by number
        self.flags = {}
        self.modseq = 0

    def close(self):
        if self.client:
            self.client.close()

    # -- the server's words --

    def do(self, *parts):
        """A command; its untagged answers change the view."""
        try:
            response = self.client.command(*parts)
        except (ImapError, OSError) as error:
            raise Gone(error) from error
        for line in response.untagged:
            if line.startswith(b"* BYE"):
                raise Gone(line)
            self.take(line)
        if response.status == "BAD":
            raise Broken(f"{parts!r}: {response!r}")
        return response

    def take(self, line):
        vanished = VANISHED.match(line)
        if vanished:
            for uid in uid_set(vanished.group(2).decode()):
                self.take_vanished(uid, line)
            return
        modseq = re.match(rb"\* OK \[HIGHESTMODSEQ (\d+)\]", line)
        if modseq:
            self.saw_modseq(int(modseq.group(1)))
        counted = COUNTED.match(line)
        if not counted:
            return
        number, what = int(counted.group(1)), counted.group(2)
        if what == b"EXISTS":
            if number < len(self.uids):
                raise Broken(f"{line!r}, but there are {len(self.uids)} mails")
            self.uids += [None] * (number - len(self.uids))
        elif number > len(self.uids):
            raise Broken(f"{line!r}, but there are {len(self.uids)} mails")
        elif what == b"EXPUNGE":
            if self.kind == "QRESYNC":
                raise Broken(f"{line!r} after ENABLE QRESYNC")
            del self.uids[number - 1]
        else:
            self.take_fetch(number, line)

    def take_vanished(self, uid, line):
        for position, known in enumerate(self.uids):
            after = next((later for later in self.uids[position:] if later), uid + 1)
            if known == uid or (known is None and after > uid):
                del self.uids[position]
                return
            if known and known > uid:
                break
        raise Broken(f"{line!r}, but there are {self.uids}")

    def take_fetch(self, number, line):
        found = UID.search(line)
        if found:
            uid = int(found.group(1))
            if self.uids[number - 1] not in (None, uid):
                raise Broken(f"{line!r}, but the UIDs are {self.uids}")
            self.uids[number - 1] = uid
        uid = self.uids[number - 1]
        flags = FLAGS.search(line)
        if flags and uid:
            self.flags[uid] = flag_set(flags)

    def forget_flags(self, uids):
        """After a change that the server was to keep silent of."""
        for uid in uids:
            self.flags.pop(uid, None)

    def saw_modseq(self, modseq):
        if modseq < self.modseq:
            raise Broken(f"HIGHESTMODSEQ was {self.modseq} and is {modseq}")
        self.modseq = modseq

    # -- selecting --

    def select(self, folder):
        """Returns False where there is no such folder."""
        again = (self.folder, self.uidvalidity, self.modseq, self.uids, self.flags)
        # What the server still says of the old folder goes to the old view.
        if self.folder and not self.do("UNSELECT").ok:
            raise Broken("UNSELECT was refused")
        self.forget()
        if self.kind == "QRESYNC" and again[0] == folder and again[2]:
            return self.resync(folder, *again[1:])
        response = self.do(f'SELECT "{folder}"' + (" (CONDSTORE)" if self.kind != "plain" else ""))
        return self.selected(folder, response)

    def selected(self, folder, response):
        if not response.ok:
            self.forget()
            return False
        text = b"\n".join(response.untagged)
        self.folder = folder
        self.uidvalidity = int(re.search(rb"\[UIDVALIDITY (\d+)\]", text).group(1))
        return True

    def resync(self, folder, uidvalidity, modseq, uids, flags):
        """SELECT with QRESYNC, and a look whether it told all that has changed."""
        # Up to the first that isn't known: where that belongs is not clear later.
        known = uids[: uids.index(None)] if None in uids else uids
        self.modseq = modseq
        try:
            response = self.client.command(
                f'SELECT "{folder}" (QRESYNC ({uidvalidity} {modseq} 1:{max(known, default=1)}))'
            )
        except (ImapError, OSError) as error:
            raise Gone(error) from error
        text = b"\n".join(response.untagged)
        found = re.search(rb"\[UIDVALIDITY (\d+)\]", text)
        same = response.ok and found and int(found.group(1)) == uidvalidity
        if not same:
            self.modseq = 0
        # VANISHED comes behind EXISTS, but says what was before.
        gone = set()
        for line in response.untagged if same else ():
            vanished = VANISHED.match(line)
            if vanished:
                gone.update(uid_set(vanished.group(2).decode()))
        (exists,) = re.findall(rb"^\* (\d+) EXISTS", text, re.M) or [b"0"]
        left = [uid for uid in known if uid not in gone] if same else []
        if len(left) > int(exists):
            raise Broken(f"{left} were there, {sorted(gone)} vanished, but {response!r}")
        self.uids = left + [None] * (int(exists) - len(left))
        self.flags = {uid: flags[uid] for uid in left if uid in flags}
        for line in response.untagged:
            if not VANISHED.match(line) and b" EXISTS" not in line:
                self.take(line)
        return self.selected(folder, response)

    def check(self):
        """What the server has told must be all, while nobody changes anything."""
        self.do("NOOP")
        (line,) = self.do("UID SEARCH ALL").lines("SEARCH")
        real = [int(uid) for uid in line.split()[2:]]
        if len(real) != len(self.uids) or any(
            told not in (None, uid) for told, uid in zip(self.uids, real)
        ):
            raise Broken(f"{self.folder} has {real}, but the client was told {self.uids}")
        told, self.flags = self.flags, {}
        if real:
            self.do(f"FETCH 1:{len(real)} (UID FLAGS)")
        for uid, flags in told.items():
            if self.flags.get(uid, flags) != flags:
                raise Broken(
                    f"{self.folder} ({self.kind}): the flags of {uid} are {self.flags[uid]}, "
                    f"but the client was told {flags}"
                )
