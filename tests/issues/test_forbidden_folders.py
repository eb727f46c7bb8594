# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Folders that an ACL or their mode forbids: it made error lines, and was SERVERBUG."""

import pytest
from harness.config import by_dialect
from harness.mails import chat
from harness.push import eventually
from harness.server import ROOT
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

SEEN = "\\Seen"
FILES = {
    ("maildir", "INBOX"): "maildir/dovecot-acl",
    ("maildir", "Chats"): "maildir/.COI.Chats/dovecot-acl",
    ("sdbox", "INBOX"): "sdbox/mailboxes/INBOX/dbox-Mails/dovecot-acl",
    ("sdbox", "Chats"): "sdbox/mailboxes/COI/Chats/dbox-Mails/dovecot-acl",
}


@pytest.mark.parametrize(
    "folder, rights",
    [("INBOX", "lrwstipka"), ("Chats", "lrwstpekxa"), ("Chats", "")],
    ids=["no e", "no i", "nothing"],
)
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_FIL_3_a_seen_chat_that_an_ACL_keeps_in_INBOX(make_server, mail_format, folder, rights):
    """It goes with the next one that is read once that is allowed."""
    server = make_server(mail_format=mail_format, before=ACL)
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    forbids = server.write(user, FILES[mail_format, folder], f"owner {rights}\n")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        for number in (1, 2):
            client.store(number, "+FLAGS", SEEN)
    in_inbox = ("INBOX", {"$Chat", SEEN})
    assert server.where(user) == {
        "chat 0": in_inbox,
        "chat 1": in_inbox,
        "chat 2": ("INBOX", {"$Chat"}),
    }
    forbids.unlink()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store(3, "+FLAGS", SEEN)
    in_chats = (server.chats, {"$Chat", SEEN})
    assert server.where(user) == dict.fromkeys(("chat 0", "chat 1", "chat 2"), in_chats)


@pytest.mark.parametrize("layout", ["", "fs"])
def test_ENA_1_folders_that_an_ACL_forbids(make_server, layout):
    layout = layout and by_dialect(
        v2_3="mail_location = maildir:~/maildir:LAYOUT=fs\n", v2_4="mailbox_list_layout = fs\n"
    )
    server = make_server(before=ACL + layout)
    user = server.new_user()
    with server.imap(user) as client:
        client.must("CREATE COI")
    where = "maildir/COI" if layout else "maildir/.COI"
    forbids = server.write(user, f"{where}/dovecot-acl", "owner lr\n")
    enabled = f"{ROOT}/enabled"
    with server.imap(user) as client:
        response = client.setmetadata({enabled: "yes"})
        assert response.status == "NO"
        assert response.text.startswith("[NOPERM] ")
        assert client.getmetadata(enabled) == {enabled: None}
    forbids.unlink()
    with server.imap(user) as client:
        assert client.setmetadata({enabled: "yes"}).ok


def test_ENA_1_a_folder_with_a_wrong_mode_is_in_the_log(make_server, log):
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    server.deliver("lmtp", user, chat("first"))
    folders = server.home(user) / "sdbox/mailboxes"
    folders.chmod(0o500)
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).status == "NO"
    eventually(lambda: log.count(server, "Can't create the COI folders") == 1, "it is logged")
    folders.chmod(0o700)


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_FIL_2_who_may_post_to_Chats_was_kept_out_where_Sieve_is_used(make_server, sieve):
    """Of a delivery, Dovecot asks the right p, and not i."""
    server = make_server(sieve=sieve, before=ACL)
    user = server.coi_user("active")
    server.write(user, "maildir/.COI.Chats/dovecot-acl", "owner lrwstpekxa\n")
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"][0] == server.chats
