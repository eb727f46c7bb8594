# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mail in mbox files, with INBOX elsewhere than the folders: all that COI does, and mail to
several recipients."""

import hashlib

import pytest
from harness.config import by_dialect
from harness.imap import Literal
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private


def mbox_as_debian_has_it():
    """The default of Debian 12 and 13: INBOX elsewhere than the folders, and both kinds of lock."""
    return by_dialect(
        v2_3="mail_location = mbox:~/mail:INBOX=~/spool\nmbox_write_locks = fcntl dotlock\n",
        v2_4="mail_path = %{home}/mail\nmail_inbox_path = %{home}/spool\n"
        "mbox_write_locks {\n  fcntl = yes\n  dotlock = yes\n}\n",
    )


@pytest.mark.parametrize("sieve", [False, True], ids=["", "sieve"])
@pytest.mark.parametrize("message_filter", ["none", "active", "seen"])
def test_FIL_1_FIL_2_FIL_3_MSG_1_BLK_3_mbox(make_server, subscriber, message_filter, sieve):
    server = make_server(mail_format="mbox", after=mbox_as_debian_has_it(), sieve=sieve)
    user = server.coi_user(message_filter)
    phone = subscriber(server, user).subscribe()
    for way in ("lmtp", "lda"):
        server.deliver(way, user, mail(f"mail by {way}"))
        server.deliver(way, user, chat(f"chat by {way}"))
        phone.until(f"chat by {way}")
    delivered = server.chats if message_filter == "active" else "INBOX"
    chats = {f"chat by {way}": (delivered, {"$Chat"}) for way in ("lmtp", "lda")}
    mails = {f"mail by {way}": ("INBOX", set()) for way in ("lmtp", "lda")}
    assert server.where(user) == chats | mails
    with server.imap(user) as client:
        for push in phone.pushes(4):
            (found,) = [
                found
                for found in client.mails(push.payload["folder"])
                if found.uid == push.payload["uid"]
            ]
            assert found.subject == push.payload["subject"]
        # another session has it open meanwhile
        with server.imap(user) as other:
            other.must("SELECT INBOX")
            client.must("SELECT INBOX")
            client.store("1:*", "+FLAGS", "\\Seen")
            other.must("NOOP")
    seen = server.chats if message_filter == "seen" else delivered
    flags = set() if message_filter == "active" else {"\\Seen"}
    assert server.where(user) == {name: (seen, {"$Chat"} | flags) for name in chats} | {
        name: ("INBOX", {"\\Seen"}) for name in mails
    }
    sender = hashlib.sha3_256(b"sender@example.org").hexdigest()
    contact = mail("c", "Chat-Content: contact", f"COI-From-Hash: {sender}", "COI-Blocked: yes")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(contact.replace(b"\n", b"\r\n")))
    server.deliver("lmtp", user, chat("blocked"))
    assert server.where(user)["blocked"] == ("Blocked", {"$Chat"})
    with server.imap(user) as client:
        client.must(f'DELETE "{server.chats}"')
        assert f"{ROOT}/enabled" not in client.getmetadata(ROOT, depth=1)


def text_of(server, user, folder):
    with server.imap(user) as client:
        client.must(f'SELECT "{folder}"')
        (line,) = client.must("FETCH 1 BODY.PEEK[]").lines("FETCH")
    return line[line.index(b"\r\nFrom: ") :]


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("make", [mail, chat])
def test_FIL_7_FIL_8_an_mbox_got_no_header_of_a_mail_to_several(
    make_server, subscriber, make, sieve
):
    """What is copied to others is read from a stream that forgets what has been looked at."""
    server = make_server(mail_format="mbox", sieve=sieve)
    users = [server.new_user(), server.coi_user("active"), server.new_user()]
    last = subscriber(server, users[2]).subscribe()
    folders = ["INBOX", server.chats if make is chat else "INBOX", "INBOX"]
    server.lmtp(*users, mail=make("to all"))
    for user, folder in zip(users, folders):
        assert {subject: where for subject, (where, _) in server.where(user).items()} == {
            "to all": folder
        }
    texts = {text_of(server, user, folder) for user, folder in zip(users, folders)}
    assert len(texts) == 1
    (push,) = last.pushes(1)
    assert push.payload["subject"] == "to all"
    assert push.payload["content"].strip() == "Hello."
