# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Contacts of a user, who may be blocked, and what becomes of mail."""

import hashlib

from .imap import Literal
from .mails import mail

# The From of what harness.mails makes.
SENDER = "sender@example.org"
HEADERS = "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (CHAT-CONTENT COI-FROM-HASH COI-BLOCKED DATE)])"


def hash_of(address):
    return hashlib.sha3_256(address.lower().encode()).hexdigest()


def block(server, user, address=SENDER):
    text = (
        "Chat-Content: contact\nDate: Sat, 04 Jan 2025 10:00:00 +0000\nCOI-Blocked: yes\n"
        f"COI-From-Hash: {hash_of(address)}\n\nvcard\n"
    )
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(text.encode()))


def add(server, user, *fields, body="x\n"):
    """A contact with these fields, or what is none."""
    lines = "".join(f"{field}\r\n" for field in fields)
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(f"{lines}\r\n{body}".encode()))


def fetch_headers(server, user, command=HEADERS):
    """As clients do, so that Dovecot's cache has them."""
    with server.imap(user) as client:
        client.must(f'EXAMINE "{server.contacts}"')
        return b"".join(client.must(command).untagged)


def where_each(server, user, *subjects):
    """Where mails with these subjects go, one after the other."""
    for subject in subjects:
        server.deliver("lmtp", user, mail(subject))
    found = {}
    with server.imap(user) as client:
        for folder in client.folders():
            if folder != server.contacts:
                found.update({each: folder for each in client.subjects(folder)})
    return [found[subject] for subject in subjects]
