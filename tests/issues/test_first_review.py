# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by review before the first release."""

import hashlib
import os
import shutil

import pytest
from harness.config import by_dialect
from harness.imap import Literal
from harness.mails import chat, mail
from harness.server import MAIL_UID, ROOT

FILTER = f"{ROOT}/message-filter"
SEEN = "\\Seen"


@pytest.mark.private
def test_a_user_without_a_home_lost_all_service(make_server):
    """Dovecot 2.3 refuses a user for whom a setting of any plugin has an empty %h."""
    server = make_server(home=False)
    user = server.new_user()
    for make in (mail, chat):
        (reply,) = server.lmtp(user, mail=make(make.__name__))
        assert reply.startswith("250")
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["chat", "mail"]
        assert "COI" not in client.capabilities()


@pytest.mark.private
def test_a_backup_moved_mail_in_the_copy(make_server):
    server = make_server()
    user = server.coi_user("none")
    server.deliver("lmtp", user, chat("chat"))
    backup = server.home(user) / "backup"
    for step in range(3):
        done = server.run("doveadm", "backup", "-u", user, f"maildir:{backup}")
        assert done.returncode == 0, done.stderr
        if step == 0:
            with server.imap(user) as client:
                client.must("SELECT INBOX")
                client.store("1", "+FLAGS", SEEN)
                assert client.setmetadata({FILTER: "seen"}).ok
    assert len(list(backup.glob("cur/*"))) == 1
    assert not list(backup.glob(".COI.Chats/cur/*"))


def test_a_refused_literal_hung_the_session(server):
    """Dovecot asks for no further literal once an entry has been refused."""
    user = server.new_user()
    with server.imap(user) as client:
        before = client.getmetadata(ROOT, depth=1)
        entries = {f"{ROOT}/enabled": Literal("Yes"), FILTER: Literal("active")}
        assert client.setmetadata(entries).status == "NO"
        entries = {f"{ROOT}/enabled": Literal(b"y\0s", binary=True), FILTER: Literal("x" * 100_000)}
        assert client.setmetadata(entries).status == "NO"
        assert client.getmetadata(ROOT, depth=1) == before
        assert client.folders() == ["INBOX"]


@pytest.mark.private
def test_Chat_set_by_the_users_own_script_was_taken_away(make_server):
    server = make_server(sieve=True)
    user = server.new_user()
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag ["$Chat", "Mine"];')
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"] == ("INBOX", {"$Chat", "Mine"})


@pytest.mark.private
def test_a_script_ran_twice_where_Chats_was_unusable(make_server, log):
    server = make_server(sieve=True)
    user = server.coi_user("active")
    script = 'require ["copy", "fileinto", "mailbox"]; fileinto :copy :create "Other"; keep;'
    server.write(user, ".dovecot.sieve", script)
    log.expect("COI|coi: |unsuccessful implicit keep")
    for name in ("new", "cur", "tmp"):
        (server.home(user) / "maildir/.COI.Chats" / name).chmod(0o500)
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        assert client.subjects("Other") == ["chat"]
        assert client.subjects("INBOX") == ["chat"]


@pytest.mark.private
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


@pytest.mark.private
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
def test_the_folder_rules_were_void_in_an_alias_namespace(make_server):
    alias = "namespace compat {\n  prefix = old/\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="", v2_4="inbox") + "\n}\n"
    server = make_server(before=alias)
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command("RENAME old/COI/Chats old/Elsewhere").ok
        assert not client.command("RENAME old/COI old/Elsewhere").ok
        client.must("DELETE old/COI/Chats")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": None}


@pytest.mark.private
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


@pytest.mark.private
@pytest.mark.parametrize("name", ["maildir/.COI.Contacts/dovecot-coi.contacts"])
def test_a_FIFO_in_place_of_an_index_held_up_deliveries(make_server, name):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(b"Chat-Content: contact\r\n\r\n"))
    path = server.home(user) / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    os.chown(path, MAIL_UID, MAIL_UID)
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"][0] == "INBOX"


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


def test_endless_contacts_could_exhaust_a_delivery(server):
    """A header of many megabytes is no contact."""
    user = server.coi_user("active")
    hashes = "".join(f"COI-From-Hash: {number:064x}\r\n" for number in range(100_000))
    ours = f"COI-From-Hash: {hashlib.sha3_256(b'sender@example.org').hexdigest()}\r\n"
    text = f"Chat-Content: contact\r\nCOI-Blocked: yes\r\n{ours}{hashes}\r\n".encode()
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(text))
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"]
