# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""One client that does random things, and tells the model."""

import random
import re
import socket
import time
from contextlib import ExitStack, contextmanager

from harness.imap import ImapError, Literal, metadata
from harness.lmtp import Lmtp
from harness.server import ROOT

from .model import BLOCKED, CHAT, CHATS, DELETED, INBOX, SEEN, Broken
from .view import HEADER, Gone, View, uid_set

KINDS = ("plain", "plain", "CONDSTORE", "QRESYNC")
FOLDERS = ("Work", "Play", "Sub", "Trash")
KEYWORDS = ("\\Flagged", "\\Answered", "Mine", "$Forwarded", "NonJunk")
FOE, FRIEND = "foe@example.org", "friend@example.org"
# As much as a client may ask to be told.
NOTIFY = (
    "NOTIFY SET (SELECTED-DELAYED (MessageNew MessageExpunge FlagChange)) "
    "(PERSONAL (MailboxName SubscriptionChange MessageNew MessageExpunge FlagChange))"
)
ITEMS = "(UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
DATES = ("01-Feb-2003 04:05:06 +0000", "24-Dec-2011 18:00:00 +0100")


class Session:
    def __init__(self, number, server, model, user, seed, coi=True):
        self.number = number
        self.server = server
        self.model = model
        self.user = user
        user.sessions.append(self)
        self.random = random.Random(f"{seed}/{number}")
        self.kind = KINDS[number % len(KINDS)]
        self.view = None
        self.ids = {}  # UID to Message-ID, of the selected folder
        self.sent = 0
        mix = {call: weight for call, weight in MIX.items() if coi or call not in COI_ONLY}
        self.operations, self.weights = list(mix), list(mix.values())

    # -- rounds --

    def round(self, operations):
        for _ in range(operations):
            (operation,) = self.random.choices(self.operations, self.weights)
            self.model.count(operation.__name__)
            try:
                with self.gates(operation):
                    # Not before: another session, alone, may drop it.
                    if not self.view and operation is not Session.deliver:
                        self.connect()
                    operation(self)
            except Gone:
                self.model.count("connections lost")
                self.drop()

    @contextmanager
    def gates(self, operation):
        if operation is Session.deliver:
            yield  # its recipients' gates, not ours
        elif operation in (Session.arrange_folders, Session.arrange_chats):
            with self.user.gate.alone():
                for session in self.user.sessions:
                    session.leave_folder()
                yield
        else:
            with self.user.gate.shared():
                yield

    def leave_folder(self):
        try:
            if self.view and self.view.folder:
                self.view.do("UNSELECT")
                self.view.forget()
        except Gone:
            self.drop()

    def check(self):
        """Between two rounds: is the client's view the right one?"""
        try:
            if self.view and self.view.folder:
                if self.random.random() < 0.5 and not self.view.select(self.view.folder):
                    return
                self.view.check()
                self.model.count("views checked")
        except Gone:
            self.model.count("connections lost")
            self.drop()

    def connect(self):
        self.view = View(
            self.server.imap_address, self.user.name, self.server.password, self.kind
        )
        self.ids = {}
        if self.random.random() < 0.4:
            self.model.count("sessions with NOTIFY")
            self.view.do(NOTIFY)
        self.select(INBOX)

    def drop(self):
        if self.view:
            self.view.close()
        self.view = None

    def reconnect(self):
        old = self.view
        if self.random.random() < 0.5:
            old.do("LOGOUT") if self.random.random() < 0.5 else None
        self.drop()
        self.connect()
        if self.kind == "QRESYNC" and old.folder == INBOX and old.uidvalidity:
            self.view.do("UNSELECT")
            self.view.forget()
            known = (old.uidvalidity, old.modseq, old.uids, old.flags)
            if old.modseq and self.view.resync(INBOX, *known):
                self.look()

    # -- folders and mails to work with --

    def select(self, folder):
        before = (self.view.folder, self.view.uidvalidity)
        if not self.view.select(folder):
            return False
        if before != (folder, self.view.uidvalidity):
            self.ids = {}
        self.look()
        return True

    def look(self):
        """Learns what isn't known yet of the selected folder."""
        view = self.view
        while None in view.uids:
            first = view.uids.index(None) + 1
            response = view.do(f"FETCH {first}:* {ITEMS}")
            for line in response.lines("FETCH"):
                self.learn(line)
            if None in view.uids:
                # expunged meanwhile: we are told now
                view.do("NOOP")
                if first <= len(view.uids) and view.uids[first - 1] is None:
                    self.model.count("looks in vain")
                    return

    def learn(self, line):
        found = re.search(rb"\bUID (\d+)", line)
        header = HEADER.search(line)
        date = re.search(rb'INTERNALDATE "([^"]+)"', line)
        if found and header and date:
            uid = int(found.group(1))
            self.ids[uid] = header.group(1).decode()
            letter = self.user.letters.get(self.ids[uid])
            if letter:
                self.model.saw_date(letter, date.group(1).decode())

    def some(self, most=6):
        """A few UIDs of the selected folder, in order, all known."""
        if not self.view.folder and not self.select(INBOX):
            return []
        self.look()
        known = [uid for uid in self.view.uids if uid in self.ids]
        count = min(len(known), self.random.randint(1, most))
        if self.random.random() < 0.3 and known:
            first = self.random.randrange(len(known))
            return known[first : first + count]
        return sorted(self.random.sample(known, count))

    def letters(self, uids):
        """UID to letter. Mails that the model has seen the last of are left out."""
        found = {uid: self.user.letters.get(self.ids.get(uid)) for uid in uids}
        return {uid: letter for uid, letter in found.items() if letter}

    def key(self, uid):
        return (self.view.uidvalidity, uid)

    def touching(self, letters, story):
        story = f"s{self.number} {self.view.folder or ''} {story}"
        return self.model.touching(letters.values(), story)

    def numbered(self, command, uids, rest):
        """A command for these UIDs, with UIDs or with sequence numbers."""
        if self.random.random() < 0.6:
            return f"UID {command} {','.join(map(str, uids))} {rest}"
        numbers = [str(self.view.uids.index(uid) + 1) for uid in uids]
        return f"{command} {','.join(numbers)} {rest}"

    def other_folder(self):
        return self.random.choice((INBOX, CHATS, CHATS, "Trash", *FOLDERS))

    # -- delivery --

    def deliver(self):
        rnd, model = self.random, self.model
        count = rnd.choices((1, 2, 3), (6, 2, 1))[0]
        users = rnd.sample(list(model.users.values()), min(count, len(model.users)))
        is_chat = rnd.random() < 0.6
        is_foe = rnd.random() < 0.1
        message_id, text = self.write(is_chat, FOE if is_foe else FRIEND)
        with ExitStack() as stack:
            for user in sorted(users, key=lambda user: user.name):
                stack.enter_context(user.gate.shared())
            self.deliver_to(users, message_id, text, is_chat, is_foe)

    def deliver_to(self, users, message_id, text, is_chat, is_foe):
        model, letters, snapshots = self.model, {}, {}
        for user in users:
            snapshots[user] = model.snapshot(user)
            letter = letters[user] = model.new_letter(user, message_id, text)
            letter.maybe = 1
            letter.places |= {INBOX, CHATS, BLOCKED}
        with model.touching(letters.values(), f"s{self.number} deliver"):
            try:
                with Lmtp(self.server.lmtp_address, timeout=300) as lmtp:
                    replies = lmtp.deliver([user.name for user in users], text)
            except (AssertionError, OSError) as error:
                model.count("deliveries lost")
                raise Broken(f"LMTP: {error}") from error
            with model.lock:
                for user, reply in zip(users, replies):
                    self.delivered(
                        user, letters[user], reply, snapshots[user], is_chat, is_foe
                    )

    def delivered(self, user, letter, reply, snapshot, is_chat, is_foe):
        letter.maybe -= 1
        if not reply.startswith("250"):
            self.model.count(f"deliveries refused: {reply[:60]}")
            return
        self.model.count("mails delivered")
        letter.sure += 1
        if not is_chat:
            letter.chat = False
        if not self.model.still_so(user, snapshot):
            letter.chat = None if is_chat else False
            return
        enabled, message_filter, _ = snapshot
        is_chat = is_chat and enabled
        letter.chat = None if is_chat and letter.replaced else is_chat
        letter.flags = {CHAT} if is_chat else set()
        letter.folder = CHATS if is_chat and message_filter == "active" else INBOX
        if is_foe and enabled:
            letter.folder = BLOCKED if user.has_foe else None

    def write(self, is_chat, sender):
        rnd = self.random
        self.sent += 1
        name = f"{self.number}.{self.sent}"
        message_id, headers = f"<mail-{name}@example.org>", []
        if is_chat:
            kind = rnd.randrange(4)
            if kind == 0:
                message_id = f"<chat${name}@example.org>"
            elif kind == 1:
                message_id = f"<chat$group.0123456789ab.{name}@example.org>"
            elif kind == 2:
                headers.append("References: <chat$a.b@example.org>")
            else:
                headers.append("Chat-Version: 1.0")
        body = "text of a mail\n" * rnd.choice((1, 1, 5, 50, 1000))
        lines = [
            f"From: <{sender}>",
            "Date: Sat, 04 Jan 2025 10:00:00 +0000",
            f"Message-ID: {message_id}",
            f"Subject: mail {name}",
            *headers,
            "",
            f"{message_id}\n{body}",
        ]
        return message_id, "\n".join(lines).encode()

    def append(self):
        rnd = self.random
        is_chat = rnd.random() < 0.5
        message_id, text = self.write(is_chat, FRIEND)
        folder = self.other_folder()
        flags = set(rnd.sample((SEEN, CHAT, *KEYWORDS), rnd.randint(0, 3)))
        date = rnd.choice((None, *DATES))
        letter = self.model.new_letter(self.user, message_id, text)
        letter.maybe = 1
        letter.places.add(folder)
        letter.may_stay = True
        letter.chat = CHAT in flags
        date_text = f' "{date}"' if date else ""
        with self.touching({0: letter}, f"append to {folder} {flags}"):
            response = self.view.do(
                f'APPEND "{folder}" ({" ".join(flags)}){date_text} ', Literal(text)
            )
            with self.model.lock:
                letter.maybe -= 1
                if response.ok:
                    letter.sure += 1
                    letter.flags, letter.folder = flags, folder
                    if date:
                        self.model.saw_date(letter, date)

    # -- reading and flags --

    def read(self):
        uids = self.some()
        letters = self.letters(uids)
        if not letters:
            return
        item = self.random.choice(("BODY[]", "RFC822", "BODY[TEXT]", "(FLAGS BODY[])"))
        command = self.numbered("FETCH", letters, item)
        self.change(letters, command, lambda flags: flags | {SEEN}, sets_seen=True)

    def store(self):
        rnd = self.random
        letters = self.letters(self.some(30 if rnd.random() < 0.1 else 6))
        if not letters:
            return
        given = set(rnd.sample(KEYWORDS, rnd.randint(0, 2)))
        if rnd.random() < 0.6 or not given:
            given.add(SEEN)
        silent = rnd.choice(("", ".SILENT"))
        how = rnd.choices(("+FLAGS", "-FLAGS", "FLAGS"), (6, 2, 1))[0]
        change = {
            "+FLAGS": lambda flags: flags | given,
            "-FLAGS": lambda flags: flags - given,
            "FLAGS": lambda flags: set(given),
        }[how]
        if how == "FLAGS":
            with self.model.lock:
                for letter in letters.values():
                    letter.replaced = True
                    letter.chat = None if letter.chat else letter.chat
        command = self.numbered("STORE", letters, f"{how}{silent} ({' '.join(sorted(given))})")
        self.change(letters, command, change, sets_seen=SEEN in given and how != "-FLAGS")

    def change(self, letters, command, change, sets_seen):
        """A command that changes flags, and what it means in mode seen."""
        model = self.model
        snapshot = model.snapshot(self.user)
        in_inbox = self.view.folder == INBOX
        was_chat = {uid: letter.chat for uid, letter in letters.items()}
        with self.touching(letters, command):
            if in_inbox and sets_seen:
                with model.lock:
                    for letter in letters.values():
                        letter.places.add(CHATS)
            try:
                response = self.view.do(command)
                if ".SILENT" in command:
                    self.view.forget_flags(letters)
                if "FETCH" in command:
                    # What is fetched moves with the next command that is about no mails,
                    # but for CHECK.
                    self.view.do(self.random.choice(("NOOP", "STATUS INBOX (MESSAGES)")))
            except Gone:
                for letter in letters.values():
                    letter.may_stay = True
                raise
            with model.lock:
                steady = model.still_so(self.user, snapshot)
                enabled, message_filter, _ = snapshot if steady else (None, None, None)
                for uid, letter in letters.items():
                    letter.tell(f"{response.status} {snapshot if steady else 'unsteady'}")
                    self.changed(
                        uid,
                        letter,
                        change if response.ok else None,
                        in_inbox and sets_seen,
                        was_chat[uid],
                        (enabled and message_filter == "seen") if steady else None,
                        "FETCH" in command,
                    )

    def changed(self, uid, letter, change, may_move, was_chat, mode_seen, is_fetch):
        if may_move and (change is None or not mode_seen):
            letter.may_stay = True
        if not letter.is_at(self.key(uid)):
            return
        before = letter.flags
        if change is None or before is None:
            letter.flags = None
        else:
            letter.flags = change(letter.flags)
        if not may_move or was_chat is False or mode_seen is False:
            return
        # A FETCH sets \\Seen only where the client's view of the mail is without.
        unclear = is_fetch and (letter.flags is None or SEEN in before)
        unclear = unclear or None in (mode_seen, was_chat, change)
        if unclear or letter.folder != INBOX:
            letter.flags = letter.folder = None
            return
        self.model.count("moves of seen mail")
        letter.leave()
        letter.folder = CHATS
        if letter.flags is not None:
            letter.flags = letter.flags | {CHAT}

    # -- copies --

    def copy(self):
        self.copy_or_move("COPY")

    def move(self):
        self.copy_or_move("MOVE")

    def copy_or_move(self, verb):
        letters = self.letters(self.some())
        if not letters:
            return
        dest = self.other_folder()
        if verb == "MOVE" and dest == self.view.folder:
            # Where that ends in NO, stock Dovecot expunges what it hasn't copied.
            verb = "COPY"
        command = self.numbered(verb, letters, f'"{dest}"')
        with self.touching(letters, command):
            with self.model.lock:
                for uid, letter in letters.items():
                    letter.places.add(dest)
                    letter.maybe += 1
                    letter.may_stay = letter.may_stay or dest == INBOX
            response = self.view.do(command)
            done = self.copied(response)
            with self.model.lock:
                for uid, letter in letters.items():
                    letter.maybe -= 1
                    letter.tell(f"{response.status} {uid in done}")
                    if verb == "COPY":
                        letter.sure += uid in done
                        letter.copied = True
                    elif uid in done:
                        self.moved(uid, letter, dest, done[uid])

    def moved(self, uid, letter, dest, new_key):
        letter.moves[(self.view.folder, self.key(uid))] += 1
        if letter.is_at(self.key(uid)):
            letter.leave(new_key)
            letter.folder = dest
        else:
            letter.copied = True

    @staticmethod
    def copied(response):
        """UID to the key of the copy."""
        text = response.text + " ".join(line.decode() for line in response.lines("OK"))
        found = {}
        for uidvalidity, old, new in re.findall(r"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", text):
            for uid, new_uid in zip(uid_set(old), uid_set(new)):
                found[uid] = (int(uidvalidity), new_uid)
        return found

    def expunge(self):
        rnd = self.random
        crowded = len(self.view.uids) > 40
        letters = self.letters(self.some(25 if crowded else 4))
        if not letters:
            return
        uids = ",".join(map(str, letters))
        with self.touching(letters, f"expunge {uids}"):
            with self.model.lock:
                for letter in letters.values():
                    letter.doomed = True
                    letter.flags = None
            self.view.do(f"UID STORE {uids} +FLAGS.SILENT ({DELETED})")
            self.view.forget_flags(letters)
            before = set(self.view.uids)
            how = rnd.choice(("EXPUNGE", f"UID EXPUNGE {uids}", f"UID EXPUNGE {uids}", "CLOSE"))
            response = self.view.do(how)
            if how == "CLOSE":
                self.view.forget()
                self.ids = {}
                return
            if not response.ok:
                return
            gone = before - set(self.view.uids)
            with self.model.lock:
                for uid, letter in letters.items():
                    if uid in gone:
                        letter.expunged.add((self.view.folder, self.key(uid)))

    # -- folders --

    def change_folder(self):
        self.select(self.random.choice((INBOX, INBOX, CHATS, BLOCKED, *FOLDERS)))

    def arrange_folders(self):
        rnd = self.random
        name, other = rnd.sample(FOLDERS[:3], 2)
        what = rnd.choice(("create", "delete", "rename"))
        if what == "create":
            self.view.do(f"CREATE {name}")
        elif what == "delete":
            self.delete(name)
        else:
            self.rename(name, other)

    def delete(self, name):
        model = self.model
        try:
            response = self.view.do(f'DELETE "{name}"')
        except Gone:
            self.deleted(name)
            raise
        if response.ok:
            model.count("folders deleted")
            self.deleted(name)
        return response

    def deleted(self, name):
        with self.model.lock:
            self.user.deleted.append((name, time.monotonic()))

    def rename(self, old, new):
        with self.model.lock:
            self.user.renamed.append((old, new))
        response = self.view.do(f'RENAME "{old}" "{new}"')
        if not response.ok:
            with self.model.lock:
                self.user.renamed.remove((old, new))
        else:
            self.model.count("folders renamed")
        return response

    def arrange_chats(self):
        """What the folder rules are about."""
        rnd, model, user = self.random, self.model, self.user
        names = ("create", "delete", "to trash", "elsewhere", "back")
        (what,) = rnd.choices(names, (4, 1, 1, 4, 1))
        if what == "elsewhere":
            snapshot = model.snapshot(user)
            if not snapshot or not snapshot[0]:
                return
            response = self.rename(CHATS, "Elsewhere")
            if response.ok and model.still_so(user, snapshot):
                raise Broken(f"{user.name}: renamed Chats with COI enabled: {response!r}")
            if response.ok:
                # by a race; what it means isn't known
                with model.changing(user):
                    user.state.known = False
            return
        with model.changing(user) as result:
            if what == "create":
                if self.view.do(f'CREATE "{CHATS}"').ok:
                    result["enabled"] = True
            elif what == "delete":
                if self.delete(CHATS).ok:
                    result["enabled"] = False
            elif what == "to trash":
                if self.rename(CHATS, f"Trash/Chats-{self.number}-{rnd.randrange(3)}").ok:
                    result["enabled"] = False
            elif self.rename("Work", CHATS).ok:
                result["enabled"] = True

    # -- metadata --

    def set_entries(self):
        rnd = self.random
        entries, result = {}, {}
        if rnd.random() < 0.4:
            enabled = rnd.random() < 0.75
            entries[f"{ROOT}/enabled"] = "yes" if enabled else None
            result["enabled"] = enabled
        if rnd.random() < 0.7 or not entries:
            message_filter = rnd.choices(("none", "active", "seen"), (1, 3, 4))[0]
            entries[f"{ROOT}/message-filter"] = message_filter
            result["filter"] = message_filter
        with self.model.changing(self.user) as changes:
            try:
                response = self.view.client.setmetadata(entries)
            except (ImapError, OSError) as error:
                raise Gone(error) from error
            for line in response.untagged:
                self.view.take(line)
            if response.ok:
                changes.update(result)
            else:
                raise Broken(f"{self.user.name}: {entries}: {response!r}")

    def get_entries(self):
        snapshot = self.model.snapshot(self.user)
        # With NOTIFY, what the server says of the folder may stand before its answer.
        response = self.view.do(f'GETMETADATA "" ({ROOT}/enabled {ROOT}/message-filter)')
        if not response.ok:
            raise Broken(f"{self.user.name}: {response!r}")
        found = metadata(response)
        if self.model.still_so(self.user, snapshot):
            check_entries(self.user, found)

    # -- waiting --

    def noop(self):
        self.view.do("NOOP")
        self.look()

    def idle(self):
        client = self.view.client
        try:
            client.idle()
            lines = self.idle_a_while(client)
            response = client.done()
        except (ImapError, OSError) as error:
            raise Gone(error) from error
        for line in lines + response.untagged:
            self.view.take(line)
        self.look()

    def idle_a_while(self, client):
        """What comes within a moment; nothing hangs on how long that is."""
        lines, client.early = client.early, []
        before = client.sock.gettimeout()
        client.sock.settimeout(self.random.choice((0.05, 0.2, 0.6)))
        try:
            client.sock.recv(1, socket.MSG_PEEK)
        except (TimeoutError, socket.timeout):
            return lines
        finally:
            client.sock.settimeout(before)
        lines.append(client.read_line())
        return lines


def check_entries(user, found):
    state = user.state
    enabled = found[f"{ROOT}/enabled"] == b"yes"
    message_filter = (found[f"{ROOT}/message-filter"] or b"none").decode()
    if (enabled, message_filter) != (state.enabled, state.filter):
        raise Broken(
            f"{user.name}: enabled is {enabled}, the filter {message_filter}, "
            f"not {state.enabled} and {state.filter}"
        )


MIX = {
    Session.deliver: 24,
    Session.read: 14,
    Session.store: 14,
    Session.copy: 6,
    Session.move: 6,
    Session.append: 5,
    Session.expunge: 9,
    Session.change_folder: 12,
    Session.arrange_folders: 3,
    Session.arrange_chats: 1,
    Session.set_entries: 2,
    Session.get_entries: 2,
    Session.idle: 5,
    Session.noop: 6,
    Session.reconnect: 3,
}
COI_ONLY = (Session.arrange_chats, Session.set_entries, Session.get_entries)
