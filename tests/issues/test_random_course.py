# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that random courses of folder operations and deliveries have found."""

import shutil

import pytest
from harness.contacts import block
from harness.contacts_index import index_of
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private


@pytest.mark.parametrize("folder", ["Chats", "Contacts"])
def test_FIL_2_FIL_9_a_folder_of_ours_that_is_not_there_is_no_choice(make_server, folder):
    """Dovecot takes INBOX for it, and then COI's rules are those of INBOX."""
    server = make_server()
    user = server.coi_user("active")
    shutil.rmtree(server.home(user) / f"maildir/.COI.{folder}")
    done = server.lda(user, chat("chat"), "-m", server.folder("COI", folder))
    assert done.returncode == 0, done
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})


@pytest.mark.parametrize("ours", [False, True], ids=["new contact", "no index"])
def test_BLK_3_nobody_was_blocked_after_the_loss_of_dovecot_uidlist(make_server, ours):
    """Until a client opened Contacts: a mail without a file counted as expunged."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, mail("before"))
    block(server, user, "other@example.org")
    index = index_of(server, user)
    index.with_name("dovecot-uidlist").unlink()
    if ours:
        index.unlink()
    for number in range(2):
        text = mail(f"mail {number}").replace(b"sender@", b"other@")
        server.deliver("lmtp", user, text)
        server.deliver("lmtp", user, mail(f"more {number}"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == []
        assert client.exists(server.contacts) == 2


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
