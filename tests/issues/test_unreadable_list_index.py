# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Where a user's list index couldn't be read, a chat mail ended LMTP of Dovecot 2.3.

Be it damaged, or locked by another process for too long: there was no GUID of INBOX, and that
was called a success; asked for by us, it ended the process, and with it the delivery to everybody
else to whom that mail went. Stock delivers then.
"""

import contextlib
import fcntl
import os

import pytest
from harness.lmtp import Lmtp
from harness.mails import chat
from harness.server import MAIL_UID

pytestmark = pytest.mark.private

# The directory of a folder that some other program has made: the list is read anew.
NEW = {"maildir": ".New", "sdbox": "mailboxes/New", "mdbox": "mailboxes/New"}


@pytest.fixture(params=NEW)
def server(request, make_server):
    # Dovecot's own is two minutes.
    return make_server(mail_format=request.param, after="mail_max_lock_timeout = 1 s\n")


def directory(server, user):
    return server.home(user) / server.settings.mail_format


@contextlib.contextmanager
def locked(server, user):
    with server.imap(user) as client:
        # Where there is one, the look at it has the list read.
        client.must(f'DELETE "{server.contacts}"')
    new = directory(server, user) / NEW[server.settings.mail_format]
    new.mkdir()
    os.chown(new, MAIL_UID, MAIL_UID)
    with open(directory(server, user) / "dovecot.list.index.log", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
    new.rmdir()


@contextlib.contextmanager
def damaged(server, user):
    with server.imap(user) as client:
        client.folders()
    path = directory(server, user) / "dovecot.list.index.log"
    # As where the machine stopped amid a write.
    path.write_bytes(path.read_bytes()[:-6])
    yield


@pytest.mark.parametrize("unreadable", (locked, damaged))
@pytest.mark.parametrize("way", ("lmtp", "lda"))
def test_FIL_6_a_chat_mail(server, log, way, unreadable):
    log.expect(r"list\.index|Mailbox list index|[Tt]ransaction log|fscking|Unexpected garbage")
    user, other = server.coi_user("active"), server.coi_user("active")
    with unreadable(server, user):
        if way == "lmtp":
            with Lmtp(server.lmtp_address) as lmtp:
                replies = lmtp.deliver([user, other], chat("chat"))
            assert [reply[:3] for reply in replies] == ["250", "250"]
        else:
            server.deliver("lda", user, chat("chat"))
    assert server.where(user)["chat"][0] == server.chats
    if way == "lmtp":
        assert server.where(other)["chat"][0] == server.chats
