# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Dovecot took new mails back, called it a success, and we expunged the only copy.

The mix met the third of these on a loaded machine, in three of ninety runs on sdbox.
"""

import contextlib
import os
import signal
import threading
import time

import pytest
from harness.config import by_dialect, faults
from harness.imap import ImapError
from harness.mails import chat, mail
from harness.push import eventually
from harness.server import ROOT

# It preloads a library of its own.
pytestmark = [pytest.mark.private, pytest.mark.uninstrumented]


@pytest.fixture
def fault(work_dir):
    """A file; while it is there, storing to Chats fails behind Dovecot's back."""
    file = work_dir / "fault"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def wait(work_dir):
    """A file; while it is there, copying to Chats waits, and who has stored there."""
    file = work_dir / "wait"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def stored(work_dir):
    """A file; while it is there, who has stored or copied to Chats waits."""
    file = work_dir / "stored"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def server(make_server, fault, wait, stored, log):
    log.expect("has lost the new mails|lost uid|Rebuilding index|FETCH failed|Can't deliver|coi: ")
    before = faults(file=fault, wait=wait, stored=stored, path="/Chats/")
    return make_server(mail_format="sdbox", before=before)


def read_all(server, user):
    """Where each mail can be read, to its end. Dovecot repairs a folder that has lost one."""
    found = {}
    for folder in ("INBOX", "COI/Chats"):
        with contextlib.suppress(ImapError), server.imap(user) as client:
            client.must(f'EXAMINE "{folder}"')
            client.must("UID FETCH 1:* BODY.PEEK[]")
        with server.imap(user) as client:
            client.must(f'EXAMINE "{folder}"')
            for line in client.must("UID FETCH 1:* BODY.PEEK[]").lines("FETCH"):
                subject = line.split(b"Subject: ")[1].split(b"\r\n")[0].decode()
                found.setdefault(subject, []).append(folder)
    return found


def test_FIL_6_a_delivery(server, fault):
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("first"))
    fault.touch()
    server.deliver("lmtp", user, chat("second"))
    fault.unlink()
    server.deliver("lmtp", user, chat("third"))
    assert read_all(server, user) == {
        "first": ["COI/Chats"],
        "second": ["INBOX"],
        "third": ["COI/Chats"],
    }


def test_FIL_6_a_mail_that_is_expunged_as_soon_as_it_is_there(server, wait, log):
    """We took it for lost, and the sender sent it again."""
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("first"))
    with server.imap(user) as client:
        client.must("SELECT COI/Chats")
        wait.touch()
        delivery = threading.Thread(target=server.deliver, args=("lmtp", user, chat("second")))
        delivery.start()
        eventually(lambda: client.must("NOOP") and client.exists("COI/Chats") == 2, "stored")
        client.must("SELECT COI/Chats")
        client.must("STORE 1:* +FLAGS (\\Deleted)")
        client.must("EXPUNGE")
        wait.unlink()
        delivery.join()
    assert read_all(server, user) == {}
    assert log.count(server, "has lost") == 0


