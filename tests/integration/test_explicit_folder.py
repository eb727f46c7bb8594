# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-9: who names a folder gets that folder. The mail is marked all the same (DET-6)."""

import pytest
from harness.mails import chat

pytestmark = pytest.mark.private
MODES = ("none", "active", "seen")
DETAIL = (
    "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\nlda_mailbox_autocreate = yes\n"
)


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("mode", MODES)
def test_FIL_9_the_detail_of_an_address(make_server, mode, sieve):
    server = make_server(sieve=sieve, before=DETAIL)
    user = server.coi_user(mode)
    (reply,) = server.lmtp(f"{user}+Work", mail=chat("chat"))
    assert reply.startswith("250")
    assert server.where(user) == {"chat": ("Work", {"$Chat"})}


@pytest.mark.parametrize("mode", MODES)
def test_FIL_9_without_a_detail_the_filter_decides(make_server, mode):
    server = make_server(before=DETAIL)
    user = server.coi_user(mode)
    server.lmtp(user, mail=chat("chat"))
    folder = server.chats if mode == "active" else "INBOX"
    assert server.where(user) == {"chat": (folder, {"$Chat"})}


def test_FIL_9_a_detail_that_is_not_saved_by_is_no_choice(make_server):
    server = make_server(before="recipient_delimiter = +\n")
    user = server.coi_user("active")
    server.lmtp(f"{user}+Work", mail=chat("chat"))
    assert server.where(user) == {"chat": (server.chats, {"$Chat"})}


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("mode", MODES)
def test_FIL_9_lda_with_a_mailbox(make_server, mode, sieve):
    server = make_server(sieve=sieve, before=DETAIL)
    user = server.coi_user(mode)
    done = server.lda(user, chat("chat"), "-m", "Work")
    assert done.returncode == 0, done.stderr
    assert server.where(user) == {"chat": ("Work", {"$Chat"})}


def test_FIL_9_a_folder_that_is_made_when_it_is_needed(make_server):
    """The admin has it made for everybody, and so it is as good as there."""
    server = make_server(
        before="lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"
        "namespace inbox {\n  mailbox Work {\n    auto = create\n  }\n}\n"
    )
    user = server.coi_user("active")
    server.lmtp(f"{user}+Work", mail=chat("chat"))
    assert server.where(user) == {"chat": ("Work", {"$Chat"})}


@pytest.mark.parametrize("sieve", [False, True], ids=["detail", "fileinto"])
def test_FIL_5_FIL_9_a_folder_that_takes_no_mail_for_now(make_server, log, sieve):
    """It is delivered later, and not somewhere else now, as without COI."""
    log.expect("Work|sieve: ")
    answers = []
    for with_coi in (False, True):
        server = make_server(coi=with_coi, mail_format="sdbox", sieve=sieve, before=DETAIL)
        name = "later-fileinto" if sieve else "later-detail"
        user = server.coi_user("active", name) if with_coi else server.new_user(name)
        with server.imap(user) as client:
            client.must("CREATE Work")
        index = server.home(user) / "sdbox/mailboxes/Work/dbox-Mails/dovecot.index.log"
        index.unlink(missing_ok=True)
        index.mkdir()
        server.write(user, ".dovecot.sieve", 'require "fileinto"; fileinto "Work";\n')
        (reply,) = server.lmtp(user if sieve else f"{user}+Work", mail=chat("chat"))
        # It may end with the time.
        answers.append(reply.partition(" [")[0])
        index.rmdir()
        assert server.where(user) == {}
    assert answers[0] == answers[1]
    assert answers[0].startswith("451 ")
