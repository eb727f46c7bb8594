# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Moves of seen chat mail that failed: what is left in INBOX is moved by the next one."""

import contextlib
import os
import shutil

import pytest
from harness.held import LOCK_OF_MOVES, Held
from harness.mails import chat, mail

pytestmark = pytest.mark.private

SEEN = "\\Seen"
FORMATS = ("maildir", "sdbox", "mdbox")


@contextlib.contextmanager
def something_in_the_way(server, user, log):
    """Where Chats is, so that nothing can be moved there."""
    mail_format = server.settings.mail_format
    name = ".COI.Chats" if mail_format == "maildir" else "mailboxes/COI/Chats"
    chats = f"{mail_format}/{name}"
    folder = server.home(user) / chats
    log.expect("Chats|coi: ")
    kept = folder.rename(folder.with_name("kept"))
    server.write(user, chats, "in the way")
    yield
    folder.unlink()
    kept.rename(folder)


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_a_seen_chat_whose_move_failed_stayed_in_INBOX(make_server, log, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    with server.imap(user) as client:
        for number in range(4):
            server.deliver("lmtp", user, chat(f"chat {number}"))
        server.deliver("lmtp", user, mail("mail"))
        client.must("SELECT INBOX")
        with something_in_the_way(server, user, log):
            client.must("STORE 1:2 +FLAGS (\\Seen)")
            client.must("STORE 3 +FLAGS (\\Seen)")
        # One that is no longer seen, or no chat any more, stays, as it would have.
        client.must("STORE 1 -FLAGS ($Chat)")
        client.must("STORE 2,5 -FLAGS (\\Seen)")
        client.must("STORE 4 +FLAGS (\\Seen)")
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {
        **{f"chat {number}": server.chats for number in (2, 3)},
        **{f"chat {number}": "INBOX" for number in (0, 1)},
        "mail": "INBOX",
    }


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_what_several_moves_have_left_is_moved_together(make_server, log, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    for number in range(4):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with something_in_the_way(server, user, log):
            for number in (1, 2, 3):
                client.must(f"STORE {number} +FLAGS (\\Seen)")
        client.must("STORE 4 +FLAGS (\\Seen)")
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {f"chat {number}": server.chats for number in range(4)}


# One format is enough: it takes 20 s.
def test_FIL_3_a_seen_chat_that_had_to_wait_too_long_stayed_in_INBOX(make_server, log):
    """Another session may take its time, with 100,000 mails. The next move takes what is left."""
    server = make_server()
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client, Held(server, user, LOCK_OF_MOVES) as held:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
        # It takes $Chat away, by which a chat is known.
        client.store("2", "FLAGS", SEEN)
        assert client.subjects(server.chats) == []
        held.end()
        client.must("SELECT INBOX")
        client.store("3", "+FLAGS", SEEN)
        assert client.subjects(server.chats) == ["chat 0", "chat 1", "chat 2"]
        assert client.subjects("INBOX") == []
    assert list(held.path.parent.glob("dovecot-coi.*")) == []
    log.expect("Can't move seen chat mail")


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_FLAGS_took_Chat_from_a_mail_that_could_not_be_moved(make_server, log, mail_format):
    """So the next move did not take it for a chat any more."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    chats = ".COI.Chats" if mail_format == "maildir" else "mailboxes/COI/Chats/dbox-Mails"
    chats = server.home(user) / mail_format / chats
    log.expect("COI|coi: ")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        chats.chmod(0)
        client.store("1", "FLAGS", SEEN)
        chats.chmod(0o700)
        client.store("2", "FLAGS", SEEN)
    assert server.where(user) == {
        "chat 0": (server.chats, {"$Chat", SEEN}),
        "chat 1": (server.chats, {"$Chat", SEEN}),
        "chat 2": ("INBOX", {"$Chat"}),
    }


def test_one_damaged_mail_kept_all_others_in_INBOX(make_server, log):
    server = make_server(mail_format="sdbox")
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}", body="text\n" * 500))
    log.expect("dbox|coi: |Rebuild|rebuild|Corrupted|EOF|copy|inconsistent")
    files = sorted(server.home(user).glob("sdbox/mailboxes/INBOX/dbox-Mails/u.*"))
    # One that can't be linked, nor read.
    files[1].unlink()
    files[1].mkdir()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.command("STORE 1:3 +FLAGS (\\Seen)")
    with server.imap(user) as client:
        assert client.subjects(server.chats) == ["chat 0", "chat 2"]


def test_the_error_of_a_FETCH_was_overwritten(make_server, log):
    server = make_server()
    user = server.coi_user("seen")
    log.expect("COI|coi: ")
    odd = chat("chat", "MIME-Version: 1.0", "Content-Transfer-Encoding: odd")
    server.deliver("lmtp", user, odd)
    shutil.rmtree(server.home(user) / "maildir/.COI.Chats")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        assert "UNKNOWN-CTE" in client.command("FETCH 1 BINARY[1]").text
        client.must("NOOP")


def test_a_move_that_failed_and_was_then_repaired_by_Dovecot_doubled_mail(make_server, log):
    """A killed sdbox process leaves files behind, which Dovecot takes for mail later on."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    log.expect("already exists, rebuilding|Rebuilding index")
    mailboxes = server.home(user) / "sdbox/mailboxes"
    (original,) = mailboxes.glob("INBOX/dbox-Mails/u.*")
    os.link(original, mailboxes / "COI/Chats/dbox-Mails/u.1")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
        assert client.exists("INBOX") == 0
        assert client.subjects(server.chats) == ["chat"]
