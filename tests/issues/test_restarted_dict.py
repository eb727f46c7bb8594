# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The first chat after PostgreSQL was restarted went to INBOX, unmarked.

Or after it had closed what is idle for long. Dovecot finds out by asking, and only the next
question is answered. So it was for each process dict, of which 2.3 has one for each LMTP.
"""

import pytest
from harness.line import Line, server_behind
from harness.mails import chat, mail
from harness.push import Subscriber
from harness.server import ROOT

pytestmark = pytest.mark.private


class FailingLine(Line):
    """Answers some questions for one entry by itself, with a failure as PostgreSQL has it."""

    FAILURE = b"FFATAL: terminating connection, gone\n"

    def __init__(self, path):
        self.failures = 0
        super().__init__(path, before=lambda data: None)

    def carry(self, source, sink):
        super().carry(Questions(self, source), sink)


class Questions:
    """A socket, but for the questions in what comes from there that are answered already."""

    def __init__(self, line, sock):
        self.line = line
        self.sock = sock

    def recv(self, size):
        while data := self.sock.recv(size):
            kept = []
            for text in data.splitlines(keepends=True):
                if text.startswith(b"L") and self.line.failures:
                    self.line.failures -= 1
                    self.sock.sendall(self.line.FAILURE)
                else:
                    kept.append(text)
            if kept:
                return b"".join(kept)
        return b""


@pytest.fixture
def line(work_dir):
    line = FailingLine(work_dir / "failing-line")
    yield line
    line.close()


@pytest.fixture
def server(fresh_server, line, work_dir):
    return server_behind(line, fresh_server, work_dir / "restarted-dict")


@pytest.mark.parametrize("way", ["lmtp", "lda"])
def test_FIL_2_MSG_1_the_question_that_finds_it_out(server, line, service, way):
    user = server.coi_user("active")
    phone = Subscriber(server, user, service).subscribe()
    for make, name in ((chat, "chat"), (mail, "mail")):
        line.failures = 1
        server.deliver(way, user, make(name))
        assert line.failures == 0
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
    assert phone.until("mail") == ["chat", "mail"]


def test_FIL_10_one_that_fails_again(server, line, log):
    log.expect("coi: Can't read the user's metadata, so COI counts as disabled: .*gone")
    user = server.coi_user("active")
    line.failures = 2
    server.deliver("lmtp", user, chat("chat"))
    assert line.failures == 0
    with server.imap(user) as client:
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
    assert server.where(user)["chat"] == ("INBOX", set())
