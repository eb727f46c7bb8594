# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What was left behind where the user's metadata can't be written, or not read for a moment."""

import grp
import os
import shutil
import threading
from contextlib import contextmanager

import pytest
from harness.config import settings
from harness.held import LOCK_OF_SUBSCRIPTIONS, Held
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import SUBSCRIPTIONS, eventually
from harness.server import MAIL_UID, ROOT

pytestmark = pytest.mark.private

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"


@contextmanager
def unwritable(server, user):
    """The file isn't there, and can't be made; or is there, and can't be replaced."""
    home = server.home(user)
    # In this order: at no time is it closed to a session that is only just beginning.
    home.chmod(0o755)
    os.chown(home, 0, 0)
    yield
    os.chown(home, MAIL_UID, MAIL_UID)


def lists(client):
    return client.folders(), client.folders("LSUB")


@pytest.fixture(params=["maildir", "sdbox"])
def server(request, make_server, log):
    log.expect("dovecot-attributes|dict|Can't read the user's metadata")
    return make_server(mail_format=request.param)


@pytest.mark.parametrize("entries", [{ENABLED: "yes"}, {FILTER: "seen"}], ids=["enabled", "filter"])
def test_ENA_11_folders(server, entries):
    user = server.new_user()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        before = lists(client)
        with unwritable(server, user):
            assert client.setmetadata(entries).status == "NO"
        assert lists(client) == before
        assert client.setmetadata(entries).ok
        assert server.chats in client.folders()
        assert server.chats in client.folders("LSUB")


@pytest.mark.parametrize("subscribed", [False, True], ids=["", "subscribed"])
def test_ENA_11_what_was_there_before_stays(server, subscribed):
    """And isn't subscribed by it."""
    user = server.coi_user()
    with server.imap(user) as client:
        if not subscribed:
            client.must(f'UNSUBSCRIBE "{server.chats}"')
        assert client.setmetadata({ENABLED: None}).ok
        client.must(f'APPEND "{server.chats}" ', Literal(mail("kept")))
        client.must(f'DELETE "{server.contacts}"')
        before = lists(client)
        with unwritable(server, user):
            assert client.setmetadata({ENABLED: "yes"}).status == "NO"
        assert lists(client) == before
        assert client.subjects(server.chats) == ["kept"]
        assert client.getmetadata(ENABLED) == {ENABLED: None}


def test_ENA_11_who_has_COI_keeps_it(server, log):
    """Though Chats, which was lost, is made and deleted again."""
    user = server.coi_user("active")
    (chats,) = [*server.home(user).rglob("*Chats")]
    shutil.rmtree(chats)
    with server.imap(user) as client, unwritable(server, user):
        assert client.setmetadata({ENABLED: "yes", FILTER: "seen"}).status == "NO"
        assert not chats.exists()
        assert client.getmetadata(ENABLED, FILTER) == {ENABLED: b"yes", FILTER: b"active"}
    # Nor is it tried to take it away.
    assert not log.count(server, "Can't disable COI")


def test_ENA_11_a_folder_that_has_mail_by_then_stays(server):
    user = server.new_user()
    server.deliver("lmtp", user, mail("makes INBOX"))
    entries = {ENABLED: "yes", f"{SUBSCRIPTIONS}/{'x' * 10}": None}
    responses = []
    with server.imap(user) as client, server.imap(user) as other:
        with Held(server, user, LOCK_OF_SUBSCRIPTIONS) as held:
            thread = threading.Thread(target=lambda: responses.append(client.setmetadata(entries)))
            thread.start()
            eventually(lambda: server.chats in other.folders(), "the folder is made")
            other.must(f'APPEND "{server.chats}" ', Literal(mail("kept")))
            with unwritable(server, user):
                held.end()
                thread.join()
        assert responses[0].status == "NO"
        # It is told why, and not that the folder can't be taken away.
        assert "Refer to server log" in responses[0].text
        assert other.subjects(server.chats) == ["kept"]
        assert server.contacts not in other.folders()


