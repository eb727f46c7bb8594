# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Seen chats that are being moved while Chats itself is renamed or deleted.

Some of them were in the renamed folder then, and in the next one, too. On maildir and sdbox it
could end imap: Dovecot doesn't expect that a folder goes while it stores mail there.
"""

import socket
import time

import pytest
from harness.held import LOCK_OF_MOVES, Held
from harness.mails import chat
from harness.server import ROOT

pytestmark = pytest.mark.private

SEEN = "\\Seen"


def is_answered(client, seconds=0.5):
    """Whether there is something to read within that time."""
    client.sock.settimeout(seconds)
    try:
        return bool(client.sock.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        client.sock.settimeout(30)


@pytest.fixture(params=["maildir", "sdbox", "mdbox"])
def server(request, make_server):
    return make_server(mail_format=request.param)


@pytest.mark.parametrize("command", ["RENAME {} Trash/Old", "DELETE {}"])
def test_FIL_3_Chats_goes_when_what_is_moved_to_it_has_arrived(server, command):
    user = server.coi_user("seen")
    with server.imap(user) as client, Held(server, user, LOCK_OF_MOVES) as moving:
        tag = client.send(command.format(server.chats))
        assert not is_answered(client)
        with server.imap(user) as other:
            assert server.chats in other.folders()
        moving.end()
        assert client.finish(tag).ok
        entry = f"{ROOT}/enabled"
        assert client.getmetadata(entry) == {entry: None}
        assert server.chats not in client.folders()


def test_FIL_3_a_move_whose_turn_comes_when_COI_is_off(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as reader, Held(server, user, LOCK_OF_MOVES) as moving:
        reader.must("SELECT INBOX")
        stored = reader.send(f"STORE 1 +FLAGS ({SEEN})")
        assert not is_answered(reader)
        with server.imap(user) as other:
            assert other.setmetadata({f"{ROOT}/enabled": None}).ok
        moving.end()
        assert reader.finish(stored).ok
    assert server.where(user) == {"chat": ("INBOX", {SEEN, "$Chat"})}


def test_FIL_3_a_session_that_has_deleted_Chats_holds_up_no_move(server):
    user = server.coi_user("seen")
    with server.imap(user) as client, server.imap(user) as other:
        client.must(f"DELETE {server.chats}")
        client.must(f"CREATE {server.chats}")
        server.deliver("lmtp", user, chat("chat"))
        other.must("SELECT INBOX")
        other.store("1", "+FLAGS", SEEN)
        assert other.subjects(server.chats) == ["chat"]


def test_FIL_3_a_move_takes_the_Chats_that_is_there_when_its_turn_comes(server):
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    held = Held(server, user, LOCK_OF_MOVES)
    with server.imap(user) as reader, server.imap(user) as renamer, held as moving:
        reader.must("SELECT INBOX")
        stored = reader.send(f"STORE 1:3 +FLAGS ({SEEN})")
        assert not is_answered(reader)
        renamed = renamer.send(f"RENAME {server.chats} Trash/Old")
        time.sleep(0.1)
        moving.end()
        assert reader.finish(stored).ok
        assert renamer.finish(renamed).ok
    found = server.where(user)
    assert found.keys() == {f"chat {number}" for number in range(3)}
    assert {folder for folder, _ in found.values()} <= {"INBOX", "Trash/Old"}
