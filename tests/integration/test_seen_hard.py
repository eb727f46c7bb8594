# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-3 where it is hard: many mails, watchers, a full disk, a killed process.

What is random has a fixed seed, and whatever the moment is, the same must come out.
"""

import collections
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness.imap import Imap, ImapError, Literal
from harness.mails import chat, mail
from harness.server import MAIL_UID, ROOT

pytestmark = pytest.mark.private
FORMATS = ("maildir", "sdbox", "mdbox")
SEEN = "\\Seen"


def patient(server, user):
    client = Imap(server.imap_address, timeout=300)
    client.login(user, server.password)
    return client


def append_chats(client, names, body="text\n"):
    """All with one command (RFC 3502)."""
    parts = ["APPEND INBOX"]
    for name in names:
        parts += [" ($Chat) ", Literal(chat(name, body=body))]
    client.must(*parts)


def see_all(client):
    if client.exists("INBOX"):
        client.store("1:*", "+FLAGS.SILENT", SEEN)


def subjects(server, client):
    """How often each mail is in INBOX and Chats."""
    inbox = collections.Counter(client.subjects("INBOX"))
    return inbox, collections.Counter(client.subjects(server.chats))


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_ten_thousand_mails_at_once(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    names = [f"chat {number:05}" for number in range(10_000)]
    with patient(server, user) as client:
        append_chats(client, names)
        see_all(client)
        assert client.exists("INBOX") == 0
        assert client.subjects(server.chats) == names


# -- those who watch --


def modseq(client, folder):
    (line,) = client.must(f'STATUS "{folder}" (HIGHESTMODSEQ)').lines("STATUS")
    return int(re.search(rb"HIGHESTMODSEQ (\d+)", line).group(1))


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_CONDSTORE_and_QRESYNC_tell_of_the_move(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    with server.imap(user) as client, server.imap(user) as condstore, server.imap(user) as qresync:
        append_chats(client, [f"chat {number}" for number in range(5)])
        condstore.must("ENABLE CONDSTORE")
        qresync.must("ENABLE QRESYNC")
        text = b"".join(qresync.must("SELECT INBOX").untagged)
        condstore.must("SELECT INBOX")
        uidvalidity = re.search(rb"UIDVALIDITY (\d+)", text).group(1).decode()
        before, chats_before = modseq(client, "INBOX"), modseq(client, server.chats)

        client.must("SELECT INBOX")
        client.store("2:4", "+FLAGS", SEEN)
        after = modseq(client, "INBOX")
        assert after > before
        assert modseq(client, server.chats) > chats_before

        lines = condstore.must("NOOP").untagged
        assert sum(b"EXPUNGE" in line for line in lines) == 3
        assert condstore.must("UID SEARCH ALL").untagged == [b"* SEARCH 1 5"]
        lines = qresync.must("NOOP").untagged
        assert b"* VANISHED 2:4" in lines
        assert not any(b"EXPUNGE" in line for line in lines)

        # What the client would ask for that has been away meanwhile.
        qresync.must("UNSELECT")
        response = qresync.must(f"SELECT INBOX (QRESYNC ({uidvalidity} {before}))")
        assert b"* VANISHED (EARLIER) 2:4" in response.untagged
        told = re.search(rb"HIGHESTMODSEQ (\d+)", b"".join(response.untagged))
        assert int(told.group(1)) == after
        qresync.must(f'SELECT "{server.chats}"')
        lines = qresync.must(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {chats_before})").lines("FETCH")
        assert len(lines) == 3
        assert all(b"$Chat" in line and b"\\Seen" in line for line in lines)


def test_FIL_3_the_client_that_reads_is_told_by_QRESYNC(make_server):
    server = make_server()
    user = server.coi_user("seen")
    with server.imap(user) as client:
        append_chats(client, ["chat 0", "chat 1"])
        client.must("ENABLE QRESYNC")
        client.must("SELECT INBOX")
        lines = client.must("UID FETCH 2 BODY[]").untagged + client.must("NOOP").untagged
        assert b"* VANISHED 2" in lines
        assert client.must("UID SEARCH ALL").untagged == [b"* SEARCH 1"]


@pytest.mark.parametrize("message_filter", ["active", "seen"])
def test_FIL_2_FIL_3_NOTIFY_tells_of_each_folder(make_server, message_filter):
    server = make_server()
    user = server.coi_user(message_filter)
    with server.imap(user) as client, server.imap(user) as other:
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")

        def until(folder, messages):
            """Names of the folders that were told of, up to this news of one."""
            told = []
            while True:
                line = client.read_line().decode()
                told.append(line.split()[2].strip('"'))
                if told[-1] == folder and f"MESSAGES {messages} " in line:
                    return set(told)

        server.deliver("lmtp", user, chat("chat"))
        if message_filter == "active":
            assert until(server.chats, 1) == {server.chats}
        else:
            assert until("INBOX", 1) == {"INBOX"}
            other.must("SELECT INBOX")
            other.store("1", "+FLAGS", SEEN)
            until(server.chats, 1)
        server.deliver("lmtp", user, mail("ordinary"))
        until("INBOX", 1)


# -- a full disk --


@pytest.fixture
def small_disk(make_server):
    """Makes a user whose home is a file system of little space."""
    mounted = []

    def make(server, size):
        user = server.new_user()
        home = server.home(user)
        home.mkdir()
        options = f"size={size},uid={MAIL_UID},gid={MAIL_UID},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "coi-small", home], check=True)
        mounted.append(home)
        with server.imap(user) as client:
            entries = {f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": "seen"}
            assert client.setmetadata(entries).ok
        return user

    yield make
    for home in mounted:
        subprocess.run(["umount", "-l", home], check=True)


def leave_free(path, size):
    """A file that takes what space there is, but for so much."""
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - size))


@pytest.mark.parametrize("free", [0, 4, 8, 16, 32, 128, 512])
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_a_disk_that_is_full_halfway(make_server, small_disk, log, mail_format, free):
    # Copies that need space, where the format has a choice.
    server = make_server(
        mail_format=mail_format, before="maildir_copy_with_hardlinks = no\n"
    )
    user = small_disk(server, "8m")
    names = [f"chat {number:02}" for number in range(40)]
    filler = server.home(user) / "filler"
    log.expect(".")
    with server.imap(user) as client:
        append_chats(client, names, body="text of a mail\n" * 1000)
    leave_free(filler, free * 1024)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.command("STORE 1:* +FLAGS.SILENT (\\Seen)")
    filler.unlink()
    inbox, chats = despite_repair(server, user, lambda client: subjects(server, client))
    # A mail may be in both where the space was too little to expunge it.
    assert set(inbox) | set(chats) == set(names), "none is lost"
    if not is_rebuilt(server, log):
        assert set((*inbox.values(), *chats.values())) == {1}
    assert_moved(server, user, names, log)
    assert list(server.home(user).rglob("dovecot-coi.moving*")) == []


# -- a killed process --


def kill_sessions(server):
    """Kills all imap processes of a server, in the middle of whatever they do.

    Returns their pids, the newest last.
    """
    master = server.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    killed = []
    for pid in children:
        try:
            if Path(f"/proc/{pid}/comm").read_text() == "imap\n":
                os.kill(int(pid), signal.SIGKILL)
                killed.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return killed


def was_rebuilding(server, log, pids):
    """One of these, which are killed, has begun to make an mdbox's map anew.

    Stock Dovecot resets the index of each folder, and then fills it. A folder may be
    empty now, and what was in it be found again later, in INBOX and without $Chat.
    """
    deadline = time.monotonic() + 20
    while pids and not log.count(server, rf"child {pids[-1]} killed with signal 9"):
        assert time.monotonic() < deadline, "the log doesn't tell of it"
        time.sleep(0.01)
    return any(log.count(server, rf"<{pid}>.*mdbox .*: rebuilding indexes") for pid in pids)


def is_rebuilt(server, log):
    """Dovecot has made an mdbox's map anew, which may bring back what was expunged."""
    return log.count(server, "mdbox .*: rebuilding indexes") > 0


