# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Folders that the detail of an address chooses, or dovecot-lda -m.

Any sender can write a detail, so it must get nobody round blocking, nor into Contacts.
"""

import hashlib
import shutil

import pytest
from harness.config import by_dialect
from harness.contacts import SENDER, block
from harness.mails import chat, mail
from harness.server import ROOT
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

DETAIL = "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"


def test_BLK_3_a_detail_made_blocked_mail_push(make_server, subscriber):
    server = make_server(before=DETAIL)
    one = subscriber(server, server.coi_user("active")).subscribe()
    block(server, one.user)
    with server.imap(one.user) as client:
        client.must("CREATE Work")
    for number in range(3):
        server.lmtp(f"{one.user}+Work", mail=mail(f"blocked {number}"))
    server.lmtp(f"{one.user}+Work", mail=mail("last").replace(SENDER.encode(), b"good@example.org"))
    assert one.until("last") == ["last"]
    # FIL-9: it is still where it was sent to.
    assert {folder for folder, _ in server.where(one.user).values()} >= {"Work"}


def test_FIL_9_dovecot_lda_was_not_let_into_Contacts(make_server):
    """An address with a detail isn't either, and shall not be: it says who is blocked."""
    server = make_server(before=DETAIL)
    user = server.coi_user("active")
    done = server.lda(user, mail("by lda"), "-m", server.contacts)
    assert done.returncode == 0, done.stderr
    server.lmtp(f"{user}+{server.contacts}", mail=mail("by lmtp"))
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {"by lda": server.contacts, "by lmtp": "INBOX"}


def test_strangers_could_write_contacts(make_server):
    server = make_server(
        before="lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"
        "lda_mailbox_autocreate = yes\n"
    )
    user = server.new_user()
    blocking = mail(
        "blocking",
        "Chat-Content: contact",
        "COI-Blocked: yes",
        f"COI-From-Hash: {hashlib.sha3_256(b'sender@example.org').hexdigest()}",
    )
    for _ in ("before COI is enabled", "and after"):
        (reply,) = server.lmtp(f"{user}+COI/Contacts", mail=blocking)
        assert reply.startswith("250")
        with server.imap(user) as client:
            assert client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
            assert client.exists("INBOX") == 1
            client.store("1", "+FLAGS", "\\Deleted")
            client.must("EXPUNGE")
    server.deliver("lmtp", user, mail("honest"))
    assert {folder for folder, _ in server.where(user).values()} == {"INBOX"}


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("prefix", ["", "INBOX/"])
def test_BLK_3_the_detail_of_an_address_got_round_blocking(make_server, log, sieve, prefix):
    """A folder that isn't there is no choice, and nobody may choose Chats for a blocked mail."""
    log.expect("nosuch")
    server = make_server(before=DETAIL, sieve=sieve, prefix=prefix)
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f"CREATE {prefix}Work")
    server.lmtp(f"{user}+nosuch", mail=chat("chat"))
    block(server, user)
    for detail in ("nosuch", "INBOX", "COI/Chats", "Work"):
        (reply,) = server.lmtp(f"{user}+{detail}", mail=mail(detail))
        assert reply.startswith("250")
    blocked = (server.folder("Blocked"), set())
    assert {subject: where for subject, where in server.where(user).items() if subject} == {
        "chat": (server.chats, {"$Chat"}),
        "nosuch": blocked,
        "INBOX": blocked,
        "COI/Chats": blocked,
        "Work": (server.folder("Work"), set()),
    }


@pytest.mark.parametrize(
    "prefix, alias, detail", [("INBOX/", "", "COI/Contacts"), ("", "old/", "old/COI/Contacts")]
)
def test_BLK_1_strangers_wrote_contacts_by_the_name_in_an_alias(make_server, prefix, alias, detail):
    namespace = f"namespace compat {{\n  prefix = {alias}\n  separator = /\n  hidden = yes\n"
    namespace += f"  list = no\n  alias_for = {by_dialect(v2_3=prefix, v2_4='inbox')}\n}}\n"
    server = make_server(prefix=prefix, before=DETAIL + namespace)
    user = server.coi_user("active")
    sender = hashlib.sha3_256(SENDER.encode()).hexdigest()
    contact = ("Chat-Content: contact", "COI-Blocked: yes", f"COI-From-Hash: {sender}")
    (reply,) = server.lmtp(f"{user}+{detail}", mail=mail("contact", *contact))
    assert reply.startswith("250")
    server.deliver("lmtp", user, mail("honest"))
    assert server.where(user) == {"contact": ("INBOX", set()), "honest": ("INBOX", set())}


DETAIL_THAT_MAKES = (
    "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\nlda_mailbox_autocreate = yes\n"
)


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("detail", ["a//b", "Work"], ids=["impossible", "forbidden"])
def test_FIL_2_BLK_3_FIL_9_it_got_round_the_filter_and_blocking(make_server, log, sieve, detail):
    """Dovecot stores to INBOX then, so it is no choice. Any sender can have that."""
    log.expect("sieve: ")
    server = make_server(before=DETAIL_THAT_MAKES + ACL, sieve=sieve)
    users = {mode: server.coi_user(mode) for mode in ("none", "active")}
    for user in users.values():
        with server.imap(user) as client:
            client.must("CREATE Work")
        server.write(user, "maildir/.Work/dovecot-acl", "owner lr\n")

    def send(text):
        for user in users.values():
            (reply,) = server.lmtp(f'"{user}+{detail}"', mail=text)
            assert reply.startswith("250"), reply

    send(chat("chat"))
    send(mail("mail"))
    for user in users.values():
        block(server, user)
    send(chat("blocked chat"))
    send(mail("blocked mail"))
    blocked = server.folder("Blocked")
    for mode, user in users.items():
        assert {name: where for name, where in server.where(user).items() if name} == {
            "chat": (server.chats if mode == "active" else "INBOX", {"$Chat"}),
            "mail": ("INBOX", set()),
            "blocked chat": (blocked, {"$Chat"}),
            "blocked mail": (blocked, set()),
        }


@pytest.mark.parametrize("folder", ["Chats", "Contacts"])
def test_FIL_2_FIL_9_a_folder_of_ours_that_is_not_there_is_no_choice(make_server, folder):
    """Dovecot takes INBOX for it, and then COI's rules are those of INBOX."""
    server = make_server()
    user = server.coi_user("active")
    shutil.rmtree(server.home(user) / f"maildir/.COI.{folder}")
    done = server.lda(user, chat("chat"), "-m", server.folder("COI", folder))
    assert done.returncode == 0, done
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
