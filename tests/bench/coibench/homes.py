# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mails of the benchmarks, and users' homes in the state that a case begins with.

A home is made once, on our server. Users of all servers get copies of it, so what is
compared begins with the same bytes on disk.
"""

import hashlib
import itertools
import os
import shutil
import subprocess
from pathlib import Path

from harness.push import Subscriber
from harness.push_service import PushService
from harness.server import ROOT

from .sink import redirect

MAIL_SIZE = 2048
CONTACTS = 10000
BLOCKED = 100
STORE_MAILS = 1000


def contact_address(number):
    return f"contact{number}@example.org"


def is_blocked(number):
    return number % (CONTACTS // BLOCKED) == 1


FRIEND = contact_address(0)
FOE = contact_address(1)


def mail(*headers, sender=FRIEND):
    """A mail of 2 KiB as it is on the wire."""
    lines = [
        "Received: from mx.example.net (mx.example.net [192.0.2.1])",
        "\tby mail.example.org with ESMTPS id 4YQ2aBcD for <recipient@example.org>;",
        "\tSat, 04 Jan 2025 10:00:01 +0000 (UTC)",
        f"From: Sender <{sender}>",
        "To: recipient@example.org",
        "Date: Sat, 04 Jan 2025 10:00:00 +0000",
        "Message-ID: <4f5c2a1e-mail-1@example.org>",
        "Subject: a mail like any other",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        *headers,
        "",
    ]
    head = "\r\n".join(lines) + "\r\n"
    missing = MAIL_SIZE - len(head)
    body = ("x" * 70 + "\r\n") * (missing // 72)
    return (head + body + "y" * max(missing - len(body) - 2, 0) + "\r\n").encode()


ORDINARY = mail()
CHAT = mail("Chat-Version: 1.0")
CHAT_OF_BLOCKED = mail("Chat-Version: 1.0", sender=FOE)


def contact(number):
    address = contact_address(number)
    lines = [
        "From: recipient@example.org",
        "To: recipient@example.org",
        "Date: Sat, 04 Jan 2025 10:00:00 +0000",
        f"Message-ID: <contact-{number}@example.org>",
        f"Subject: Contact {number}",
        "Chat-Content: contact",
        f"COI-From-Hash: {hashlib.sha3_256(address.encode()).hexdigest()}",
        *(["COI-Blocked: yes"] if is_blocked(number) else []),
        "MIME-Version: 1.0",
        "Content-Type: text/vcard",
        "",
        "BEGIN:VCARD",
        "VERSION:4.0",
        f"EMAIL:{address}",
        "END:VCARD",
        "",
    ]
    return "\r\n".join(lines).encode()


class Loader:
    """The load generator (lmtp_load.cc)."""

    def __init__(self, options):
        self.program = options.load
        self.directory = Path(options.work)
        self.files = {}

    def deliver(self, *args, **options):
        """Returns nanoseconds, and the time of the end."""
        return tuple(map(int, self._run(*args, **options).split()))

    def stamps(self, *args, rate):
        """(user's number, mail was sent, 250 came) of each mail, in nanoseconds."""
        path = self.directory / "stamps"
        self._run(*args, more=(path, rate))
        return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]

    def _run(self, server, data, prefix, users, mails, connections, folder="", more=()):
        """Without a folder the mail goes where the server wants it."""
        if data not in self.files:
            path = self.directory / f"mail{len(self.files)}"
            path.write_bytes(data + b".\r\n")
            self.files[data] = path
        suffix = "+" + folder if folder else ""
        port = server.lmtp_address[1]
        command = (self.program, port, connections, mails, prefix, users, suffix)
        done = subprocess.run(
            [*map(str, command), self.files[data], *map(str, more)],
            check=True,
            capture_output=True,
        )
        return done.stdout


