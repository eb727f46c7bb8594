# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own with folders, found by a review before the first release."""

import shutil

import pytest
from harness.config import by_dialect, settings
from harness.contacts import block
from harness.mails import chat, mail
from harness.server import ROOT
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
ANOTHER_NAMESPACE = by_dialect(
    v2_3="namespace {\n  prefix = Archive/\n  separator = /\n"
    "  location = maildir:~/archive\n}\n",
    v2_4="namespace archive {\n  prefix = Archive/\n  separator = /\n"
    "  mail_path = ~/archive\n}\n",
)


@pytest.mark.parametrize("flags", ["\\Deleted \\Seen", "\\Seen \\Deleted"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
def test_FIL_3_a_mail_that_the_client_deletes_came_back_in_Chats(make_server, mail_format, flags):
    """Clients that have no MOVE: a copy to Trash, both flags in one STORE, EXPUNGE."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("CREATE Trash")
        client.must("SELECT INBOX")
        client.must("UID COPY 1 Trash")
        client.must(f"UID STORE 1 +FLAGS ({flags})")
        client.must("EXPUNGE")
        assert client.subjects("INBOX") == client.subjects(server.chats) == []
        assert client.subjects("Trash") == ["chat"]


def test_BLK_3_BLK_5_nobody_was_blocked_where_the_index_of_Contacts_is_new(make_server):
    """After a restore, or where indexes are in a tmpfs and the machine was booted."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    for path in (server.home(user) / "maildir/.COI.Contacts").glob("dovecot*"):
        if path.name != "dovecot-uidlist":
            path.unlink()
    for number in range(2):
        server.deliver("lmtp", user, mail(f"mail {number}"))
        assert server.where(user)[f"mail {number}"][0] == server.folder("Blocked")


def test_BLK_3_nobody_was_ever_blocked_where_indexes_are_in_memory(make_server):
    before = by_dialect(
        v2_3="mail_location = maildir:~/maildir:INDEX=MEMORY\n",
        v2_4="mail_index_path = MEMORY\n",
    )
    server = make_server(before=before)
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"][0] == server.folder("Blocked")


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_FIL_2_who_may_post_to_Chats_was_kept_out_where_Sieve_is_used(make_server, sieve):
    """Of a delivery, Dovecot asks the right p, and not i."""
    server = make_server(sieve=sieve, before=ACL)
    user = server.coi_user("active")
    server.write(user, "maildir/.COI.Chats/dovecot-acl", "owner lrwstpekxa\n")
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"][0] == server.chats


def test_ENA_4_ENA_9_a_rename_to_the_root_enabled_whose_Chats_was_there_already(make_server):
    """The user had disabled COI. In a maildir the root itself isn't there, so it can be taken."""
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert client.setmetadata({ENABLED: None}).ok
        client.must("CREATE Old")
        client.must("RENAME Old COI")
        assert server.chats in client.folders()
        assert client.getmetadata(ENABLED) == {ENABLED: None}


@pytest.mark.parametrize(
    "made, source, target", [("Old", "Old", "COI/Chats"), ("Old/Chats", "Old", "COI")]
)
def test_ENA_9_ENA_10_a_folder_of_another_namespace_enabled_nothing(
    make_server, made, source, target
):
    server = make_server(before=ANOTHER_NAMESPACE)
    user = server.new_user()
    with server.imap(user) as client:
        client.must(f"CREATE Archive/{made}")
        client.must(f"RENAME Archive/{source} {target}")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert {server.chats, server.contacts} <= set(client.folders())


def test_ENA_8_a_folder_of_another_namespace_by_the_names_of_ours(make_server):
    """The rules are about the folders beside INBOX."""
    server = make_server(before=ANOTHER_NAMESPACE)
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE Archive/COI/Chats")
        client.must("RENAME Archive/COI Elsewhere")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert not client.command("RENAME COI/Chats Archive/Chats").ok


@pytest.mark.parametrize("root", ["inbox/COI", "Inbox/COI"])
def test_ENA_8_the_rules_were_void_below_INBOX_in_small_letters(make_server, log, root):
    """Dovecot says INBOX/COI where the setting says otherwise, and names didn't match."""
    log.expect("coi: COI is off, because .* coi_mailbox_root begins with INBOX")
    server = make_server(after=settings(coi_mailbox_root=root))
    with server.imap(server.new_user()) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok


def test_ENA_8_the_rules_below_INBOX(make_server):
    server = make_server(after=settings(coi_mailbox_root="INBOX/COI"))
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command("RENAME INBOX/COI/Chats Elsewhere").ok


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_FIL_6_a_Chats_that_only_has_children_was_not_made_again(make_server, sieve):
    before = by_dialect(
        v2_3="mail_location = maildir:~/maildir:LAYOUT=fs\n", v2_4="mailbox_list_layout = fs\n"
    )
    server = make_server(sieve=sieve, before=before)
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE COI/Chats/Below")
        client.must("UNSUBSCRIBE COI/Chats")
    for name in ("cur", "new", "tmp"):
        shutil.rmtree(server.home(user) / "maildir/COI/Chats" / name)
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
    with server.imap(user) as client:
        assert server.chats in client.folders("LSUB")


@pytest.mark.parametrize("prefix", ["COI/", "COI/Chats/"])
@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_ENA_1_FIL_6_the_root_in_a_namespace_of_its_own(make_server, log, prefix, sieve):
    """COI could be enabled, and then there was no Chats that a client could open."""
    log.expect("coi: COI is off, because .* namespace")
    server = make_server(before=ANOTHER_NAMESPACE.replace("Archive/", prefix), sieve=sieve)
    user = server.new_user()
    with server.imap(user) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", set())


def test_ENA_1_FIL_6_the_root_by_the_name_of_an_alias(make_server, log):
    """As before: INBOX/COI/Chats is COI/Chats for a client, and we made another one."""
    log.expect("coi: COI is off, because .* namespace")
    alias = "namespace compat {\n  prefix = INBOX/\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="", v2_4="inbox") + "\n}\n"
    server = make_server(before=alias, after=settings(coi_mailbox_root="INBOX/COI"))
    user = server.new_user()
    with server.imap(user) as client:
        assert not client.setmetadata({ENABLED: "yes"}).ok
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", set())


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
