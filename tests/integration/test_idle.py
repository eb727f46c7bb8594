# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""IDL-1, IDL-2, IDL-3: an idle client is told at once.

How fast it is, tests/bench/ tells. A time is only compared with what the same
machine takes meanwhile without us, which is half a second more for each mail.
"""

import time

import pytest
from harness import config
from harness.lmtp import Lmtp
from harness.mails import chat, mail

FORMATS = ("maildir", "sdbox", "mdbox", "mbox")


def seconds_a_mail(server, count):
    """Each delivery waits until an idle client has been told of the one before."""
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        assert client.exists("INBOX") == 1
        client.idle()
        began = time.monotonic()
        for number in range(1, count + 1):
            lmtp.deliver([user], mail(str(number)))
            assert client.idle_until("EXISTS")[-1] == b"* %d EXISTS" % (number + 1)
        return (time.monotonic() - began) / count


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_1_IDL_3_at_once_unless_it_is_turned_off(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    slow = make_server(mail_format=mail_format, after=config.settings(coi_notify_instant="no"))
    stock = seconds_a_mail(slow, 8)
    assert stock > 0.4
    assert seconds_a_mail(server, 40) < stock - 0.25


# So that few mails fill a log of a mailbox; and a client that isn't told never is.
SMALL_LOGS = """\
mail_index_log_rotate_min_size = 1k
mail_index_log_rotate_max_size = 2k
mail_index_log_rotate_min_age = 1 s
mailbox_idle_check_interval = 10 min
"""


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ["sdbox", "mdbox"])
def test_IDL_1_told_when_the_log_has_been_rotated(make_server, mail_format):
    """Dovecot goes on to watch the old one, and else looks only twice a minute."""
    server = make_server(mail_format=mail_format, after=SMALL_LOGS)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    (log,) = server.home(user).glob("*/mailboxes/INBOX/*/dovecot.index.log")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        assert client.exists("INBOX") == 1
        client.idle()
        number = rotations = 0
        while rotations < 3:
            number += 1
            before = log.stat().st_ino
            lmtp.deliver([user], mail(str(number)))
            client.idle_until("EXISTS")
            rotations += log.stat().st_ino != before
            assert number < 100


def seconds_a_notification(server, count):
    """The same for NOTIFY, of folders that aren't selected."""
    user = server.coi_user("active")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        # The first mail in a folder makes its files; that is not what this is about.
        for make in (mail, chat):
            lmtp.deliver([user], make("0"))
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
        began = time.monotonic()
        for number in range(2, count + 2):
            for make, folder in ((mail, "INBOX"), (chat, server.chats)):
                lmtp.deliver([user], make(str(number)))
                client.read_until(f"STATUS {folder} (MESSAGES {number} ")
        return (time.monotonic() - began) / (2 * count)


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_1_IDL_3_NOTIFY_too(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    slow = make_server(mail_format=mail_format, after=config.settings(coi_notify_instant="no"))
    stock = seconds_a_notification(slow, 4)
    assert stock > 0.4
    assert seconds_a_notification(server, 20) < stock - 0.25


@pytest.mark.private
@pytest.mark.parametrize("how", ["IDLE", "NOTIFY"])
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_2_a_burst_is_told_of_together(make_server, mail_format, how):
    """At most 30 times a second, the first time at once, and the last state always."""
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        if how == "IDLE":
            assert client.exists("INBOX") == 1
            client.idle()
            word, last = " EXISTS", b"* 100 EXISTS"
        else:
            client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
            word, last = "STATUS INBOX ", b" (MESSAGES 100 "
        began = time.monotonic()
        for number in range(1, 100):
            lmtp.deliver([user], mail(str(number)))
        told = 1
        while last not in client.read_until(word)[-1]:
            told += 1
        # One at the beginning, one that waited for its turn, and some for a slow clock.
        assert told <= 4 + 30 * (time.monotonic() - began)


@pytest.mark.private
def test_IDL_1_two_sessions_and_two_folders(make_server):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as inbox, server.imap(user) as chats:
        inbox.exists("INBOX")
        chats.exists(server.chats)
        inbox.idle()
        chats.idle()
        server.deliver("lmtp", user, chat("chat"))
        assert chats.idle_until("EXISTS")[-1] == b"* 1 EXISTS"
        server.deliver("lmtp", user, mail("ordinary"))
        assert inbox.idle_until("EXISTS")[-1] == b"* 1 EXISTS"