@pytest.mark.parametrize("is_repaired", [True, False], ids=["repaired", "as it is"])
def test_FIL_3_a_move_of_seen_mail(server, fault, is_repaired):
    user = server.coi_user("seen")
    for subject in ("first", "second", "third"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("UID STORE 1 +FLAGS (\\Seen)")
        fault.touch()
        client.must("UID STORE 2 +FLAGS (\\Seen)")
        fault.unlink()
    if is_repaired:
        assert read_all(server, user) == {
            "first": ["COI/Chats"],
            "second": ["INBOX"],
            "third": ["INBOX"],
        }
    # With the next one it is tried again.
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("UID STORE 3 +FLAGS (\\Seen)")
    assert read_all(server, user) == {
        subject: ["COI/Chats"] for subject in ("first", "second", "third")
    }


def kill_a_move(server, told, is_there):
    """Of a chat that is read, once is_there(user); and another one is read then."""
    user = server.coi_user("seen")
    for subject in ("first", "second"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        told.touch()
        told.chmod(0o666)
        client.send("UID STORE 1 +FLAGS (\\Seen)")
        eventually(lambda: is_there(user), "the move has come so far")
    for pid in server.children("imap"):
        os.kill(pid, signal.SIGKILL)
    told.unlink()
    with server.imap(user) as client:
        assert client.exists("INBOX") == 2
        client.must("UID STORE 2 +FLAGS (\\Seen)")
    assert read_all(server, user) == {"first": ["COI/Chats"], "second": ["COI/Chats"]}


def test_FIL_3_a_move_that_is_killed_while_it_copies(server, wait, log):
    """Nobody knew of it, and the mail stayed in INBOX: no client sets \\Seen twice."""
    log.expect("killed with signal 9")
    kill_a_move(server, wait, lambda _: wait.read_text())


def test_FIL_3_a_move_that_is_killed_between_its_halves(server, stored, log):
    """Its copies are there, and the mails are, too: the next one knows of that."""
    log.expect("killed with signal 9")

    def is_copied(user):
        with server.imap(user) as other:
            return other.exists("COI/Chats") == 1

    kill_a_move(server, stored, is_copied)


@pytest.fixture
def mdbox(make_server, fault, stored):
    return make_server(mail_format="mdbox", before=faults(file=fault, stored=stored))


def assert_moved_for_good(server, user, subjects):
    """Each is in Chats, once, also after Dovecot has removed what nothing refers to."""
    everywhere = {subject: ["COI/Chats"] for subject in subjects}
    assert read_all(server, user) == everywhere
    server.doveadm("purge", "-u", user)
    assert read_all(server, user) == everywhere


def test_FIL_3_copies_that_mdbox_does_not_count(mdbox, fault):
    """They are in Chats, and the next purge removed the mails from the disk."""
    user = mdbox.coi_user("seen")
    for subject in ("first", "second", "third", "fourth"):
        mdbox.deliver("lmtp", user, chat(subject))
    with mdbox.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("UID STORE 1 +FLAGS (\\Seen)")
        fault.touch()
        client.must("UID STORE 2:3 +FLAGS (\\Seen)")
        fault.unlink()
        client.must("UID STORE 4 +FLAGS (\\Seen)")
    assert_moved_for_good(mdbox, user, ("first", "second", "third", "fourth"))


@pytest.mark.parametrize("has_another_copy", [False, True], ids=["one copy", "two copies"])
def test_FIL_3_a_move_that_is_killed_before_mdbox_counts(mdbox, stored, log, has_another_copy):
    log.expect("killed with signal 9")
    user = mdbox.coi_user("seen")
    for subject in ("first", "second", "third"):
        mdbox.deliver("lmtp", user, chat(subject))
    with mdbox.imap(user) as client:
        client.must("SELECT INBOX")
        if has_another_copy:
            client.must("UID COPY 1 COI/Chats")
        stored.touch()
        client.send("UID STORE 1:2 +FLAGS (\\Seen)")
        with mdbox.imap(user) as other:
            count = 3 if has_another_copy else 2
            eventually(lambda: other.exists("COI/Chats") == count, "the copies are there")
    for pid in mdbox.children("imap"):
        os.kill(pid, signal.SIGKILL)
    stored.unlink()
    with mdbox.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("UID STORE 3 +FLAGS (\\Seen)")
        if has_another_copy:
            client.must("SELECT COI/Chats")
            client.must("UID STORE 1 +FLAGS (\\Deleted)")
            client.must("EXPUNGE")
    assert_moved_for_good(mdbox, user, ("first", "second", "third"))


@pytest.mark.parametrize("gone", [(3,), (1,), (2, 3), (1, 2, 3)], ids=str)
def test_FIL_3_a_mail_that_another_session_expunges_meanwhile(server, wait, gone):
    """What a dbox could not store last decides whether it unlinks all that it has stored."""
    user = server.coi_user("seen")
    for number in (1, 2, 3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client, server.imap(user) as other:
        client.must("SELECT INBOX")
        other.must("SELECT INBOX")
        wait.touch()
        store = threading.Thread(target=client.must, args=("UID STORE 1:3 +FLAGS (\\Seen)",))
        store.start()
        # The move has begun once its mails are locked, or at least seen.
        eventually(
            lambda: len(other.must("UID SEARCH SEEN").lines("SEARCH")[0].split()) == 5, "seen"
        )
        time.sleep(0.5)
        for number in gone:
            other.must(f"UID STORE {number} +FLAGS (\\Deleted)")
        other.must("EXPUNGE")
        wait.unlink()
        store.join()
    left = {f"chat {number}": ["COI/Chats"] for number in (1, 2, 3) if number not in gone}
    assert read_all(server, user) == left


@pytest.mark.parametrize("command", ["MOVE", "COPY"])
def test_a_clients_own_move(server, fault, command):
    """Dovecot's own bug, but it would be strange to leave it where we know of it."""
    user = server.coi_user("none")
    server.deliver("lmtp", user, chat("first"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        fault.touch()
        assert client.command(f"{command} 1 COI/Chats").status == "NO"
        fault.unlink()
    assert read_all(server, user) == {"first": ["INBOX"]}


@pytest.fixture
def alternate(make_server):
    """Copies are hard links, which stay in the alternate storage where there is the folder."""
    before = by_dialect(
        v2_3="mail_location = sdbox:~/sdbox:ALT=~/alternate\n",
        v2_4="mail_alt_path = ~/alternate\n",
    )
    return make_server(mail_format="sdbox", before=before)


def move_to_alternate(server, user, folder):
    server.doveadm("altmove", "-u", user, "mailbox", folder, "all")
    assert list((server.home(user) / "alternate/mailboxes" / folder).glob("**/u.*"))


@pytest.mark.parametrize("command", ["MOVE", "COPY"])
def test_FIL_7_a_copy_in_the_alternate_storage_was_called_lost(alternate, command):
    """Of users without COI, too: each such command failed, and left a copy."""
    user = alternate.new_user()
    alternate.deliver("lmtp", user, mail("in INBOX"))
    with alternate.imap(user) as client:
        client.must("CREATE Archive")
        alternate.lda(user, mail("in Archive"), "-m", "Archive")
        for folder in ("INBOX", "Archive"):
            move_to_alternate(alternate, user, folder)
        client.must("SELECT INBOX")
        client.must(f"{command} 1 Archive")
        assert client.subjects("Archive") == ["in Archive", "in INBOX"]
        assert client.subjects("INBOX") == ([] if command == "MOVE" else ["in INBOX"])


def test_FIL_3_a_move_of_seen_mail_in_the_alternate_storage_doubled_it(alternate):
    user = alternate.coi_user("active")
    alternate.deliver("lmtp", user, chat("in Chats"))
    with alternate.imap(user) as client:
        client.setmetadata({f"{ROOT}/message-filter": "seen"})
        alternate.deliver("lmtp", user, chat("in INBOX"))
        for folder in ("INBOX", alternate.chats):
            move_to_alternate(alternate, user, folder)
        client.must("SELECT INBOX")
        client.must("STORE 1 +FLAGS (\\Seen)")
    assert read_all(alternate, user) == {"in Chats": ["COI/Chats"], "in INBOX": ["COI/Chats"]}
