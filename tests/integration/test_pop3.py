# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""POP3, which has no flags, but sets \\Seen."""

import contextlib
import poplib
from pathlib import Path

import pytest
from harness.config import by_dialect, dialect
from harness.mails import chat, mail
from harness.ports import HeldPort

pytestmark = [
    pytest.mark.private,
    pytest.mark.skipif(
        not Path("/usr/lib/dovecot/pop3").exists(), reason="dovecot-pop3d isn't here"
    ),
]


@pytest.fixture(params=["maildir", "sdbox", "mdbox", "mbox"])
def server(request, fresh_server):
    held = HeldPort()
    protocols = by_dialect(v2_3="imap lmtp pop3", v2_4="{\n  pop3 = yes\n}")
    equals = by_dialect(v2_3="=", v2_4="")
    server = fresh_server(
        mail_format=request.param,
        after=f"protocols {equals} {protocols}\n"
        "service pop3-login {\n"
        f"  inet_listener pop3 {{\n    port = {held.number}\n  }}\n"
        "  inet_listener pop3s {\n    port = 0\n  }\n"
        "}\n",
    )
    server.pop3_address = "127.0.0.1", held.number
    yield server
    held.release()


@contextlib.contextmanager
def pop3(server, user):
    client = poplib.POP3(*server.pop3_address, timeout=30)
    client.user(user)
    client.pass_(server.password)
    yield client
    client.quit()


def test_FIL_3_read_by_pop3(server):
    if dialect() == "2.4" and server.settings.mail_format == "mbox":
        pytest.skip("where it deletes, too, Dovecot 2.4 itself loses what it has read")
    user = server.coi_user("seen")
    for text in (chat("read"), mail("mail"), chat("deleted"), chat("unread")):
        server.deliver("lmtp", user, text)
    # by which an mbox gets UIDs
    with server.imap(user) as client:
        assert client.exists("INBOX") == 4
    with pop3(server, user) as client:
        for number in (1, 2, 3):
            client.retr(number)
        client.dele(3)
    assert server.where(user) == {
        "read": (server.chats, {"$Chat", "\\Seen"}),
        "mail": ("INBOX", {"\\Seen"}),
        "unread": ("INBOX", {"$Chat"}),
    }


def test_FIL_3_moved_by_another_client_while_pop3_has_it(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    server.deliver("lmtp", user, mail("mail"))
    with pop3(server, user) as client:
        with server.imap(user) as other:
            other.must("SELECT INBOX")
            other.must("STORE 1 +FLAGS (\\Seen)")
        # what is gone meanwhile may be refused, as Dovecot does in any case
        with contextlib.suppress(poplib.error_proto):
            client.retr(1)
        client.retr(2)
    assert server.where(user) == {
        "chat": (server.chats, {"$Chat", "\\Seen"}),
        "mail": ("INBOX", {"\\Seen"}),
    }
