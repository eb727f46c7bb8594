# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A STORE with UNCHANGEDSINCE moved mail that it had not changed (RFC 7162, 3.1.3).

Most conflicts Dovecot finds while it asks for the changes, but those with what another session
has changed since, only when it commits them.
"""

import re
import threading

import pytest
from harness.config import faults
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import eventually

# It preloads a library of its own.
pytestmark = [pytest.mark.private, pytest.mark.uninstrumented]

ALL = "$Chat \\Seen \\Answered"


@pytest.fixture
def held(work_dir):
    """A file; while it is there, a conditional STORE waits before it is committed."""
    file = work_dir / "held"
    yield file
    file.unlink(missing_ok=True)


def append(client, make, subject, flags):
    client.must(f"APPEND INBOX ({flags}) ", Literal(make(subject)))


def fill_inbox(client):
    """Of its six mails the UIDs are one more than the sequence numbers."""
    append(client, mail, "gone", "\\Deleted")
    append(client, mail, "unseen", "")
    append(client, mail, "seen", "\\Seen")
    append(client, chat, "unseen chat", "$Chat")
    append(client, chat, "seen chat", "$Chat \\Seen")
    append(client, mail, "unchanged", "")
    append(client, chat, "unchanged chat", "$Chat")
    client.must("SELECT INBOX")
    client.must("EXPUNGE")


def highest_modseq(client):
    (line,) = client.must("STATUS INBOX (HIGHESTMODSEQ)").lines("STATUS")
    return int(re.search(rb"HIGHESTMODSEQ (\d+)", line).group(1))


def store_once_held(held, client, sequence, flags):
    """Changes them when the conditional STORE has looked at them, and lets that go on."""
    try:
        eventually(held.read_text, "the conditional STORE waits")
        client.store(sequence, "+FLAGS.SILENT", flags)
    finally:
        held.unlink()


@pytest.mark.parametrize("item", ["+FLAGS.SILENT", "FLAGS"])
@pytest.mark.parametrize("by_uid", [False, True], ids=["STORE", "UID STORE"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_a_mail_that_a_conditional_STORE_does_not_change_stays(
    make_server, held, mail_format, by_uid, item
):
    server = make_server(mail_format=mail_format, before=faults(held=held))
    user = server.coi_user("seen")
    command, sequence, modified = ("STORE", "1:6", "1:4")
    if by_uid:
        command, sequence, modified = ("UID STORE", "2:7", "2:5")
    with server.imap(user) as client, server.imap(user) as other:
        # Else Dovecot knows only when INBOX was changed, not each mail.
        client.must("ENABLE CONDSTORE")
        fill_inbox(client)
        other.must("SELECT INBOX")
        condition = f"(UNCHANGEDSINCE {highest_modseq(other)})"
        held.touch()
        held.chmod(0o666)
        meanwhile = threading.Thread(
            target=store_once_held, args=(held, other, "1:4", "\\Flagged")
        )
        meanwhile.start()
        response = client.must(f"{command} {sequence} {condition} {item} ({ALL})")
        meanwhile.join()
        assert f"[MODIFIED {modified}]" in response.text
    assert server.where(user) == {
        "unseen": ("INBOX", {"\\Flagged"}),
        "seen": ("INBOX", {"\\Seen", "\\Flagged"}),
        "unseen chat": ("INBOX", {"$Chat", "\\Flagged"}),
        "seen chat": ("INBOX", {"$Chat", "\\Seen", "\\Flagged"}),
        "unchanged": (server.chats, set(ALL.split())),
        "unchanged chat": (server.chats, set(ALL.split())),
    }
