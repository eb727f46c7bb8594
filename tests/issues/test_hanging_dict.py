# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A metadata dict that takes questions and never answers held up each mail by 30 or 60 s.

On 2.4, that is, where LMTP ends after each mail; on 2.3 one mail of a process in a while.
"""

import threading

import pytest
from harness.held import LOCK_OF_MOVES, Held
from harness.imap import Literal
from harness.line import Line, server_behind
from harness.mails import chat, mail
from harness.push import Subscriber, eventually
from harness.server import ROOT
from test_chats_renamed import is_answered

pytestmark = pytest.mark.private

NO_ANSWER = "The dict hasn't answered within 5 s"


# How a question for a list of entries begins, in Dovecot's dict protocol.
LIST = b"\nI"


class DictLine(Line):
    """While it hangs, it takes what comes; if so wanted, not before that has come."""

    def __init__(self, path):
        self.works = threading.Event()
        self.works.set()
        self.hangs_at = b""
        super().__init__(path, before=self.wait)

    def wait(self, data):
        if self.hangs_at in b"\n" + data:
            self.works.wait()

    def hang(self, at=b""):
        self.hangs_at = at
        self.works.clear()

    def work(self):
        self.works.set()

    def close(self):
        self.work()
        super().close()


@pytest.fixture
def line(work_dir):
    line = DictLine(work_dir / "line")
    yield line
    line.close()


@pytest.fixture
def server(fresh_server, line, work_dir):
    return server_behind(line, fresh_server, work_dir / "metadata")


def test_FIL_10_MSG_11_a_delivery_waits_for_some_seconds(server, line, service, log):
    log.expect(f"coi: .*{NO_ANSWER}")
    user = server.coi_user("active")
    one = Subscriber(server, user, service).subscribe()
    server.deliver("lmtp", user, chat("before"))
    assert one.until("before") == ["before"]

    before = line.connections
    line.hang()
    server.deliver("lmtp", user, chat("chat"))
    server.deliver("lda", user, mail("mail"))
    line.work()
    # once each, and not for subscriptions again
    assert line.connections - before == 2
    eventually(lambda: log.count(server, NO_ANSWER) == 2, "the log says so")
    where = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert where == {"before": server.chats, "chat": "INBOX", "mail": "INBOX"}

    server.deliver("lda", user, chat("after"))
    assert server.where(user)["after"][0] == server.chats
    assert one.until("after")[-1] == "after"


def test_MSG_11_others_do_not_wait_for_it_again(server, line, service, log):
    """To whom the same process delivers. Without COI it is subscriptions that are asked for."""
    log.expect(f"coi: .*{NO_ANSWER}")
    users = [server.new_user() for _ in range(3)]
    for user in users:
        Subscriber(server, user, service).subscribe()
    before = line.connections
    line.hang()
    replies = server.lmtp(*users, mail=mail("mail"))
    line.work()
    assert [reply[:3] for reply in replies] == ["250"] * 3
    assert line.connections - before == 1


def test_FIL_3_reading_a_chat_took_a_minute(server, line, log):
    """For everybody who has chats in INBOX, be COI on or off."""
    log.expect(f"coi: .*{NO_ANSWER}")
    user = server.coi_user("seen")
    for subject in "first", "second":
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        line.hang()
        client.must("STORE 1 +FLAGS (\\Seen)")
        before = line.connections
        client.must("FETCH 2 BODY[]")
        # It isn't asked again.
        assert line.connections == before
        line.work()
        eventually(lambda: log.count(server, NO_ANSWER) == 1, "the log says so")
        # the session goes on, and uses it
        assert client.getmetadata(f"{ROOT}/message-filter")
        assert client.setmetadata({f"{ROOT}/message-filter": None}).ok
    assert {folder for folder, _ in server.where(user).values()} == {"INBOX"}
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/message-filter": "seen"}).ok
    server.deliver("lmtp", user, chat("third"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("STORE 3 +FLAGS (\\Seen)")
    assert server.where(user)["third"] == (server.chats, {"\\Seen", "$Chat"})


def test_FIL_3_a_chat_that_was_read_between_two_questions_is_moved_later(server, line, log):
    """As where the dict doesn't answer the first one."""
    log.expect(f"coi: .*{NO_ANSWER}")
    user = server.coi_user("seen")
    for subject in "first", "second":
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client, server.imap(user) as other:
        client.must("SELECT INBOX")
        line.hang(at=b"/message-filter")
        client.must("STORE 1 +FLAGS (\\Seen)")
        line.work()
        other.must("SELECT INBOX")
        other.must("STORE 2 +FLAGS (\\Seen)")
    assert {folder for folder, _ in server.where(user).values()} == {server.chats}


def test_FIL_3_a_chat_that_was_read_before_the_dict_hung_is_moved_later(server, line, log):
    """It is asked once more when it is the session's turn to move."""
    log.expect(f"coi: .*{NO_ANSWER}")
    user = server.coi_user("seen")
    for subject in "first", "second":
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client, server.imap(user) as other:
        client.must("SELECT INBOX")
        with Held(server, user, LOCK_OF_MOVES) as moving:
            tag = client.send("STORE 1 +FLAGS (\\Seen)")
            assert not is_answered(client)
            line.hang()
            moving.end()
            assert client.finish(tag).ok
        line.work()
        other.must("SELECT INBOX")
        other.must("STORE 2 +FLAGS (\\Seen)")
    assert {folder for folder, _ in server.where(user).values()} == {server.chats}


def test_MSG_1_MSG_11_storing_a_mail_took_half_a_minute(
    fresh_server, line, work_dir, service, log
):
    """Where such mails are pushed, too."""
    log.expect(f"coi: .*{NO_ANSWER}")
    push = (("coi_push_appended", "yes"),)
    server = server_behind(line, fresh_server, work_dir / "metadata", push=push)
    user = server.new_user()
    one = Subscriber(server, user, service).subscribe()
    text = mail("appended").replace(b"\n", b"\r\n")
    with server.imap(user) as client:
        client.must("APPEND INBOX ", Literal(text))
        assert one.until("appended") == ["appended"]
        client.must("SELECT INBOX")
        line.hang()
        client.must("APPEND INBOX ", Literal(text))
        # which doesn't ask it again
        client.must("COPY 1 INBOX")
        line.work()
        eventually(lambda: log.count(server, NO_ANSWER) == 1, "the log says so")
        # the session goes on, and uses it
        assert client.getmetadata(f"{ROOT}/mailbox-root")
        assert client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
        assert client.exists("INBOX") == 3


@pytest.mark.parametrize("way", ["lmtp", "lda"])
def test_MSG_11_a_dict_that_hangs_between_two_questions(server, line, service, log, way):
    """It had been asked for an entry, and had answered; for subscriptions it was waited for."""
    log.expect(f"coi: .*{NO_ANSWER}")
    user = server.coi_user("active")
    one = Subscriber(server, user, service).subscribe()
    line.hang(at=LIST)
    server.deliver(way, user, chat("chat"))
    line.work()
    eventually(lambda: log.count(server, NO_ANSWER) == 1, "the log says so")
    assert server.where(user)["chat"][0] == server.chats
    server.deliver("lda", user, chat("after"))
    assert one.until("after")[-1] == "after"
