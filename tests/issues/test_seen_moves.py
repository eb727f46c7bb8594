# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Moves of seen chat mail that did too much: doubled it, followed a link, moved what the client
was deleting or changing, or left a copy for ever."""

import fcntl
import os
import signal
from pathlib import Path

import pytest
from harness.config import by_dialect, metadata_dict, plugins, settings
from harness.held import inbox_dir, is_waited_for
from harness.imap import Literal
from harness.mails import chat
from harness.push import eventually
from harness.server import ROOT


@pytest.mark.private
def test_racing_sessions_doubled_mail_where_the_index_is_in_memory(make_server):
    in_memory = by_dialect(
        v2_3="mail_location = maildir:~/maildir:INDEX=MEMORY\n", v2_4="mail_index_path = MEMORY\n"
    )
    server = make_server(before=in_memory)
    for _ in range(3):
        user = server.coi_user("seen")
        for number in range(10):
            server.deliver("lmtp", user, chat(f"chat {number}"))
        clients = [server.imap(user) for _ in range(6)]
        for client in clients:
            client.must("SELECT INBOX")
        tags = [client.send("STORE 1:10 +FLAGS (\\Seen)") for client in clients]
        for client, tag in zip(clients, tags):
            client.finish(tag)
            client.close()
        with server.imap(user) as client:
            assert client.subjects(server.chats) == [f"chat {number}" for number in range(10)]
            assert client.exists("INBOX") == 0


@pytest.mark.private
def test_a_symlink_in_place_of_the_journal_was_followed(make_server, log):
    server = make_server()
    log.expect("coi: ")
    user = server.coi_user("seen")
    precious = server.write(user, "precious", "text")
    for name in ("dovecot-coi.moving", "dovecot-coi.moving.tmp"):
        (server.home(user) / "maildir" / name).symlink_to(precious)
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.command("STORE 1 +FLAGS (\\Seen)")
    assert precious.read_text() == "text"


@pytest.mark.private
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


FOLDER_KEYS = plugins("mail_crypt") + by_dialect(
    v2_3=settings(mail_crypt_curve="secp521r1", mail_crypt_save_version="2"),
    v2_4="crypt_user_key_curve = secp521r1\n",
)


@pytest.mark.private
def test_FIL_3_a_purge_left_what_a_move_had_encrypted_anew(make_server):
    """A copy for the key of another folder is no reference in an mdbox, and we counted it."""
    server = make_server(
        mail_format="mdbox", before=metadata_dict("dovecot-attributes"), after=FOLDER_KEYS
    )
    user = server.coi_user("seen")
    size = 100_000
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}", body="x" * 70 * (size // 70)))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("STORE 1:* +FLAGS (\\Seen)")
        assert client.subjects(server.chats) == ["chat 0", "chat 1", "chat 2"]
    server.doveadm("purge", "-u", user)
    storage = server.home(user) / "mdbox/storage"
    assert 3 * size < sum(path.stat().st_size for path in storage.glob("m.*")) < 4 * size
    with server.imap(user) as client:
        client.must(f'SELECT "{server.chats}"')
        assert client.must("FETCH 1:* BODY.PEEK[]").ok


def test_the_first_keyword_of_Chats_was_lost_in_a_move(server):
    """Dovecot drops it where it merges keywords of which one stands in both lists."""
    user = server.coi_user("seen")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.chats}" (First) ', Literal(chat("other")))
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "First")
        client.store("1", "+FLAGS", "\\Seen")
    assert server.where(user)["chat"] == (server.chats, {"$Chat", "First", "\\Seen"})


@pytest.mark.private
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_FIL_3_another_session_moved_a_mail_that_was_about_to_be_changed(
    fresh_server, mail_format, is_told
):
    """One that was \\Seen, and had stayed: the flag that came with \\Seen once more was lost."""
    server = fresh_server(mail_format=mail_format)
    user = server.coi_user("none")
    for name in ("stayed", "another"):
        server.deliver("lmtp", user, chat(name))
    log = inbox_dir(server, user) / "dovecot.index.log"
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        (session,) = server.children("imap")
        with server.imap(user) as other:
            other.must("SELECT INBOX")
            other.store("1", "+FLAGS", "\\Seen")
            if is_told:
                client.must("NOOP")
            assert other.setmetadata({f"{ROOT}/message-filter": "seen"}).ok
            with log.open("r+") as log_file:
                # No session can commit anything.
                fcntl.lockf(log_file, fcntl.LOCK_EX)
                tag = client.send("STORE 1 +FLAGS.SILENT (\\Flagged \\Seen)")
                eventually(lambda: is_waited_for(log), "it is about to commit that")
                os.kill(session, signal.SIGSTOP)
                status = Path(f"/proc/{session}/status")
                eventually(lambda: "T (stopped)" in status.read_text(), "it has stopped")
            try:
                other.store("2", "+FLAGS", "\\Seen")
            finally:
                os.kill(session, signal.SIGCONT)
        assert client.finish(tag).ok
    assert server.where(user) == {
        "stayed": (server.chats, {"$Chat", "\\Seen", "\\Flagged"}),
        "another": (server.chats, {"$Chat", "\\Seen"}),
    }
