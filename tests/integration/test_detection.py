# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""DET, DET-7 and CLI-3 among it, end to end: which mail is chat.

The core's own table is in tests/unit.
"""

import pytest
from harness.config import settings
from harness.imap import Literal
from harness.lmtp import Lmtp
from harness.mails import CHAT_KINDS, chat, mail

NESTED = (
    "--b\nContent-Type: message/rfc822\n\nChat-Version: 1.0\n"
    "Message-ID: <chat$inner.1@example.org>\nSubject: inner\n\ninner\n--b--\n"
)
MULTIPART = 'Content-Type: multipart/mixed; boundary="b"'

# More than any buffer that the header block is looked through in.
LARGE = tuple(f"X-Large-{n}: {'x' * 900}" for n in range(200))

# name: (is it chat?, mail as a function of its subject)
TABLE = {
    "DET-1 any value": (True, lambda s: mail(s, "Chat-Version: whatever")),
    "DET-1 empty value": (True, lambda s: mail(s, "Chat-Version:")),
    "DET-2 message id": (True, lambda s: mail(s, message_id="<chat$a.b@example.org>")),
    "DET-2 behind a white space": (True, lambda s: mail(s, message_id="  <chat$a.c@example.org>")),
    "DET-2 in the middle only": (False, lambda s: mail(s, message_id="<x-chat$a.b@example.org>")),
    "DET-2 without the dollar": (False, lambda s: mail(s, message_id="<chat.a.b@example.org>")),
    "DET-3 first reference": (
        True,
        lambda s: mail(s, "References: <chat$a.b@example.org> <other@example.org>"),
    ),
    "DET-3 second reference": (
        False,
        lambda s: mail(s, "References: <other@example.org> <chat$a.b@example.org>"),
    ),
    "DET-3 In-Reply-To does not count": (
        False,
        lambda s: mail(s, "In-Reply-To: <chat$a.b@example.org>"),
    ),
    "DET-4 case of the name": (True, lambda s: mail(s, "cHAT-vERSION: 1.0")),
    "DET-4 folded": (True, lambda s: mail(s, "References:\n <chat$a.b@example.org>\n <o@x.org>")),
    "DET-4 behind a comment": (
        True,
        lambda s: mail(s, "References: (a (nested) comment) <chat$a.b@example.org>"),
    ),
    "DET-4 nested part": (False, lambda s: mail(s, MULTIPART, body=NESTED)),
    "DET-4 header in the body": (False, lambda s: mail(s, body="Chat-Version: 1.0\n\nHello.\n")),
    "DET-4 first one of a name": (
        False,
        lambda s: mail(s, "References: <o@x.org>", "References: <chat$a.b@example.org>"),
    ),
    "DET-4 behind many others": (True, lambda s: mail(s, *LARGE[:40], "Chat-Version: 1.0")),
    "DET-4 large header": (True, lambda s: mail(s, *LARGE, "Chat-Version: 1.0")),
    "DET-4 large header, not chat": (False, lambda s: mail(s, *LARGE)),
    "DET-4 no body": (True, lambda s: chat(s).partition(b"\n\n")[0] + b"\n"),
    "DET-4 no body, not chat": (False, lambda s: mail(s).partition(b"\n\n")[0] + b"\n"),
    "DET-4 a line that is no header": (True, lambda s: chat(s, "What is this")),
    "DET-5 group": (
        True,
        lambda s: mail(s, message_id="<chat$group.AbCd-_123456.x1@example.org>"),
    ),
    "ordinary": (False, lambda s: mail(s)),
    "no message id at all": (False, lambda s: mail(s, message_id="")),
    "no message id, but chat": (True, lambda s: chat(s, message_id="")),
}


def test_DET_1_DET_2_DET_3_DET_4_DET_5_by_a_table_of_mails(server):
    user = server.coi_user("active")
    with Lmtp(server.lmtp_address) as client:
        for name, (_, make) in TABLE.items():
            (reply,) = client.deliver([user], make(name))
            assert reply.startswith("250"), reply
    expected = {
        name: (server.chats, {"$Chat"}) if is_chat else ("INBOX", set())
        for name, (is_chat, _) in TABLE.items()
    }
    assert server.where(user) == expected


@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("message_filter", [None, "none", "active", "seen"])
def test_DET_6_every_kind_is_marked_in_every_mode(server, way, message_filter):
    user = server.coi_user(message_filter)
    for kind, make in CHAT_KINDS.items():
        server.deliver(way, user, make(kind))
    server.deliver(way, user, mail("ordinary"))
    folder = server.chats if message_filter == "active" else "INBOX"
    expected = {kind: (folder, {"$Chat"}) for kind in CHAT_KINDS}
    assert server.where(user) == {**expected, "ordinary": ("INBOX", set())}


def test_DET_6_a_user_without_COI_gets_no_mark(server):
    user = server.new_user()
    server.deliver("lmtp", user, chat("one"))
    assert server.where(user) == {"one": ("INBOX", set())}


def test_DET_6_what_a_client_appends_or_copies_is_not_marked(server):
    """Only a delivery marks."""
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("APPEND INBOX ", Literal(chat("appended")))
        client.must("SELECT INBOX")
        client.must(f'COPY 1 "{server.contacts}"')
        assert not client.mails("INBOX")[0].is_chat
        assert not client.mails(server.contacts)[0].is_chat


HANDSHAKE = (
    b"From: sender@example.org\nTo: \"hidden-recipients\": ;\nSubject: [...]\n"
    b"Message-ID: <handshake-%d@example.org>\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\n'
    b"\tboundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--b--\n"
)


@pytest.mark.private
@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("wanted", [False, True], ids=["default", "encrypted"])
def test_DET_7_CLI_3_handshakes_of_newer_clients(make_server, way, wanted):
    rules = "chat-version message-id references encrypted"
    server = make_server(after=settings(coi_chat_rules=rules) if wanted else "")
    user = server.coi_user("active")
    server.deliver(way, user, HANDSHAKE % 1)
    server.deliver(way, user, (HANDSHAKE % 2).replace(b"[...]", b"a mail"))
    server.deliver(way, user, chat("chat"))
    assert server.where(user) == {
        "[...]": (server.chats, {"$Chat"}) if wanted else ("INBOX", set()),
        "a mail": ("INBOX", set()),
        "chat": (server.chats, {"$Chat"}),
    }


@pytest.mark.private
def test_CLI_3_only_the_rules_that_are_wanted(make_server):
    server = make_server(after=settings(coi_chat_rules="message-id"))
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("by Chat-Version"))
    server.deliver("lmtp", user, mail("by id").replace(b"Message-ID: <", b"Message-ID: <chat$"))
    assert server.where(user) == {
        "by Chat-Version": ("INBOX", set()),
        "by id": (server.chats, {"$Chat"}),
    }
