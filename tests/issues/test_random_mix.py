# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that tests/stress/mix and other trials with much at once have found."""

import os

import pytest
from harness.imap import Literal
from harness.mails import chat, mail


def test_the_first_keyword_of_Chats_was_lost_in_a_move(server):
    """Dovecot drops it where it merges keywords of which one stands in both lists."""
    user = server.coi_user("seen")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.chats}" (First) ', Literal(chat("other")))
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "First")
        client.store("1", "+FLAGS", "\\Seen")
    assert server.where(user)["chat"] == (server.chats, {"$Chat", "First", "\\Seen"})


@pytest.mark.private
def test_the_first_keyword_of_INBOX_was_lost_beside_Chat_of_a_script(make_server):
    server = make_server(sieve=True)
    user = server.coi_user("none")
    with server.imap(user) as client:
        client.must("APPEND INBOX (First) ", Literal(mail("other")))
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag ["$Chat", "First"];')
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", "First"})


@pytest.mark.private
def test_a_move_that_failed_and_was_then_repaired_by_Dovecot_doubled_mail(make_server, log):
    """A killed sdbox process leaves files behind, which Dovecot takes for mail later on."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    log.expect("already exists, rebuilding|Rebuilding index")
    mailboxes = server.home(user) / "sdbox/mailboxes"
    (original,) = mailboxes.glob("INBOX/dbox-Mails/u.*")
    os.link(original, mailboxes / "COI/Chats/dbox-Mails/u.1")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
        assert client.exists("INBOX") == 0
        assert client.subjects(server.chats) == ["chat"]
