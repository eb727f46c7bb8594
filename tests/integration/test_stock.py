# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-7: a user without COI gets byte for byte what stock Dovecot does."""

import re

import pytest
from harness.config import Config, plugins
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private

MAILS = [
    mail("ordinary", message_id="<ordinary@example.org>"),
    chat("chat", message_id="<chat$a.b@example.org>"),
    mail("reply", "References: <chat$a.b@example.org>", message_id="<reply@example.org>"),
]
# Parts that differ between two deliveries of one mail, on one server too.
UNIQUE = [
    (re.compile(rb"\d+\.M\d+P\d+\.[^,: ]+"), b"UNIQUE"),
    (re.compile(rb"(?<![\w+/])[\w+/]{22}(?![\w+/])"), b"SESSION"),
    (re.compile(rb"\w{3}, +\d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}"), b"DATE"),
    (re.compile(rb"\d\d-\w{3}-\d{4} [\d:]{8} [+-]\d{4}"), b"DATE"),
    (re.compile(rb"(UIDVALIDITY|COPYUID) \d+"), b"UIDVALIDITY"),
    (re.compile(rb"\(\d+\.\d+ \+ [^)]*secs\)"), b"TOOK"),
    (re.compile(rb"dovecot-uidvalidity\.[0-9a-f]{8}"), b"dovecot-uidvalidity.UNIQUE"),
]


def normal(data):
    """The bytes without what is unique to one delivery."""
    for pattern, word in UNIQUE:
        data = pattern.sub(word, data)
    return data


def life(server, user):
    """All that a user and a sender see of a short life: deliveries, replies, folders, flags."""
    seen = []
    for data in MAILS:
        seen += server.lmtp(user, mail=data)
        done = server.lda(user, data)
        seen.append((done.returncode, done.stderr, done.stdout))
    seen += server.lmtp("nobody here", user, mail=MAILS[1])
    with server.imap(user) as client:
        for command in (
            'LIST "" "*"',
            'LSUB "" "*"',
            "SELECT INBOX",
            "FETCH 1:* (UID FLAGS RFC822.SIZE)",
            "STORE 1:3 +FLAGS (\\Seen)",
            "STORE 2 FLAGS (\\Seen $Chat)",
            "FETCH 4 BODY[]",
            "FETCH 1:* (FLAGS BODY.PEEK[HEADER])",
            "CREATE COI",
            "CREATE COI/Talk",
            "MOVE 1 COI/Talk",
            "RENAME COI/Talk Elsewhere",
            "DELETE Elsewhere",
            "STATUS INBOX (MESSAGES UIDNEXT UNSEEN)",
            'LIST "" "*" RETURN (SUBSCRIBED CHILDREN)',
        ):
            response = client.command(command)
            seen.append((command, response.status, response.text, response.untagged))
    return [normal(repr(entry).encode()) for entry in seen]


def files(server, user):
    home = server.home(user)
    return sorted(normal(str(path.relative_to(home)).encode()) for path in home.rglob("*"))


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
def test_FIL_7_the_same_answers_folders_flags_and_files(make_server, mail_format, sieve):
    user = "alike"
    stock, ours = (
        make_server(coi=coi, mail_format=mail_format, sieve=sieve, after=plugins("notify"))
        for coi in (False, True)
    )
    assert life(ours, user) == life(stock, user)
    assert files(ours, user) == files(stock, user)


@pytest.mark.parametrize("make", [chat, mail])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
def test_FIL_7_the_first_mail_of_all_makes_the_same_files(make_server, mail_format, make):
    """In an empty home, even to look for a folder can change how INBOX is made."""
    user = f"first-{make.__name__}"
    servers = [make_server(coi=coi, mail_format=mail_format) for coi in (False, True)]
    for server in servers:
        server.deliver("lmtp", user, make("first"))
    stock, ours = (files(server, user) for server in servers)
    assert ours == stock


def test_FIL_7_looking_at_the_entries_writes_nothing(make_server):
    server = make_server()
    user = server.new_user()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        before = files(server, user)
        client.getmetadata(ROOT, depth="infinity")
        client.getmetadata(f"{ROOT}/enabled")
        client.setmetadata({f"{ROOT}/enabled": "no"})
    assert files(server, user) == before


def test_removing_the_plugin_leaves_everything_usable(fresh_server):
    """FIL-7 after the fact: stock Dovecot reads what COI has sorted, marked and moved."""
    server = fresh_server()
    users = {name: server.coi_user(name, name) for name in ("none", "active", "seen")}
    for user in users:
        server.deliver("lmtp", user, chat("chat"))
        server.deliver("lmtp", user, mail("ordinary"))
    with server.imap("seen") as client:
        client.must("SELECT INBOX")
        client.store("1:*", "+FLAGS", "\\Seen")
    before = {user: server.where(user) for user in users}

    server.restart(Config(coi=False))
    assert {user: server.where(user) for user in users} == before
    for user in users:
        server.deliver("lmtp", user, chat("later"))
        assert server.where(user)["later"] == ("INBOX", set())
        with server.imap(user) as client:
            assert "COI" not in client.capabilities()
            client.must('SELECT "COI/Chats"')
            client.must("RENAME COI Old")
            client.must('DELETE "Old/Chats"')

    server.restart(Config())
    for user in users:
        with server.imap(user) as client:
            assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
