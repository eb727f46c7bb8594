# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Who was blocked, and a From that hid it: of many addresses, in several fields, badly written."""

import pytest
from harness.contacts import SENDER, block
from harness.mails import mail

pytestmark = pytest.mark.private


@pytest.mark.parametrize("sender", [f"Bob: {SENDER};", f"Nobody:;, Bob <{SENDER}>"])
def test_BLK_3_a_group_in_From_hid_who_was_blocked(make_server, sender):
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    text = mail("mail").replace(b"From: ", b"From: " + sender.encode() + b"\nX-From: ", 1)
    server.deliver("lmtp", user, text)
    assert server.where(user)["mail"][0] == server.folder("Blocked")


@pytest.mark.parametrize(
    "sender",
    [
        "evil@x.y <sender@example.org>",
        "Bob @ work <sender@example.org>",
        "[list] Bob <sender@example.org>",
        "Bob (at work <sender@example.org>",
        'Bob "the builder <sender@example.org>',
        "Bob; Builder <sender@example.org>",
        "<<sender@example.org>>",
        "Bob <sender@example.org.>",
        '"send"."er"@example.org',
        # not to be lost by it
        "sender@example.org, Bob <other@example.org>",
    ],
)
def test_BLK_3_a_From_that_is_badly_written_hid_who_is_blocked(make_server, sender):
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    block(server, user, "send.er@example.org")
    server.deliver("lmtp", user, f"Subject: mail\nFrom: {sender}\n\nbody\n".encode())
    with server.imap(user) as client:
        assert client.subjects(server.folder("Blocked")) == ["mail"]


@pytest.mark.parametrize("sender", ['"sender@example.org" <other@x>', "Bob <>", "Bob"])
def test_BLK_3_whom_From_does_not_say(make_server, sender):
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, f"Subject: mail\nFrom: {sender}\n\nbody\n".encode())
    assert server.where(user)["mail"][0] == "INBOX"


def group(count, last="x@example.org"):
    """Addresses, the blocked one at that place, and another one behind it."""
    return ", ".join([f"{n}@example.org" for n in range(1, count)] + [SENDER, last])


HIDING = {
    "second field": f"From: other@example.org\nFrom: {SENDER}\n",
    "third, of other case": f"From: a@b\nSubject: x\nFROM: c@d\nfrom : {SENDER}\nFrom: e@f\n",
    "second, without a first": f"From:\nFrom: {SENDER}\n",
    "second, badly written": f"From: a@b\nFrom: x@y <{SENDER}\n",
    "100th field": "From: a@b\n" * 99 + f"From: {SENDER}\nFrom: c@d\n",
    "17th address": f"From: {group(17)}\n",
    "500th address": f"From: {group(500)}\n",
    "500th, folded": "From: " + group(500).replace(", ", ",\n ") + "\n",
    "17th of a group": f"From: Group: {group(17)};\n",
    "behind 64 KB": "X: y\n" * 15000 + f"From: a@b\nFrom: {group(17)}\n",
}


@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
@pytest.mark.parametrize("name", HIDING)
def test_BLK_3_a_From_that_hid_who_is_blocked(make_server, mail_format, name, way):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    block(server, user)
    server.deliver(way, user, f"{HIDING[name]}Subject: mail\n\nbody\n".encode())
    with server.imap(user) as client:
        folders = [each for each in ("INBOX", server.folder("Blocked")) if client.exists(each)]
        assert folders == [server.folder("Blocked")]


BEYOND = {
    "1001st address": f"From: {group(1001)}\n",
    "1001st in two fields": f"From: {group(500, 'a@b')}\n".replace(SENDER, "c@d")
    + f"From: {group(500)}\n",
    "behind 64 KB of it": f"From: {'x' * 66000} <a@b>\nFrom: {SENDER}\n",
    "after 64 KB of one": f"From: {'a@b, ' * 900}{'x' * 62000} <c@d>, {SENDER}, e@f\n",
}


@pytest.mark.parametrize("name", BEYOND)
def test_BLK_3_what_is_looked_at_of_From_is_bounded(make_server, name):
    """Who sends a mail must not keep a delivery busy, which others may wait for."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, f"{BEYOND[name]}Subject: mail\n\nbody\n".encode())
    assert server.where(user)["mail"][0] == "INBOX"


def test_BLK_3_a_From_of_many_without_who_is_blocked(make_server):
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    fields = f"From: {group(500)}\n".replace(SENDER, "sender@example.com") * 2
    # what isn't the header's From
    fields += f"X-From: {SENDER}\nFromm: {SENDER}\nReply-To: {SENDER}\nFrom {SENDER}\n"
    text = f"{fields}Subject: mail\n\nFrom: {SENDER}\n".encode()
    for way in ("lmtp", "lda"):
        server.deliver(way, user, text)
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"] * 2


def test_BLK_3_FIL_8_a_second_From_to_several_recipients(make_server):
    server = make_server()
    users = [server.coi_user("active") for _ in range(3)]
    for user in users[1:]:
        block(server, user)
    text = f"From: a@b\nSubject: mail\nFrom: {SENDER}\n\nbody\n".encode()
    server.lmtp(*users, mail=text)
    blocked = server.folder("Blocked")
    folders = [server.where(user)["mail"][0] for user in users]
    assert folders == ["INBOX", blocked, blocked]