def despite_repair(server, user, look):
    """What a client finds, which may have to log in anew for it.

    A dbox repairs what was left half done, once any session finds it, be it the one that
    ends: commands fail then, and sessions end.
    """
    for last in (False, False, False, True):
        try:
            with patient(server, user) as client:
                return look(client)
        except ImapError:
            if last:
                raise


def assert_moved(server, user, names, log):
    """Once a client has seen all that is in INBOX, each is in Chats, and there once."""

    def see(client):
        inbox, chats = subjects(server, client)
        assert set(inbox) | set(chats) == set(names), "none is lost"
        see_all(client)
        return subjects(server, client)

    for _ in range(4):
        inbox, chats = despite_repair(server, user, see)
        if not inbox:
            break
    assert not inbox
    assert set(chats) == set(names)
    if not is_rebuilt(server, log):
        assert set(chats.values()) == {1}


@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_processes_that_are_killed_while_they_move(fresh_server, log, mail_format):
    # No lock that doesn't say yet whose it is: stock Dovecot waits two minutes for it, and
    # then may show what a killed process had still to expunge.
    server = fresh_server(mail_format=mail_format, before="dotlock_use_excl = no\n")
    server.kills = True
    log.expect("killed with signal 9")
    # What stock Dovecot says where one of its processes was killed.
    log.expect(r"already exists, rebuilding|Rebuilding index|rebuilding indexes")
    log.expect(r"Inconsistency in map index|fscking index|reset, view is now inconsistent")
    log.expect(r"Deleting corrupted cache")
    # One was killed in the middle of a write.
    log.expect(r"transaction log .*Unexpected garbage at EOF|ransaction log .*: marked corrupted")
    rnd = random.Random(20)
    user = server.coi_user("seen")
    names = []
    for _ in range(20):
        new = [f"chat {number:04}" for number in range(len(names), len(names) + 40)]
        names += new
        with patient(server, user) as client:
            append_chats(client, new)
        with patient(server, user) as client:
            client.must("SELECT INBOX")
            client.send("STORE 1:* +FLAGS.SILENT (\\Seen)")
            time.sleep(rnd.uniform(0, 0.02))
            killed = kill_sessions(server)
            try:
                client.must("NOOP")
            except (ImapError, OSError):
                pass
        if was_rebuilding(server, log, killed):
            break
        assert_moved(server, user, names, log)
