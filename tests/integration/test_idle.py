# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""IDL-1..3: an idle client is told at once.

No test measures a time: each compares the order of two things, or asks for
what must come in the end. How fast it is, tests/bench/ tells.
"""

import pytest
from harness import config
from harness.mails import chat, mail

FORMATS = ("maildir", "sdbox", "mdbox")


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_1_many_deliveries_are_all_told_of(make_server, mail_format):
    """Each waits for the one before: with half a second each, 100 would take most of a minute."""
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.idle()
        for number in range(1, 100):
            server.deliver("lmtp", user, mail(str(number)))
            assert client.idle_until("EXISTS")[-1] == b"* %d EXISTS" % (number + 1)


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_2_after_a_burst_the_last_state_is_told(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.idle()
        for number in range(1, 60):
            server.deliver("lmtp", user, mail(str(number)))
        told = 0
        while client.idle_until("EXISTS")[-1] != b"* 60 EXISTS":
            told += 1
        assert told < 60


@pytest.mark.private
def test_IDL_1_two_sessions_and_two_folders(make_server):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as inbox, server.imap(user) as chats:
        inbox.exists("INBOX")
        chats.exists(server.chats)
        inbox.idle()
        chats.idle()
        server.deliver("lmtp", user, chat("chat"))
        assert chats.idle_until("EXISTS")[-1] == b"* 1 EXISTS"
        server.deliver("lmtp", user, mail("ordinary"))
        assert inbox.idle_until("EXISTS")[-1] == b"* 1 EXISTS"


@pytest.mark.private
def test_IDL_3_it_can_be_turned_off(make_server):
    """Behaves as stock then: told in the end."""
    server = make_server(after=config.settings(coi_notify_instant="no"))
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.idle()
        server.deliver("lmtp", user, mail("1"))
        assert client.idle_until("EXISTS")[-1] == b"* 2 EXISTS"
