# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-3 where an ACL forbids it: each mail that was read made an error line in the log."""

import pytest
from harness.mails import chat
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

SEEN = "\\Seen"
FILES = {
    ("maildir", "INBOX"): "maildir/dovecot-acl",
    ("maildir", "Chats"): "maildir/.COI.Chats/dovecot-acl",
    ("sdbox", "INBOX"): "sdbox/mailboxes/INBOX/dbox-Mails/dovecot-acl",
    ("sdbox", "Chats"): "sdbox/mailboxes/COI/Chats/dbox-Mails/dovecot-acl",
}


@pytest.mark.parametrize(
    "folder, rights", [("INBOX", "lrwstipka"), ("Chats", "lrwstpekxa")], ids=["no e", "no i"]
)
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_FIL_3_a_seen_chat_that_an_ACL_keeps_in_INBOX(make_server, mail_format, folder, rights):
    """It goes with the next one that is read once that is allowed."""
    server = make_server(mail_format=mail_format, before=ACL)
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    forbids = server.write(user, FILES[mail_format, folder], f"owner {rights}\n")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        for number in (1, 2):
            client.store(number, "+FLAGS", SEEN)
    in_inbox = ("INBOX", {"$Chat", SEEN})
    assert server.where(user) == {
        "chat 0": in_inbox,
        "chat 1": in_inbox,
        "chat 2": ("INBOX", {"$Chat"}),
    }
    forbids.unlink()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store(3, "+FLAGS", SEEN)
    in_chats = (server.chats, {"$Chat", SEEN})
    assert server.where(user) == dict.fromkeys(("chat 0", "chat 1", "chat 2"), in_chats)