class Homes:
    """Templates of homes by name and mail format, each made when it is first asked for."""

    _numbers = itertools.count(1)

    def __init__(self, lab, loader):
        self.lab = lab
        self.loader = loader
        self.templates = {}
        # Contacts folders that the next users take over.
        self.spare = {}

    def template(self, name, mail_format):
        key = name, mail_format
        if key not in self.templates:
            server = self.lab.get(mail_format, "coi")
            user = f"template-{name}-"
            getattr(self, "_make_" + name)(server, user)
            self.templates[key] = server.home(user + "0")
        return self.templates[key]

    def copies(self, name, mail_format, kind, count=1, sink=None):
        """New users of a server that have a copy of a template: their common prefix.

        Their subscriptions, if any, lead to the sink."""
        template = self.template(name, mail_format)
        server = self.lab.get(mail_format, kind)
        prefix = f"u{next(self._numbers)}x"
        for number in range(count):
            home = server.home(f"{prefix}{number}")
            if name == "contacts":
                self._copy_with_contacts(template, mail_format, home)
            else:
                subprocess.run(["cp", "-a", template, home], check=True)
            if sink:
                redirect(home, sink, number)
        return prefix

    def remove(self, name, mail_format, kind, prefix, count=1):
        server = self.lab.get(mail_format, kind)
        for number in range(count):
            home = server.home(f"{prefix}{number}")
            if name == "contacts":
                self._spare_contacts(mail_format, home)
            shutil.rmtree(home)

    # -- Copying 10,000 contacts for each slice would take longer than all else. They are
    # never changed, so the folder goes from a user who is done with to the next one. --

    @staticmethod
    def _contacts_folder(home):
        (folder,) = (
            path
            for path in (home / "maildir/.COI.Contacts", home / "sdbox/mailboxes/COI/Contacts")
            if path.is_dir()
        )
        return folder

    def _spare_contacts(self, mail_format, home):
        folder = self._contacts_folder(home)
        spares = self.spare.setdefault(mail_format, [])
        spare = home.parent.parent.parent / f"contacts-{mail_format}-{next(self._numbers)}"
        os.rename(folder, spare)
        spares.append(spare)

    def _copy_with_contacts(self, template, mail_format, home):
        spares = self.spare.get(mail_format)
        if not spares:
            subprocess.run(["cp", "-a", template, home], check=True)
            return
        folder = self._contacts_folder(template)
        relative = folder.relative_to(template)
        # The template without the folder is a template of its own.
        bare = template.with_name(template.name + "-bare")
        if not bare.exists():
            subprocess.run(["cp", "-a", template, bare], check=True)
            shutil.rmtree(bare / relative)
        subprocess.run(["cp", "-a", bare, home], check=True)
        os.rename(spares.pop(), home / relative)

    # -- what is in the templates --

    def _fill(self, server, user, data, mails=1):
        self.loader.deliver(server, data, user, 1, mails, 1)

    @staticmethod
    def _enable(server, user, message_filter):
        with server.imap(user + "0") as client:
            response = client.setmetadata(
                {f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": message_filter}
            )
            assert response.ok, response

    def _make_off(self, server, user):
        self._fill(server, user, ORDINARY)

    def _make_coi(self, server, user, message_filter):
        self._enable(server, user, message_filter)
        self._fill(server, user, ORDINARY)
        self._fill(server, user, CHAT)

    def _make_none(self, server, user):
        self._make_coi(server, user, "none")

    def _make_active(self, server, user):
        self._make_coi(server, user, "active")

    def _make_push(self, server, user, subscriptions):
        self._make_active(server, user)
        with PushService() as service:
            for _ in range(subscriptions):
                Subscriber(server, user + "0", service).subscribe()

    def _make_push1(self, server, user):
        self._make_push(server, user, 1)

    def _make_push10(self, server, user):
        self._make_push(server, user, 10)

    def _make_contacts(self, server, user):
        self._enable(server, user, "active")
        with server.imap(user + "0") as client:
            mails = map(contact, range(CONTACTS))
            literals = b" ".join(b"{%d+}\r\n%s" % (len(data), data) for data in mails)
            client.must(b'APPEND "COI/Contacts" ' + literals)
        for data in (ORDINARY, CHAT, CHAT_OF_BLOCKED):
            self._fill(server, user, data)
        with server.imap(user + "0") as client:
            assert client.exists("COI/Contacts") == CONTACTS
            assert client.exists("COI/Chats") == client.exists("Blocked") == 1

    def _make_store(self, server, user):
        """Mode seen in a folder that has $Chat, but not on the mails that are changed."""
        self._enable(server, user, "seen")
        self._fill(server, user, ORDINARY, STORE_MAILS)
        self._fill(server, user, CHAT)

    def _make_move(self, server, user):
        self._enable(server, user, "seen")
        self._fill(server, user, CHAT, STORE_MAILS)
