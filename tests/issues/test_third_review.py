# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by a third review before the first release."""

import hashlib

import pytest
from harness.config import by_dialect, metadata_dict, settings
from harness.contacts import SENDER, block
from harness.doveadm import dsync
from harness.mails import chat, mail
from harness.server import ROOT
from test_fail_open import NO_STORAGE
from test_second_review import DETAIL

pytestmark = pytest.mark.private


@pytest.mark.parametrize(
    "entry, value", [("enabled", "true"), ("mailbox-root", "Elsewhere"), ("foo", "bar")]
)
def test_CFG_6_an_entry_that_we_refuse_kept_dsync_from_copying_INBOX(make_server, entry, value):
    """What another server has stored is for it to judge, and no reason to leave mail there."""
    before = metadata_dict("dovecot-attributes") + "protocol imap {\n  imap_metadata = yes\n}\n"
    source, target = make_server(coi=False, before=before), make_server()
    user = source.new_user()
    with source.imap(user) as client:
        client.must(f'SETMETADATA "" ({ROOT}/{entry} "{value}")')
    for number in range(3):
        source.deliver("lmtp", user, mail(f"mail {number}"))
    for how in ("backup", "sync"):
        done = dsync(source, user, target, how)
        assert done.returncode == 0, done.stderr
        with target.imap(user) as client:
            assert client.subjects("INBOX") == ["mail 0", "mail 1", "mail 2"]
            assert client.getmetadata(f"{ROOT}/enabled") == {
                f"{ROOT}/enabled": b"true" if entry == "enabled" else None
            }


@pytest.mark.parametrize(
    "target",
    [{"after": settings(coi_mailbox_root="a*b")}, {"coi": False, "before": NO_STORAGE}],
    ids=["bad setting", "no dict"],
)
def test_dsync_to_a_server_that_has_no_place_for_metadata(make_server, log, target):
    """It copied no mail at all. Our own servers, at least, don't ask for that."""
    log.expect("COI is off, because")
    source, target = make_server(), make_server(**target)
    user = source.coi_user("active")
    source.deliver("lmtp", user, mail("mail"))
    dsync(source, user, target)
    with target.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"]


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


def test_RENAME_INBOX_took_the_entries_away(make_server):
    """dbox gives INBOX's GUID, on which they hang, to the new folder."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        response = client.command("RENAME INBOX Old")
        assert response.status == "NO"
        assert "COI" in response.text
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
        assert client.setmetadata({f"{ROOT}/enabled": None}).ok
        client.must("RENAME INBOX Old")
        assert client.subjects("Old") == ["mail"]


def test_RENAME_INBOX_before_COI_is_enabled(make_server):
    """The session goes on with the entries of the new one."""
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        client.getmetadata(ROOT, depth=1)
        client.must("RENAME INBOX Old")
        assert client.setmetadata({f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": "seen"}).ok
        server.deliver("lmtp", user, chat("chat"))
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
        assert client.subjects(server.chats) == ["chat"]


def test_RENAME_INBOX_took_push_subscriptions_away(make_server, subscriber):
    """Of a user who has no COI, too."""
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    with server.imap(user) as client:
        response = client.command("RENAME INBOX Old")
        assert response.status == "NO"
        assert "subscriptions" in response.text
        assert one.remove().ok
        client.must("RENAME INBOX Old")


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_ENA_9_Chats_that_came_with_its_parent_enabled_nothing(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    with server.imap(user) as client:
        client.must("CREATE Foo/Chats")
        client.must("RENAME Foo COI")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
        assert server.contacts in client.folders()
