# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""CLI-1: Delta Chat itself, which knows neither COI nor this server."""

import pytest
from harness import delta_chat
from harness.config import settings
from harness.push import eventually

pytestmark = [
    pytest.mark.private,
    pytest.mark.skipif(not delta_chat.program(), reason="Delta Chat's core isn't here"),
]

RULES = "chat-version message-id references encrypted"


def has_joined(event):
    return event["kind"] == "SecurejoinJoinerProgress" and event["progress"] == 1000


@pytest.mark.parametrize("message_filter", ["without COI", "none", "seen", "active"])
def test_CLI_1_a_secure_join_and_messages_both_ways(make_server, tmp_path, message_filter):
    server = make_server(
        after=settings(coi_chat_rules=RULES), push=(("coi_push_deltachat", "yes"),)
    )
    with_coi = message_filter != "without COI"
    users = [
        server.coi_user(message_filter) if with_coi else server.new_user() for _ in range(2)
    ]
    folder = server.chats if message_filter == "active" else "INBOX"
    with delta_chat.Submission(server) as submission, delta_chat.Core(tmp_path) as core:
        alice, bob = (core.account(server, submission, user, folder) for user in users)
        invitation = core.call("get_chat_securejoin_qr_code", alice, None)
        with_alice = core.call("secure_join", bob, invitation)
        core.await_event(bob, has_joined)

        core.call("misc_send_text_message", bob, with_alice, "Do you hear me?")
        heard = core.await_message(alice, "Do you hear me?")
        assert heard["showPadlock"]
        core.call("accept_chat", alice, heard["chatId"])
        core.call("misc_send_text_message", alice, heard["chatId"], "Yes.")
        assert core.await_message(bob, "Yes.")["chatId"] == with_alice
        # For one device alone it doesn't tell the server what has been read.
        core.call("set_config", alice, "bcc_self", "1")
        core.call("markseen_msgs", alice, [heard["id"]])
        if message_filter == "seen":
            with server.imap(users[0]) as client:
                eventually(lambda: client.mails(server.chats), "moved to Chats")

    for user in users:
        with server.imap(user) as client:
            mails = client.mails(folder)
            # the message; Delta Chat expunges what it has read of the handshake
            assert mails or message_filter == "seen"
            assert all(mail.is_chat == with_coi for mail in mails)
            assert folder == "INBOX" or client.mails("INBOX") == []
