# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Idle sessions in imap-hibernate, where the plugin isn't, and back again."""

import time

import pytest
from harness import hibernation
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private

FORMATS = ("maildir", "mdbox")
FILTER = f"{ROOT}/message-filter"


@pytest.fixture(params=FORMATS)
def server(request, make_server):
    return make_server(mail_format=request.param, after=hibernation.SETTINGS)


@pytest.mark.parametrize("folder", ("INBOX", "Chats"))
def test_IDL_1_told_while_hibernated_and_when_awake(server, folder):
    user = server.coi_user("active")
    make = mail if folder == "INBOX" else chat
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        told = client.exists("INBOX" if folder == "INBOX" else server.chats)
        hibernation.idle(server, client)
        for _ in range(3):
            before = hibernation.count(server)
            # The first wakes the session, the others find it awake.
            for number in range(3):
                lmtp.deliver([user], make(str(number)))
                told += 1
                assert client.idle_until("EXISTS")[-1] == b"* %d EXISTS" % told
            hibernation.await_more(server, before)
        assert client.done().ok


@pytest.mark.parametrize("before_it", (0.4, 0.2))
def test_IDL_1_told_what_comes_right_before_it_is_handed_over(server, before_it):
    """Dovecot forgets then what it was about to tell: half a second's mail."""
    user = server.coi_user("active")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        client.exists(server.chats)
        client.idle()
        time.sleep(hibernation.IDLE_SECS - before_it)
        lmtp.deliver([user], chat("chat"))
        assert client.idle_until("EXISTS")[-1] == b"* 1 EXISTS"


def test_FIL_2_a_chat_tells_an_INBOX_that_is_hibernated_nothing(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.exists("INBOX")
        hibernation.idle(server, client)
        server.deliver("lmtp", user, chat("chat"))
        server.deliver("lmtp", user, mail("mail"))
        lines = client.idle_until("EXISTS")
        assert [line for line in lines if b"EXISTS" in line] == [b"* 1 EXISTS"]
        assert client.done().ok


def test_CAP_1_CAP_4_DET_6_all_is_there_when_it_is_back(server):
    user = server.coi_user()
    with server.imap(user) as client:
        capabilities = client.capabilities()
        client.exists("INBOX")
        hibernation.idle(server, client)
        server.deliver("lmtp", user, chat("chat"))
        client.idle_until("EXISTS")
        assert client.done().ok
        assert client.capabilities() == capabilities
        assert b"$Chat" in client.must("FETCH 1 FLAGS").lines("FETCH")[0]
        hibernation.idle(server, client)
        assert client.done().ok
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
        assert client.setmetadata({FILTER: "seen"}).ok
        client.store("1", "+FLAGS", "\\Seen")
        assert client.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]
    assert server.where(user) == {"chat": (server.chats, {"$Chat", "\\Seen"})}


def test_FIL_3_moved_while_it_is_hibernated(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, mail("mail"))
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client, server.imap(user) as other:
        assert client.exists("INBOX") == 2
        hibernation.idle(server, client)
        other.exists("INBOX")
        other.store("1:2", "+FLAGS", "\\Seen")
        assert client.idle_until("EXPUNGE")[-1] == b"* 2 EXPUNGE"
        assert client.done().ok
        assert client.subjects("INBOX") == ["mail"]


def test_ENA_3_set_while_it_is_hibernated(server):
    user = server.coi_user("none")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.exists("INBOX")
        hibernation.idle(server, client)
        with server.imap(user) as other:
            assert other.setmetadata({FILTER: "seen"}).ok
        assert client.done().ok
        client.store("1", "+FLAGS", "\\Seen")
    assert server.where(user) == {"chat": (server.chats, {"$Chat", "\\Seen"})}
