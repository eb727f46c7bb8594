# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own with folders, found by a review before the first release."""

import pytest
from harness.mails import chat

pytestmark = pytest.mark.private


@pytest.mark.parametrize("flags", ["\\Deleted \\Seen", "\\Seen \\Deleted"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_a_mail_that_the_client_deletes_came_back_in_Chats(make_server, mail_format, flags):
    """Clients that have no MOVE: a copy to Trash, both flags in one STORE, EXPUNGE."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("CREATE Trash")
        client.must("SELECT INBOX")
        client.must("UID COPY 1 Trash")
        client.must(f"UID STORE 1 +FLAGS ({flags})")
        client.must("EXPUNGE")
        assert client.subjects("INBOX") == client.subjects(server.chats) == []
        assert client.subjects("Trash") == ["chat"]
