# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mode seen and a process that is killed between \\Seen and the move: the chat stayed in INBOX
for good, as nobody knew of it. It may wait there for another session's move for 20 s."""

import contextlib
import os
import signal

import pytest
from harness.held import LOCK_OF_MOVES, Held
from harness.mails import chat
from harness.push import eventually

SEEN = "\\Seen"
COMMANDS = [
    "STORE 1 +FLAGS (\\Seen)",
    "UID STORE 1 +FLAGS.SILENT (\\Seen)",
    "STORE 1 (UNCHANGEDSINCE 9999) +FLAGS (\\Seen)",
    "FETCH 1 BODY[]",
]


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
@pytest.mark.parametrize("command", COMMANDS)
def test_FIL_3_the_next_move_takes_it_along(fresh_server, log, mail_format, command):
    server = fresh_server(mail_format=mail_format)
    server.kills = True
    user = server.coi_user("seen")
    for name in ("chat", "another", "unread"):
        server.deliver("lmtp", user, chat(name))
    log.expect("killed with signal 9")
    with server.imap(user) as client, Held(server, user, LOCK_OF_MOVES):
        client.must("SELECT INBOX")
        client.send(command)
        eventually(lambda: SEEN in server.where(user)["chat"][1], "it is seen")
        for pid in server.children("imap"):
            # that of where() may be ending
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", SEEN})
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("2", "+FLAGS", SEEN)
    assert server.where(user) == {
        "chat": (server.chats, {"$Chat", SEEN}),
        "another": (server.chats, {"$Chat", SEEN}),
        "unread": ("INBOX", {"$Chat"}),
    }
