# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Rounds of sessions, and a look at everything between two of them."""

import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from harness.config import Config
from harness.imap import SERVERS_FLAGS, Imap, Literal
from harness.server import HARMLESS, PROBLEM, ROOT

from .model import CHATS, CONTACTS, Broken, Model
from .session import FOE, HEADER, ITEMS, Session, check_entries

# What stock Dovecot logs, too, where many change one maildir.
EXPECTED = re.compile(
    r"dovecot-uidlist: Duplicate file entry at line"
    "|Maildir .*: Expunged message reappeared, giving a new UID"
)

CONTACT = (
    "Chat-Content: contact\r\nCOI-Blocked: yes\r\n"
    f"COI-From-Hash: {hashlib.sha3_256(FOE.encode()).hexdigest()}\r\n"
    "Subject: foe\r\nMessage-ID: <contact-foe@example.org>\r\n\r\n"
).encode()


def config(mail_format, coi=True, **more):
    limit = "protocol imap {\n  mail_max_userip_connections = 1000\n}\n"
    return Config(mail_format=mail_format, coi=coi, before=limit, **more)


class Run:
    def __init__(self, server, users, sessions, seed, coi=True):
        self.server = server
        self.coi = coi
        names = [server.new_user() for _ in range(users)]
        self.model = Model(names)
        self.log_mark = len(server.log_text())
        owners = list(self.model.users.values())
        self.sessions = [
            Session(number, server, self.model, owners[number % users], seed, coi)
            for number in range(sessions)
        ]
        for user in owners:
            self.look_at(user)
            if not coi:
                with self.client(user) as client:
                    client.must(f'CREATE "{CHATS}"')

    def rounds(self, operations, is_over):
        """Rounds of so many operations for each session, until is_over(number)."""
        number = 0
        with ThreadPoolExecutor(len(self.sessions)) as pool:
            while not is_over(number):
                number += 1
                self.model.begin_round()
                jobs = [pool.submit(session.round, operations) for session in self.sessions]
                for job in jobs:
                    job.result()
                for user in self.model.users.values():
                    self.look_at(user)
                for session in self.sessions:
                    session.check()
                self.look_at_log()
        self.model.stats["rounds"] = number
        for user in self.model.users.values():
            self.look_at_texts(user)
        for session in self.sessions:
            session.drop()

    @contextmanager
    def client(self, user):
        with Imap(self.server.imap_address, timeout=300) as client:
            client.login(user.name, self.server.password)
            yield client

    def look_at(self, user):
        with self.client(user) as client:
            found, has_foe = {}, False
            for folder in client.folders():
                if folder == CONTACTS:
                    has_foe = client.exists(folder) > 0
                    continue
                text = b"".join(client.must(f'EXAMINE "{folder}"').untagged)
                uidvalidity = int(re.search(rb"\[UIDVALIDITY (\d+)\]", text).group(1))
                for line in client.must(f"UID FETCH 1:* {ITEMS}").lines("FETCH"):
                    header = HEADER.search(line)
                    if not header:
                        raise Broken(f"{user.name}, {folder}: no Message-ID: {line!r}")
                    message_id = header.group(1).decode()
                    flags = re.search(rb"FLAGS \(([^)]*)\)", line).group(1).decode().split()
                    date = re.search(rb'INTERNALDATE "([^"]+)"', line).group(1).decode()
                    key = (uidvalidity, int(re.search(rb"UID (\d+)", line).group(1)))
                    copy = (folder, key, set(flags) - SERVERS_FLAGS, date)
                    found.setdefault(message_id, []).append(copy)
            self.model.compare(user, found)
            self.model.stats["mails looked at"] += sum(map(len, found.values()))
            if self.coi:
                self.look_at_state(user, client, has_foe)

    def look_at_state(self, user, client, has_foe):
        entries = client.getmetadata(f"{ROOT}/enabled", f"{ROOT}/message-filter")
        if user.state.known:
            check_entries(user, entries)
            self.model.stats["states checked"] += 1
        user.state.enabled = entries[f"{ROOT}/enabled"] == b"yes"
        user.state.filter = (entries[f"{ROOT}/message-filter"] or b"none").decode()
        user.state.known = True
        if not has_foe:
            client.command(f'CREATE "{CONTACTS}"')
            client.must(f'APPEND "{CONTACTS}" ', Literal(CONTACT))
        user.has_foe = True

    def look_at_texts(self, user):
        """At the end, every mail is what was sent, to the last byte."""
        with self.client(user) as client:
            for folder in client.folders():
                client.must(f'EXAMINE "{folder}"')
                for line in client.must("UID FETCH 1:* (BODY.PEEK[])").lines("FETCH"):
                    letter = user.letters.get(HEADER.search(line).group(1).decode())
                    if letter and letter.text.replace(b"\n", b"\r\n") not in line:
                        raise Broken(f"{user.name}, {folder}: another text: {letter}")
                    self.model.stats["texts compared"] += letter is not None

    def problems(self):
        lines = self.server.log_text()[self.log_mark :].splitlines()
        return [
            line
            for line in lines
            if PROBLEM.search(line) and not HARMLESS.search(line) and not EXPECTED.search(line)
        ]

    def look_at_log(self):
        problems = self.problems()
        if problems and self.coi:
            raise Broken("the log has:\n" + "\n".join(problems[:20]))


def for_seconds(seconds):
    start = time.monotonic()
    return lambda _: time.monotonic() - start >= seconds


def for_rounds(count):
    return lambda number: number >= count
