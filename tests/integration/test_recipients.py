# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-8: a mail to several recipients is each one's own affair."""

import itertools

import pytest
from harness.mails import chat, mail


@pytest.fixture
def users(server):
    return {
        "active": server.coi_user("active"),
        "none": server.coi_user("none"),
        "without": server.new_user(),
    }


def expected(server, kind):
    return {
        "active": (server.chats, {"$Chat"}),
        "none": ("INBOX", {"$Chat"}),
        "without": ("INBOX", set()),
    }[kind]


KINDS = ("active", "none", "without")
ORDERS = [order for count in (2, 3) for order in itertools.permutations(KINDS, count)]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_FIL_8_every_order_of_recipients(server, users, order):
    replies = server.lmtp(*(users[kind] for kind in order), mail=chat("chat"))
    assert [reply[:3] for reply in replies] == ["250"] * len(order)
    server.lmtp(*(users[kind] for kind in order), mail=mail("ordinary"))
    for kind in order:
        found = server.where(users[kind])
        assert found == {"chat": expected(server, kind), "ordinary": ("INBOX", set())}


@pytest.mark.private
@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
@pytest.mark.parametrize("first", ["active", "without"])
def test_FIL_8_in_every_setup(make_server, mail_format, sieve, first):
    server = make_server(mail_format=mail_format, sieve=sieve)
    users = {"active": server.coi_user("active"), "without": server.new_user()}
    order = sorted(users, key=lambda kind: kind != first)
    server.lmtp(*(users[kind] for kind in order), mail=chat("chat"))
    for kind in order:
        assert server.where(users[kind]) == {"chat": expected(server, kind)}


def test_FIL_8_one_recipient_twice(server):
    user = server.coi_user("active")
    server.lmtp(user, user, mail=chat("chat"))
    with server.imap(user) as client:
        assert set(client.subjects(server.chats)) == {"chat"}
        assert all(entry.is_chat for entry in client.mails(server.chats))
        assert client.exists("INBOX") == 0
