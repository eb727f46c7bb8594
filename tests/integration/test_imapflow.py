# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""An IMAP client that we haven't written, with QRESYNC: what it keeps of a folder has to
stay right whatever we do there."""

import pytest
from harness import imapflow
from harness.mails import chat, mail

pytestmark = [
    pytest.mark.private,
    pytest.mark.skipif(not imapflow.modules(), reason="ImapFlow isn't here, or Node.js is old"),
]

FORMATS = ("maildir", "sdbox", "mdbox")


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_2_IDL_1_a_chat_is_told_in_Chats(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    with imapflow.ImapFlow(server, user) as client:
        assert {"COI", "WEBPUSH"} <= set(client.capabilities)
        client.mailboxOpen(server.chats)
        client.idle()
        for number in (1, 2):
            server.deliver("lmtp", user, chat(f"chat {number}"))
            told = client.until("exists")
            assert (told["count"], told["prevCount"]) == (number, number - 1)
        server.deliver("lmtp", user, mail("mail"))
        assert client.mails(server.chats) == {"chat 1": {"$Chat"}, "chat 2": {"$Chat"}}
        assert client.mails("INBOX") == {"mail": set()}


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_a_chat_is_moved_under_its_eyes(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    for make in (chat, mail):
        server.deliver("lmtp", user, make(make.__name__))
    with imapflow.ImapFlow(server, user) as client:
        client.mailboxOpen("INBOX")
        assert client.messageFlagsAdd("1:*", ["\\Seen"])
        client.noop()
        gone = client.until("expunge")
        assert (gone["uid"], gone["vanished"]) == (1, True)
        assert client.mails("INBOX") == {"mail": {"\\Seen"}}
        assert client.mails(server.chats) == {"chat": {"$Chat", "\\Seen"}}


def test_ENA_8_ENA_10_the_folder_by_hand(make_server):
    server = make_server()
    with imapflow.ImapFlow(server, server.coi_user("active")) as client:
        with pytest.raises(imapflow.Refused, match="needed for COI"):
            client.mailboxRename(server.chats, "Other")
        client.mailboxDelete(server.chats)
        assert server.chats not in [folder["path"] for folder in client.list()]
        client.mailboxCreate(server.chats)
        assert server.chats in [folder["path"] for folder in client.list()]
