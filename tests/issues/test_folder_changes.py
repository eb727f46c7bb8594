# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Folders that are made, renamed or lost: Chats and what is above it, and INBOX, on which the
entries hang."""

import shutil

import pytest
from harness.config import by_dialect, dialect
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
LAYOUTS = {
    "maildir++": "",
    "fs": by_dialect(
        v2_3="mail_location = maildir:~/maildir:LAYOUT=fs\n", v2_4="mailbox_list_layout = fs\n"
    ),
    # a folder is a file, and what has others in it a directory
    "mbox": "mailbox_list_index = no\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ENA_9_Chats_created_with_a_separator_behind_it_enabled_nothing(make_server, layout):
    """Which says that it is to have others in it. Most layouts make it one for mail, too."""
    mail_format = "mbox" if layout == "mbox" else "maildir"
    server = make_server(before=LAYOUTS[layout], mail_format=mail_format)
    user = server.new_user()
    with server.imap(user) as client:
        # in 2.4 that is then one for mail, which as an mbox can't have others in it
        if layout != "mbox":
            client.must("CREATE COI/")
        client.must("CREATE COI/Chats/")
        made = server.chats in client.folders()
        assert made == (layout == "maildir++" or dialect() == "2.4")
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes" if made else None}
        assert (server.contacts in client.folders()) == made
        assert (server.chats in client.folders("LSUB")) == made


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_ENA_9_Chats_that_came_with_its_parent_enabled_nothing(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    with server.imap(user) as client:
        client.must("CREATE Foo/Chats")
        client.must("RENAME Foo COI")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
        assert server.contacts in client.folders()


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


@pytest.mark.parametrize("by_doveadm", [False, True], ids=["imap", "doveadm"])
def test_ENA_9_a_folder_below_a_Chats_that_was_deleted_becomes_Chats(make_server, by_doveadm):
    """Dovecot's list index had it there still, since it has a folder below it."""
    server = make_server()
    user = server.coi_user()
    names = [f"{server.chats}/Sub", server.chats]
    with server.imap(user) as client:
        client.must(f"CREATE {names[0]}")
        client.folders()
        client.must(f"DELETE {server.chats}")
        if not by_doveadm:
            client.must(f"RENAME {' '.join(names)}")
    if by_doveadm:
        server.doveadm("mailbox", "rename", "-u", user, *names)
    with server.imap(user) as client:
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
