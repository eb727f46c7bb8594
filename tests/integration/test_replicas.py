# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Two servers that are kept the same by dsync: what is done at one counts at both, and once."""

import time

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail
from harness.push import eventually, queued
from harness.push_service import answer
from harness.race import race
from harness.replicas import Pair
from harness.server import ROOT
from test_blocked import SENDER, add, contact, where

pytestmark = pytest.mark.private

ENABLED, FILTER = f"{ROOT}/enabled", f"{ROOT}/message-filter"


@pytest.fixture
def pair(fresh_server, log):
    # One starts before the other.
    log.expect("doveadm server disconnected before handshake|Disconnected from remote")
    made = Pair(fresh_server, mail_format=by_dialect(v2_3="maildir", v2_4="sdbox"))
    yield made
    made.close()


@pytest.fixture
def user(pair):
    name = pair.new_user()
    pair.nodes[0].deliver("lmtp", name, mail("first"))
    pair.sync(name)
    return name


def entries(node, user):
    with node.imap(user) as client:
        found = client.getmetadata(ENABLED, FILTER)
    return found[ENABLED], found[FILTER]


def set_entries(node, user, values):
    with node.imap(user) as client:
        response = client.setmetadata(values)
        assert response.ok, response


def test_ENA_3_ENA_6_FIL_2_what_one_is_told_counts_at_the_other(pair, user):
    one, other = pair.nodes
    set_entries(one, user, {ENABLED: "yes", FILTER: "active"})
    pair.sync(user)
    other.deliver("lmtp", user, chat("chat"))
    pair.sync(user)
    for node in pair.nodes:
        assert entries(node, user) == (b"yes", b"active")
        assert node.where(user)["chat"] == (node.chats, {"$Chat"})
        with node.imap(user) as client:
            assert client.folders("LSUB") == [node.chats]
    with other.imap(user) as client:
        client.must(f"DELETE {other.chats}")
    pair.sync(user)
    for node in pair.nodes:
        assert entries(node, user) == (None, b"active")
    set_entries(other, user, {FILTER: None})
    pair.sync(user)
    assert entries(one, user) == (None, None)
    with one.imap(user) as client:
        client.must(f"CREATE {one.chats}")
    pair.sync(user)
    assert entries(other, user) == (b"yes", None)


def test_BLK_3_BLK_5_who_is_blocked_at_one_is_at_the_other(pair, user):
    one, other = pair.nodes
    set_entries(one, user, {ENABLED: "yes"})
    pair.sync(user)
    other.deliver("lmtp", user, mail("before"))
    add(one, user, contact(SENDER, blocked=True))
    pair.sync(user)
    other.deliver("lmtp", user, mail("blocked"))
    pair.sync(user)
    with one.imap(user) as client:
        client.must(f'SELECT "{one.contacts}"')
        client.must("STORE 1:* +FLAGS (\\Deleted)")
        client.must("EXPUNGE")
    pair.sync(user)
    other.deliver("lmtp", user, mail("after"))
    pair.sync(user)
    for node in pair.nodes:
        found = where(node, user)
        assert [found[name][0] for name in ("before", "blocked", "after")] == [
            *("INBOX", node.folder("Blocked"), "INBOX")
        ]


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_FIL_3_chats_that_are_read(pair, user, both):
    """At both at once: none is lost or there twice, and nobody moves them again."""
    set_entries(pair.nodes[0], user, {ENABLED: "yes", FILTER: "seen"})
    pair.sync(user)
    subjects = {f"chat {number}" for number in range(8)}
    # To one: Dovecot itself has some mails twice that come to both while it syncs maildirs.
    for subject in sorted(subjects):
        pair.nodes[0].deliver("lmtp", user, chat(subject))
    pair.sync(user)
    clients = [node.imap(user) for node in pair.nodes[: 1 + both]]
    for client in clients:
        client.must("SELECT INBOX")
    race(len(clients), lambda number: clients[number].command("STORE 1:* +FLAGS (\\Seen)"))
    for client in clients:
        client.close()
    pair.sync(user)
    for node in pair.nodes:
        with node.imap(user) as client:
            assert client.subjects("INBOX") == ["first"]
            assert client.subjects(node.chats) == sorted(subjects)
            assert all(mail.is_chat for mail in client.mails(node.chats))


def test_MSG_1_MSG_9_SUB_2_devices(pair, user, service, subscriber):
    """Each mail wakes a device once; and one that is gone or removed doesn't come back."""
    one, other = pair.nodes
    stays, gone, removed = (subscriber(one, user).subscribe() for _ in range(3))
    pair.sync(user)
    for number, node in enumerate((one, other, other, one)):
        node.deliver("lmtp", user, mail(f"mail {number}"))
        pair.sync(user)
    for device in (stays, gone, removed):
        assert sorted(device.subjects(4)) == [f"mail {number}" for number in range(4)]

    service.on(gone.path, answer(410))
    other.deliver("lmtp", user, mail("mail 4"))
    service.wait(lambda: len(gone.requests()) == 5, "it is gone")
    gone.server = removed.server = other
    eventually(lambda: gone.stored() is None, "it is removed")
    assert removed.remove().ok
    pair.sync(user)
    before = len(removed.requests())
    for number, node in enumerate((one, other)):
        node.deliver("lmtp", user, mail(f"mail {5 + number}"))
        pair.sync(user)
    assert sorted(stays.subjects(7)) == [f"mail {number}" for number in range(7)]
    assert (len(gone.requests()), len(removed.requests())) == (5, before)
    for device in (gone, removed):
        for device.server in pair.nodes:
            assert device.stored() is None


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_SUB_2_what_waits_at_one_for_what_is_changed_at_the_other(
    pair, user, service, subscriber, how
):
    """It was sent for a day: subject and text, to a phone that had been lost."""
    one, other = pair.nodes
    changed, stays = (subscriber(one, user).subscribe() for _ in range(2))
    pair.sync(user)
    for device in (changed, stays):
        service.on(device.path, answer(503))
    one.deliver("lmtp", user, mail("secret"))
    for device in (changed, stays):
        service.wait(lambda: device.requests(), "it is tried")
    pair.sync(user)
    assert queued(one) == 2
    changed.server = other
    if how == "removed":
        assert changed.remove().ok
    else:
        service.on(changed.path, answer(201))
        assert changed.set().ok
    pair.sync(user)
    eventually(lambda: queued(one) == 1, "only one waits")
    assert len(changed.requests()) == 1


def test_what_dsync_has_brought_is_not_brought_back(pair, user):
    """A change of ours causes a sync or two, and these no others."""
    if not pair.by_replicator:
        pytest.skip("nothing is synced unless we say so")
    set_entries(pair.nodes[0], user, {ENABLED: "yes", FILTER: "seen"})
    pair.quiet()
    pair.nodes[1].deliver("lmtp", user, chat("chat"))
    pair.quiet()
    before = pair.syncs()
    with pair.nodes[0].imap(user) as client:
        client.must("SELECT INBOX")
        client.must("STORE 1:* +FLAGS (\\Seen)")
    pair.quiet()
    assert pair.syncs() - before <= 2
    before = pair.syncs()
    time.sleep(3)
    assert pair.syncs() == before
