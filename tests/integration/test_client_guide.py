# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What docs/clients.md tells the author of a client, where no other test shows it."""

import os
import re
import signal

import pytest
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import SUBSCRIPTIONS, eventually, service_pids
from harness.server import ROOT
from test_blocked import SENDER, add, contact

VAPID = SUBSCRIPTIONS.replace("subscriptions", "vapid")


def expunged(response):
    return response.lines("EXPUNGE") != []


@pytest.mark.parametrize("command", ["STORE 1 +FLAGS (\\Seen)", "FETCH 1 BODY[]"])
def test_FIL_3_a_command_by_number_tells_of_the_move_in_the_next(server, command):
    user = server.coi_user("seen")
    for number in range(2):
        server.deliver("lmtp", user, chat(str(number)))
    with server.imap(user) as client:
        client.exists("INBOX")
        assert not expunged(client.must(command))
        assert expunged(client.must("NOOP"))
        assert expunged(client.must(f"UID {command.replace(' 1 ', ' 2 ')}"))


def test_FIL_3_another_session_has_no_body_until_it_has_heard_of_the_move(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client, server.imap(user) as other:
        client.exists("INBOX")
        other.exists("INBOX")
        client.must("UID STORE 1 +FLAGS (\\Seen)")
        response = other.must("FETCH 1 BODY.PEEK[TEXT]")
        assert response.text.startswith("[EXPUNGEISSUED]")
        assert other.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]


@pytest.mark.parametrize("why", ["APPEND", "filter", "Deleted"])
def test_FIL_3_what_stayed_moves_with_a_STORE_that_sets_Seen_once_more(server, why):
    user = server.coi_user("none" if why == "filter" else "seen")
    with server.imap(user) as client:
        if why == "APPEND":
            client.must("APPEND INBOX (\\Seen $Chat) ", Literal(chat("chat")))
        else:
            server.deliver("lmtp", user, chat("chat"))
        client.exists("INBOX")
        if why == "Deleted":
            client.store(1, "+FLAGS", "\\Seen \\Deleted")
            client.store(1, "-FLAGS", "\\Deleted")
        elif why == "filter":
            client.store(1, "+FLAGS", "\\Seen")
            assert client.setmetadata({f"{ROOT}/message-filter": "seen"}).ok
        client.must("UID FETCH 1 (FLAGS BODY[])")
        client.must("UID STORE 1 +FLAGS (\\Flagged)")
        assert not expunged(client.must("NOOP"))
        assert expunged(client.must("UID STORE 1 +FLAGS (\\Seen)"))
    assert server.where(user)["chat"][0] == server.chats


def test_FIL_3_a_client_that_moves_the_mail_itself_is_told_its_UID(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.exists("INBOX")
        moved = client.must(f'UID MOVE 1 "{server.chats}"')
        assert re.search(r"\[COPYUID \d+ 1 1\]", repr(moved))
        client.exists(server.chats)
        client.must("UID STORE 1 +FLAGS (\\Seen)")
        assert not expunged(client.must("NOOP"))


def test_DET_6_what_a_client_stores_is_not_marked(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.chats}" (\\Seen) ', Literal(chat("own")))
    assert server.where(user)["own"] == (server.chats, {"\\Seen"})


def test_BLK_5_Deleted_alone_does_not_unblock(server):
    user = server.coi_user("active")
    add(server, user, contact(SENDER, blocked=True))
    with server.imap(user) as client:
        client.exists(server.contacts)
        client.store(1, "+FLAGS", "\\Deleted")
        server.deliver("lmtp", user, mail("one"))
        client.must("EXPUNGE")
        server.deliver("lmtp", user, mail("two"))
        assert client.subjects(server.folder("Blocked")) == ["one"]
        assert client.subjects("INBOX") == ["two"]


def test_IDL_1_NOTIFY_tells_of_both_folders_over_one_connection(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.exists("INBOX")
        client.must(
            "NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge))"
            f' (mailboxes (INBOX "{server.chats}") (MessageNew MessageExpunge))'
        )
        server.deliver("lmtp", user, chat("chat"))
        client.read_until(f"STATUS {server.chats} (MESSAGES 1 ")
        server.deliver("lmtp", user, mail("ordinary"))
        client.read_until("1 FETCH (UID 1 ")


def test_ENA_1_NOTIFY_tells_of_the_new_folders(server):
    """At once, and not with the next mail."""
    user = server.new_user()
    server.deliver("lmtp", user, mail("makes INBOX"))
    with server.imap(user) as client, server.imap(user) as other:
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
        assert other.setmetadata({f"{ROOT}/enabled": "yes"}).ok
        missing = {server.contacts, server.chats}
        while missing:
            line = client.read_line().decode()
            missing = {name for name in missing if f"STATUS {name} (MESSAGES 0 " not in line}


@pytest.mark.private
def test_SUB_1_DEPTH_leaves_the_key_out_while_push_is_not_available(fresh_server, log):
    log.expect("Can't ask coi-push for its key: timed out")
    server = fresh_server(push=(("coi_push_handoff_timeout", "5 s"),))
    user = server.coi_user("active")
    above = VAPID.rpartition("/")[0]
    with server.imap(user) as client:
        assert VAPID in client.getmetadata(above, depth=1)
    pids = service_pids(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with server.imap(user) as client:
            response = client.command(f'GETMETADATA "" {VAPID}')
            assert response.status == "NO"
            assert response.text.startswith("[UNAVAILABLE]")
            assert client.getmetadata(above, depth=1) == {}
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    with server.imap(user) as client:
        eventually(lambda: VAPID in client.getmetadata(above, depth=1), "the key is there")
