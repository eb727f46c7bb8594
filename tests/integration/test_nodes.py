# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Two servers that have the same mail, with what Dovecot wants to be set where that is on NFS."""

import time

import pytest
from harness.config import by_dialect
from harness.held import LOCK_OF_MOVES, Held
from harness.mails import chat, mail
from harness.nodes import copy_vapid, make_nodes, vapid
from harness.push import eventually, read_vapid, vapid_key
from harness.push_service import answer
from harness.race import race
from harness.server import ROOT
from test_blocked import SENDER, add, contact, where

pytestmark = pytest.mark.private

ENABLED, FILTER = f"{ROOT}/enabled", f"{ROOT}/message-filter"
SHARED = "mmap_disable = yes\nmail_fsync = always\nmail_nfs_storage = yes\nmail_nfs_index = yes\n"


OWN_INDEX = "maildir, each with an index of its own"


def own_index(number):
    """As on a disk of the machine's own. Dovecot can do that with maildirs alone."""
    return "mail_nfs_storage = yes\n" + by_dialect(
        v2_3=f"mail_location = maildir:~/maildir:INDEX=~/index-{number}\n",
        v2_4=f"mail_index_path = ~/index-{number}\n",
    )


@pytest.fixture(params=["maildir", "sdbox", "mdbox", OWN_INDEX])
def nodes(request, fresh_server):
    if request.param == OWN_INDEX:
        one, other = (fresh_server(before=own_index(number)) for number in range(2))
    else:
        one, other = (fresh_server(mail_format=request.param, before=SHARED) for _ in range(2))
    other.homes.rmdir()
    other.homes.symlink_to(one.homes)
    return one, other


def test_ENA_5_FIL_2_what_one_is_told_counts_at_the_other(nodes):
    one, other = nodes
    user = one.new_user()
    with one.imap(user) as first, other.imap(user) as second:
        for message_filter, folder in (("active", one.chats), ("none", "INBOX")):
            first.setmetadata({ENABLED: "yes", FILTER: message_filter})
            assert second.getmetadata(FILTER)[FILTER] == message_filter.encode()
            other.deliver("lmtp", user, chat(message_filter))
            assert one.where(user)[message_filter] == (folder, {"$Chat"})
        second.setmetadata({ENABLED: None})
        one.deliver("lmtp", user, chat("disabled"))
        assert one.where(user)["disabled"] == ("INBOX", set())


def test_BLK_3_BLK_5_who_is_blocked_at_one_is_at_the_other(nodes):
    one, other = nodes
    user = one.coi_user("active")
    for server in (one, other):
        server.deliver("lmtp", user, mail("before"))
    for number, server in enumerate((one, other)):
        with server.imap(user) as client:
            add(server, user, contact(SENDER, blocked=True))
            for name, delivering in (("other", other), ("one", one)):
                subject = f"{number} blocked at {name}"
                delivering.deliver("lmtp", user, mail(subject))
                assert where(server, user)[subject][0] == server.folder("Blocked")
            client.must(f'SELECT "{server.contacts}"')
            client.must("STORE 1:* +FLAGS (\\Deleted)")
            client.must("EXPUNGE")
            for name, delivering in (("other", other), ("one", one)):
                subject = f"{number} not blocked at {name}"
                delivering.deliver("lmtp", user, mail(subject))
                assert where(server, user)[subject][0] == "INBOX"


def test_FIL_3_both_move_the_same_mails(nodes):
    one, other = nodes
    user = one.coi_user("seen")
    subjects = {f"chat {number}" for number in range(40)}
    for number, subject in enumerate(sorted(subjects)):
        nodes[number % 2].deliver("lmtp", user, chat(subject))

    with one.imap(user) as first, other.imap(user) as second:
        clients = (first, second)
        for client in clients:
            client.must("SELECT INBOX")

        def read(number):
            # Some have gone by then.
            for uid in range(1, 40, 10):
                clients[number].command(f"UID STORE {uid}:{uid + 9} +FLAGS (\\Seen)")

        race(2, read)
    with other.imap(user) as client:
        assert client.subjects("INBOX") == []
        assert sorted(client.subjects(other.chats)) == sorted(subjects)


def test_FIL_3_one_waits_while_the_other_moves(nodes):
    """Else both would store their copies before they expunge."""
    one, other = nodes
    user = one.coi_user("seen")
    one.deliver("lmtp", user, chat("chat"))
    with other.imap(user) as client:
        client.must("SELECT INBOX")
        with Held(one, user, LOCK_OF_MOVES) as held:
            tag = client.send("STORE 1 +FLAGS (\\Seen)")
            time.sleep(0.5)
            assert one.where(user)["chat"][0] == "INBOX"
            held.end()
            assert client.finish(tag).ok
    assert one.where(user) == {"chat": (one.chats, {"$Chat", "\\Seen"})}


def test_MSG_9_what_was_gone_at_one_is_subscribed_again_at_the_other(
    fresh_server, service, subscriber
):
    """What had called it gone ended it again, and would have for 90 days."""
    one, other = make_nodes(fresh_server, before=SHARED)
    device = subscriber(one, one.new_user()).subscribe()
    service.on(device.path, answer(404))
    other.deliver("lmtp", device.user, mail("before"))
    service.wait(device.requests, "it is tried")
    device.server = other
    eventually(lambda: device.stored() is None, "it is removed")
    service.on(device.path, answer(201))
    # Subscriptions know when they were made to the second.
    time.sleep(1.1)
    device.server = one
    device.subscribe()
    other.deliver("lmtp", device.user, mail("after"))
    assert device.until("after") == ["before", "after"]
    assert device.stored() is not None


def test_SUB_1_MSG_7_the_key_is_changed(fresh_server, subscriber):
    """As operate.md has it."""
    one, other = make_nodes(fresh_server, before=SHARED)
    user = one.new_user()
    keys = [vapid_key(one, user)]
    devices = [subscriber(one, user).subscribe()]
    vapid(one).rename(vapid(one).with_name("vapid-2027.pem"))
    one.reload()
    eventually(lambda: vapid_key(one, user) not in (None, keys[0]), "there is a new one")
    keys.append(vapid_key(one, user))
    devices.append(subscriber(one, user).subscribe())
    copy_vapid(one, other)
    other.reload()
    eventually(lambda: vapid_key(other, user) == keys[1], "the other has it, too")
    for node in (one, other):
        node.deliver("lmtp", user, mail(node.name))
    for device, key in zip(devices, keys):
        for push in device.pushes(2):
            read_vapid(push.request.header("Authorization"), key)
