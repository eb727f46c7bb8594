# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What the users' folders must hold, whatever the order was in which things happened.

Sessions work in rounds. Within one they run at once, and the model collects
what they did. Between two, nobody does anything, all folders are listed, and
each mail must be there as often as what was done allows:

- at least: as often as before, and once more for each delivery, APPEND and COPY
  that was acknowledged. Less only where \\Deleted was set on it, or a folder was
  deleted that it may have been in.
- at most: that, and once more for each that was not answered, and for each mail
  that was moved by two at once. Two clients that MOVE the same mail double it
  in stock Dovecot, too; moves by the server alone never do.

Where only one session had to do with a mail in a round, its flags and its folder
must be the expected ones as well.
"""

import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime

INBOX, CHATS, CONTACTS, BLOCKED = "INBOX", "COI/Chats", "COI/Contacts", "Blocked"
SEEN, DELETED, CHAT = "\\Seen", "\\Deleted", "$Chat"


class Broken(AssertionError):
    """The server did what it must not."""


class Letter:
    """One mail of one user: all of its copies."""

    def __init__(self, message_id, text):
        self.message_id = message_id
        self.text = text
        self.born = time.monotonic()
        self.story = []
        # Is $Chat due on every copy? None where that depends on who came first.
        self.chat = None
        # All its flags were replaced by others, and $Chat may be gone with them.
        self.replaced = False
        self.date = None
        # Where there is one copy only: which one, its flags and its folder.
        # None: not known.
        self.key = None
        self.flags = None
        self.folder = None
        # All (UIDVALIDITY, UID) that it once had: views of the past show them still.
        self.past = set()
        self.busy = 0
        # May be \Seen and $Chat and in INBOX all the same.
        self.may_stay = False
        self.copies = 0
        self.begin_round()

    def begin_round(self):
        self.sure = 0
        self.maybe = 0
        self.doomed = False
        self.tainted = False
        self.copied = False
        self.places = set()
        # Number of moves, and whether it was expunged, by (folder, key).
        self.moves = Counter()
        self.expunged = set()

    def taint(self):
        self.tainted = True
        self.flags = self.folder = None

    def is_at(self, key):
        """Whether it is there that the one copy is."""
        if self.key is None and key not in self.past:
            self.key = key
        return self.key == key

    def leave(self, new_key=None):
        self.past.add(self.key)
        self.key = new_key

    def tell(self, text):
        self.story = self.story[-30:] + [text]

    def __repr__(self):
        lines = "\n    ".join(self.story)
        return f"{self.message_id} (chat {self.chat}, copies {self.copies})\n    {lines}"


class State:
    """Whether a user has COI enabled, and the filter."""

    def __init__(self):
        self.enabled = False
        self.filter = "none"
        self.known = True
        self.version = 0
        self.changing = 0
        self.seen_in_round = False

    @property
    def steady(self):
        return self.known and not self.changing


class Gate:
    """Many may be inside, or one alone."""

    def __init__(self):
        self.changed = threading.Condition()
        self.inside = 0
        self.waiting = 0

    @contextmanager
    def shared(self):
        with self.changed:
            self.changed.wait_for(lambda: self.inside >= 0 and not self.waiting)
            self.inside += 1
        try:
            yield
        finally:
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    @contextmanager
    def alone(self):
        with self.changed:
            self.waiting += 1
            self.changed.wait_for(lambda: self.inside == 0)
            self.waiting -= 1
            self.inside = -1
        try:
            yield
        finally:
            with self.changed:
                self.inside = 0
                self.changed.notify_all()


class User:
    def __init__(self, name):
        self.name = name
        # Where a folder is deleted or renamed while others work in it, stock Dovecot
        # damages its indexes and loses mail. So that is done alone.
        self.gate = Gate()
        self.sessions = []
        self.state = State()
        self.letters = {}
        self.has_foe = False
        # (folder, when it was over), and (old, new), of this round.
        self.deleted = []
        self.renamed = []


class Model:
    def __init__(self, names):
        self.lock = threading.RLock()
        self.users = {name: User(name) for name in names}
        self.stats = Counter()

    def count(self, what, number=1):
        with self.lock:
            self.stats[what] += number

    # -- letters --

    def new_letter(self, user, message_id, text):
        with self.lock:
            letter = Letter(message_id, text)
            user.letters[message_id] = letter
            return letter

    @contextmanager
    def touching(self, letters, story):
        """Around whatever a session does with letters."""
        letters = set(letters)
        with self.lock:
            for letter in letters:
                letter.busy += 1
                letter.tell(story)
                if letter.busy > 1:
                    letter.taint()
        try:
            yield
        finally:
            with self.lock:
                for letter in letters:
                    letter.tell(f"... {story}")
                    if letter.busy > 1 or letter.tainted:
                        letter.taint()
                    letter.busy -= 1

    def saw_date(self, letter, text):
        """text is an INTERNALDATE, of which the zone may change."""
        date = datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
        if date == 0:  # what stock Dovecot says of a mail that has just been expunged
            return
        with self.lock:
            if letter.date is None:
                letter.date = date
            elif letter.date != date:
                raise Broken(f"the date was {letter.date} and is {date}: {letter}")

    # -- state of COI --

    def snapshot(self, user):
        """(enabled, filter) and a key for still_so(), or None where it isn't known."""
        with self.lock:
            state = user.state
            return (state.enabled, state.filter, state.version) if state.steady else None

    def still_so(self, user, snapshot):
        with self.lock:
            return snapshot is not None and snapshot == self.snapshot(user)

    @contextmanager
    def changing(self, user):
        """Around a change of the state. Yields a dict that takes what it is afterwards."""
        result = {}
        state = user.state
        with self.lock:
            state.changing += 1
            state.version += 1
            version = state.version
            alone = state.changing == 1
        try:
            yield result
        except BaseException:
            alone = False
            raise
        finally:
            with self.lock:
                alone = alone and state.version == version
                state.changing -= 1
                state.version += 1
                if not alone:
                    state.known = False
                state.enabled = result.get("enabled", state.enabled)
                state.filter = result.get("filter", state.filter)
                if state.filter == "seen" or not alone:
                    state.seen_in_round = True

    # -- between two rounds --

    def begin_round(self):
        for user in self.users.values():
            user.deleted, user.renamed = [], []
            state = user.state
            state.seen_in_round = state.filter == "seen"

    def possible_places(self, user, letter):
        places = set(letter.places)
        before = None
        while before != places:
            before = set(places)
            for old, new in user.renamed:
                for place in before:
                    if place == old or place.startswith(f"{old}/"):
                        places.add(new + place[len(old) :])
        return places

    def bounds(self, user, letter):
        low = high = letter.copies + letter.sure
        high += letter.maybe
        for instance, moves in letter.moves.items():
            by_server = instance[0] == INBOX and letter.chat is not False
            by_server = by_server and user.state.seen_in_round
            high += max(0, moves + by_server - 1)
        for instance in letter.expunged:
            if instance not in letter.moves and (instance[0] != INBOX or letter.chat is False):
                high -= 1
        places = self.possible_places(user, letter)
        if letter.doomed or any(
            folder in places and letter.born < when for folder, when in user.deleted
        ):
            low = 0
        return low, high

    def compare(self, user, found):
        """found: Message-ID to a list of (folder, key, flags, date), of all copies."""
        for message_id in found:
            if message_id not in user.letters:
                raise Broken(f"{user.name} has a mail that nobody sent: {message_id}")
        for message_id, letter in list(user.letters.items()):
            self.compare_letter(user, letter, found.get(message_id, []))
            if not letter.copies:
                del user.letters[message_id]

    def compare_letter(self, user, letter, copies):
        low, high = self.bounds(user, letter)
        if not low <= len(copies) <= high:
            raise Broken(
                f"{user.name} has {len(copies)} copies ({copies}), "
                f"not {low} to {high}, of {letter}"
            )
        for folder, _, flags, date in copies:
            self.saw_date(letter, date)
            if letter.chat is not None and (CHAT in flags) != letter.chat:
                raise Broken(f"{user.name}, {folder}: flags {sorted(flags)} of {letter}")
            if folder == INBOX and {SEEN, CHAT} <= flags and not letter.may_stay:
                raise Broken(f"{user.name}: seen chat mail is still in INBOX: {letter}")
        if len(copies) == 1 and not letter.copied and not letter.tainted:
            ((folder, _, flags, _),) = copies
            if letter.flags is not None and letter.flags != flags:
                raise Broken(
                    f"{user.name}, {folder}: flags {sorted(flags)}, "
                    f"not {sorted(letter.flags)}, of {letter}"
                )
            moved_as_a_whole = user.deleted or user.renamed
            if letter.folder not in (None, folder) and not moved_as_a_whole:
                raise Broken(f"{user.name}: in {folder}, not in {letter.folder}: {letter}")
            self.stats["letters checked for flags"] += letter.flags is not None
        self.stats["letters checked for number"] += low > 0

        letter.copies = len(copies)
        letter.past |= {key for _, key, _, _ in copies} | {letter.key}
        letter.key = letter.flags = letter.folder = None
        if len(copies) == 1:
            ((letter.folder, letter.key, letter.flags, _),) = copies
        letter.may_stay = any(
            folder == INBOX and {SEEN, CHAT} <= flags for folder, _, flags, _ in copies
        )
        letter.begin_round()
        letter.places = {folder for folder, _, _, _ in copies}
        letter.doomed = any(DELETED in flags for _, _, flags, _ in copies)
