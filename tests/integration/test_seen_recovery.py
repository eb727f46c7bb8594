# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-3: a move that was killed between its two halves is finished by the next one."""

import pytest
from harness.mails import chat
from harness.server import ROOT

FORMATS = ("maildir", "sdbox", "mdbox")
FILTER = f"{ROOT}/message-filter"
SEEN = "\\Seen"


def fetch(server, user, fields, folder):
    """doveadm's table of these fields: one list of words for each mail."""
    out = server.doveadm("-f", "tab", "fetch", "-u", user, fields, "mailbox", folder, "all")
    return [line.split("\t") for line in out.splitlines()[1:]]


def index_dir(server, user, mail_format):
    found = server.home(user) / mail_format
    return found if mail_format == "maildir" else next(found.glob("mailboxes/INBOX/*"))


def journal(server, user, mail_format, uidvalidity, *lines):
    """The file that a killed move leaves behind (plugin/coi-seen-journal.h)."""
    path = index_dir(server, user, mail_format) / "dovecot-coi.moving"
    path.write_text("\n".join([f"2\t{uidvalidity}", *lines]) + "\n")
    path.chmod(0o666)
    return path


@pytest.fixture(params=FORMATS)
def killed(request, make_server):
    """A user whose session was killed: chat 0 is in both folders, chat 1 in INBOX only."""
    server = make_server(mail_format=request.param)
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client:
        assert client.setmetadata({FILTER: "none"}).ok
        client.must("SELECT INBOX")
        client.store("1:2", "+FLAGS", SEEN)
        client.must(f'COPY 1 "{server.chats}"')
        assert client.setmetadata({FILTER: "seen"}).ok
    mails = fetch(server, user, "uid guid", "INBOX")
    assert fetch(server, user, "guid", server.chats) == [[mails[0][1]]], "a copy keeps the GUID"
    (status,) = [
        line
        for line in server.doveadm("mailbox", "status", "-u", user, "uidvalidity", "INBOX").split()
        if line.startswith("uidvalidity=")
    ]
    assert [uid for uid, _ in mails] == ["1", "2", "3"]
    return server, user, request.param, status.partition("=")[2]


def see_the_third(server, user):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("3", "+FLAGS", SEEN)
        return client.subjects("INBOX"), client.subjects(server.chats)


@pytest.mark.private
@pytest.mark.parametrize("lines", [("1\t2",), ("1\t1", "2\t2"), ("1\t4294967295",)])
def test_FIL_3_the_next_move_finishes_it(killed, lines):
    server, user, mail_format, uidvalidity = killed
    path = journal(server, user, mail_format, uidvalidity, *lines)
    assert see_the_third(server, user) == ([], ["chat 0", "chat 1", "chat 2"])
    assert not path.exists()


@pytest.mark.private
def test_FIL_3_mails_that_are_one_and_the_same(killed):
    """What a client has copied has the GUID of the first one."""
    server, user, mail_format, uidvalidity = killed
    with server.imap(user) as client:
        assert client.setmetadata({FILTER: "none"}).ok
        client.must("SELECT INBOX")
        client.must("UID COPY 1 INBOX")
        assert client.setmetadata({FILTER: "seen"}).ok
    guids = [guid for (guid,) in fetch(server, user, "guid", "INBOX")]
    assert guids[0] == guids[3]
    journal(server, user, mail_format, uidvalidity, "1\t4")
    assert see_the_third(server, user) == ([], ["chat 0", "chat 1", "chat 2"])


@pytest.mark.private
def test_FIL_3_only_the_mails_in_the_journal(killed):
    server, user, mail_format, uidvalidity = killed
    journal(server, user, mail_format, uidvalidity, "1\t1", "99\t100")
    assert see_the_third(server, user) == (["chat 1"], ["chat 0", "chat 2"])


@pytest.mark.private
@pytest.mark.parametrize("line", ["", "2", "2\t", "2\tx", "3\t2", "0\t2", "-1\t2", "2\t2\t"])
def test_FIL_3_a_damaged_journal_counts_up_to_the_damage(killed, line):
    server, user, mail_format, uidvalidity = killed
    path = journal(server, user, mail_format, uidvalidity, "1\t1", line, "2\t2")
    assert see_the_third(server, user) == (["chat 1"], ["chat 0", "chat 2"])
    assert not path.exists()


@pytest.mark.private
def test_FIL_3_a_journal_of_another_INBOX_means_nothing(killed):
    server, user, mail_format, uidvalidity = killed
    path = journal(server, user, mail_format, int(uidvalidity) + 1, "1\t2")
    assert see_the_third(server, user) == (["chat 0", "chat 1"], ["chat 0", "chat 2"])
    assert not path.exists()


@pytest.mark.private
def test_FIL_3_what_could_not_wait_is_moved_also_where_a_killed_move_has_begun(killed):
    server, user, mail_format, uidvalidity = killed
    directory = index_dir(server, user, mail_format)
    taken, late = (directory / f"dovecot-coi.moving.{name}" for name in ("taken", "late"))
    for path, uids in ((taken, "1\t1"), (late, "2\t2")):
        other = f"{int(uidvalidity) + 1}\t1\t3\n"
        path.write_text(f"{other}{uidvalidity}\t{uids}\n")
        path.chmod(0o666)
    assert see_the_third(server, user) == ([], ["chat 0", "chat 1", "chat 2"])
    assert not taken.exists() and not late.exists()


@pytest.mark.private
def test_FIL_3_a_copy_of_what_could_not_wait_is_a_clients(killed):
    server, user, mail_format, uidvalidity = killed
    late = index_dir(server, user, mail_format) / "dovecot-coi.moving.late"
    late.write_text(f"{uidvalidity}\t1\t1\n")
    late.chmod(0o666)
    assert see_the_third(server, user) == (["chat 1"], ["chat 0", "chat 0", "chat 2"])
    assert not late.exists()


@pytest.mark.private
def test_FIL_3_a_move_leaves_no_file_behind(make_server):
    server = make_server()
    user = server.coi_user("seen")
    for subject in ("moved", "deleted, and so not moved"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
        client.store("2", "+FLAGS", f"{SEEN} \\Deleted")
    files = {path.name for path in server.home(user).glob("**/dovecot-coi*")}
    assert files <= {"dovecot-coi.contacts"}
