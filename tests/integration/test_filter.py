# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-1, FIL-2, FIL-4, CLI-2: where a chat mail is stored, and how others see that."""

import imaplib
import itertools

import pytest
from harness.mails import CHAT_KINDS, chat, mail

FORMATS = ("maildir", "sdbox", "mdbox", "mbox")
WAYS = ("lmtp", "lda")


@pytest.mark.parametrize("way", WAYS)
def test_FIL_1_none_leaves_chat_mail_where_it_would_have_gone(server, way):
    user = server.coi_user("none")
    server.deliver(way, user, chat("chat"))
    server.deliver(way, user, mail("ordinary"))
    assert server.where(user) == {"chat": ("INBOX", {"$Chat"}), "ordinary": ("INBOX", set())}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CHAT_KINDS)
def test_FIL_2_FIL_4_active_stores_chat_mail_in_Chats(server, way, kind):
    user = server.coi_user("active")
    server.deliver(way, user, CHAT_KINDS[kind](kind))
    server.deliver(way, user, mail("ordinary"))
    assert server.where(user) == {kind: (server.chats, {"$Chat"}), "ordinary": ("INBOX", set())}


@pytest.mark.private
@pytest.mark.parametrize(
    "mail_format, sieve, way, prefix",
    [(*rest, "") for rest in itertools.product(FORMATS, (False, True), WAYS)]
    + [("maildir", sieve, way, "INBOX/") for sieve in (False, True) for way in WAYS],
)
def test_FIL_4_in_every_setup(make_server, mail_format, sieve, way, prefix):
    server = make_server(mail_format=mail_format, sieve=sieve, prefix=prefix)
    user = server.coi_user("active")
    server.deliver(way, user, chat("chat"))
    server.deliver(way, user, mail("ordinary"))
    assert server.where(user) == {"chat": (server.chats, {"$Chat"}), "ordinary": ("INBOX", set())}


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_2_an_IDLE_on_INBOX_stays_silent(make_server, mail_format):
    """No timing: the ordinary mail behind the chat mail is the first that IDLE tells of."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    server.deliver("lmtp", user, mail("first"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.idle()
        for number in range(3):
            server.deliver("lmtp", user, chat(f"chat {number}"))
        server.deliver("lmtp", user, mail("second"))
        lines = client.idle_until("EXISTS")
        assert lines[-1] == b"* 2 EXISTS"
        assert not [line for line in lines if b"EXPUNGE" in line or b"VANISHED" in line]
        rest = client.done().untagged
        assert not [line for line in rest if b"EXISTS" in line or b"EXPUNGE" in line]


def test_FIL_2_an_IDLE_on_Chats_is_told(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert client.exists(server.chats) == 0
        client.idle()
        server.deliver("lmtp", user, chat("chat"))
        assert client.idle_until("EXISTS")[-1] == b"* 1 EXISTS"
        client.done()


def test_FIL_2_INBOX_has_never_seen_the_mail(server):
    """Not stored there and moved away: UIDNEXT stays."""
    user = server.coi_user("active")
    with server.imap(user) as client:
        before = client.must("STATUS INBOX (UIDNEXT MESSAGES RECENT)").untagged
        server.deliver("lmtp", user, chat("chat"))
        assert client.must("STATUS INBOX (UIDNEXT MESSAGES RECENT)").untagged == before


def test_FIL_2_a_deleted_Contacts_folder_does_not_matter(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'DELETE "{server.contacts}"')
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})


def test_CLI_2_an_ordinary_client_sees_no_chats_in_INBOX_and_opens_Chats_as_any_folder(server):
    """Python's own client, which knows nothing of COI, and not the one of these tests."""
    user = server.coi_user("active")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    server.deliver("lmtp", user, mail("ordinary"))

    def subjects(client, folder):
        assert client.select(f'"{folder}"')[0] == "OK"
        _, (numbers,) = client.search(None, "ALL")
        found = []
        for number in numbers.split():
            _, answer = client.fetch(number, "(BODY[HEADER.FIELDS (SUBJECT)])")
            found.append(answer[0][1].decode().strip().removeprefix("Subject: "))
        return found

    with imaplib.IMAP4(*server.imap_address) as client:
        client.login(user, server.password)
        _, listed = client.list()
        assert any(line.decode().endswith(server.chats) for line in listed)
        assert subjects(client, "INBOX") == ["ordinary"]
        assert subjects(client, server.chats) == ["chat 0", "chat 1", "chat 2"]
        assert client.copy("1", "INBOX")[0] == "OK"
        assert subjects(client, "INBOX") == ["ordinary", "chat 0"]