@contextmanager
def unreadable(server, user):
    file = server.home(user) / "dovecot-attributes"
    mode = file.stat().st_mode
    os.chown(file, 0, 0)
    file.chmod(0o600)
    yield
    os.chown(file, MAIL_UID, MAIL_UID)
    file.chmod(mode)


@pytest.mark.parametrize("item", ["+FLAGS", "FLAGS"])
def test_FIL_3_a_chat_that_was_read_meanwhile_stayed_in_INBOX(server, item):
    """It is moved with the next one, as what couldn't be moved for another reason."""
    user = server.coi_user("seen")
    for subject in ("first", "second"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with unreadable(server, user):
            client.store("1", item, "\\Seen")
        client.must("NOOP")
        client.store("2", "+FLAGS", "\\Seen")
    moved = (server.chats, {"\\Seen", "$Chat"})
    assert server.where(user) == {"first": moved, "second": moved}


LATE = "dovecot-coi.moving.late"


def test_FIL_3_what_was_written_by_halves_hides_nothing(server):
    """On a full disk, half a line ended the list of what was to be moved."""
    user = server.coi_user("seen")
    for subject in ("first", "second", "third"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with unreadable(server, user):
            client.store("1", "+FLAGS", "\\Seen")
            (late,) = server.home(user).rglob(LATE)
            whole = late.read_text().strip()
            late.write_text(f"{whole}\n{whole[:-2]}")
            client.store("2", "+FLAGS", "\\Seen")
        client.must("NOOP")
        client.store("3", "+FLAGS", "\\Seen")
        assert client.subjects("INBOX") == []


def read_in_turn(server, user, between):
    """The first one while the metadata can't be read, and then the second one."""
    for subject in ("first", "second"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with unreadable(server, user):
            client.store("1", "+FLAGS", "\\Seen")
        between(client)
        client.store("2", "+FLAGS", "\\Seen")
        return client.subjects("INBOX")


def test_FIL_3_what_is_no_chat_any_more_stays(server):
    user = server.coi_user("seen")
    assert read_in_turn(server, user, lambda client: client.store("1", "-FLAGS", "$Chat")) == [
        "first"
    ]


def test_FIL_3_what_could_not_wait_has_an_end(server):
    """For a user whose metadata can never be read."""
    user = server.coi_user("seen")
    for subject in ("first", "second"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client, unreadable(server, user):
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
        (late,) = server.home(user).rglob(LATE)
        late.write_text(late.read_text() + "\n" * 262144)
        size = late.stat().st_size
        client.store("2", "+FLAGS", "\\Seen")
    assert late.stat().st_size == size


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_FIL_3_what_is_in_the_way_is_left_alone(make_server, log, kind):
    log.expect("Can't read the user's metadata")
    server = make_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    late = server.home(user) / "maildir" / LATE
    precious = server.write(user, "precious", "text")
    if kind == "link":
        late.symlink_to(precious)
    else:
        os.mkfifo(late)
        late.chmod(0o666)
    with server.imap(user) as client, unreadable(server, user):
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
    assert precious.read_text() == "text"


def test_FIL_3_what_could_not_wait_has_the_mode_of_the_folder(make_server, log):
    """Another user of a folder that is shared by a group could not add to it."""
    log.expect("Can't read the user's metadata")
    server = make_server(after=settings(mail_access_groups="nogroup"))
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("first"))
    folder = server.home(user) / "maildir"
    os.chown(folder, -1, grp.getgrnam("nogroup").gr_gid)
    folder.chmod(0o2770)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with unreadable(server, user):
            client.store("1", "+FLAGS", "\\Seen")
    late = (folder / LATE).stat()
    assert (late.st_gid, late.st_mode & 0o777) == (folder.stat().st_gid, 0o660)


def test_FIL_3_FIL_7_a_chat_that_is_read_meanwhile_without_COI(make_server, log):
    """Nothing is noted where there is nothing that can't be read."""
    server = make_server(after=settings(coi="no"))
    user = server.new_user()
    with server.imap(user) as client:
        client.must("APPEND INBOX ($Chat) ", Literal(chat("one")))
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Seen")
    assert list(server.home(user).rglob("dovecot-coi*")) == []
