# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What IDLE, and NOTIFY of the selected folder, never told, or too late: around a command, a
look, a delivery that isn't over, and where a session is handed over to imap-hibernate."""

import os
import signal
import socket
import time

import pytest
from harness import hibernation
from harness.config import by_dialect, faults, import_environment, settings, version
from harness.imap import await_soon
from harness.lmtp import Lmtp
from harness.mails import chat, mail

pytestmark = pytest.mark.private

NOTIFY = "NOTIFY SET (SELECTED (MessageNew (UID) MessageExpunge))"
FORMATS = ("maildir", "sdbox", "mdbox")
unless_it_always_looks = pytest.mark.skipif(
    version().startswith("2.4"), reason="this Dovecot itself looks each second"
)


def put(maildir, name, text):
    """Delivers as others do, who lock nothing and know of no index."""
    (maildir / "tmp" / name).write_bytes(text)
    (maildir / "tmp" / name).chmod(0o666)
    (maildir / "tmp" / name).rename(maildir / "new" / name)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_2_NOTIFY_of_the_selected_folder_lost_what_came_right_behind(make_server, mail_format):
    """For a second after it has told something, Dovecot 2.3 doesn't watch the folder."""
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        client.must(NOTIFY)
        count = client.exists("INBOX")
        # Before it is watched, just as it is told, and some time after.
        for pause in (0, 0, 1.3, 0, 0.1, 0.5, 1.0, 0, 1.5, 0):
            time.sleep(pause)
            lmtp.deliver([user], mail("one"))
            lmtp.deliver([user], mail("two"))
            count += 2
            client.read_until(f"* {count} EXISTS")


def seconds_a_first_chat(server):
    """What the first delivery to a folder is told after, to a client that is idle there."""
    seconds = 0
    for _ in range(6):
        user = server.coi_user("active")
        with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
            client.exists(server.chats)
            client.idle()
            # Until the next look is one at once.
            time.sleep(0.1)
            began = time.monotonic()
            lmtp.deliver([user], chat("first"))
            client.idle_until("EXISTS")
            seconds += time.monotonic() - began
    return seconds / 6


@pytest.mark.uninstrumented
def test_IDL_1_the_first_chat_in_a_maildir_was_told_half_a_second_late(make_server, work_dir):
    """A delivery says that it has changed cur/ before it says what is new there."""
    slow = work_dir / "slow"
    slow.touch()
    before = faults(slow=slow)
    server = make_server(mail_format="maildir", before=before)
    stock = make_server(
        mail_format="maildir", before=before, after=settings(coi_notify_instant="no")
    )
    half_second = seconds_a_first_chat(stock)
    assert half_second > 0.4
    assert seconds_a_first_chat(server) < half_second - 0.25


@pytest.mark.parametrize("first", ("mail", "command"))
@pytest.mark.parametrize("mail_format", FORMATS)
def test_IDL_2_NOTIFY_of_the_selected_folder_lost_what_met_a_command(
    make_server, mail_format, first
):
    """A command ends the watch. One that tells nothing of the folder left that to nobody."""
    server = make_server(mail_format=mail_format)
    user = server.new_user()
    with server.imap(user) as client:
        client.must(NOTIFY)
        client.exists("INBOX")
        time.sleep(1.3)
        sessions = server.children("imap")
        try:
            for session in sessions:
                os.kill(session, signal.SIGSTOP)
            if first == "command":
                tag = client.send("ID NIL")
                time.sleep(0.05)
            server.deliver("lmtp", user, mail("mail"))
            if first == "mail":
                tag = client.send("ID NIL")
                time.sleep(0.05)
        finally:
            for session in sessions:
                os.kill(session, signal.SIGCONT)
        if not client.finish(tag).lines("EXISTS"):
            await_soon(client, "* 1 EXISTS")


@unless_it_always_looks
def test_IDL_2_NOTIFY_of_a_maildir_that_can_not_be_read(fresh_server, log):
    """Each look failed, and was a reason for the next one."""
    log.expect("Permission denied")
    # A process that could not watch something watches nothing any more.
    server = fresh_server(mail_format="maildir")
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        client.must(NOTIFY)
        client.exists("INBOX")
        time.sleep(1.3)
        maildir = server.home(user) / "maildir"
        put(maildir, "1000000000.one", mail("one"))
        (maildir / "new").chmod(0o300)
        time.sleep(5)
        assert log.count(server, r"opendir\(.*/new\) failed") < 4
        (maildir / "new").chmod(0o700)
        assert client.must("NOOP").lines("EXISTS")


@pytest.mark.parametrize("when", ("before it is watched", "after a command"))
def test_IDL_2_NOTIFY_of_the_selected_folder_lost_what_is_in_new(make_server, when):
    """Nobody but a session puts into the index what comes from others than Dovecot."""
    server = make_server(mail_format="maildir")
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        client.must(NOTIFY)
        client.exists("INBOX")
        if when == "after a command":
            time.sleep(1.3)
            client.must("NOOP")
        put(server.home(user) / "maildir", "1.other", mail("1"))
        await_soon(client, "* 2 EXISTS")


@unless_it_always_looks
def test_what_a_client_does_not_want_to_hear_yet_is_not_looked_for_all_the_time(make_server):
    """SELECTED-DELAYED: mails that are gone remain until it asks."""
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    for number in range(2):
        server.deliver("lmtp", user, mail(str(number)))
    with server.imap(user) as client:
        client.must(NOTIFY.replace("SELECTED", "SELECTED-DELAYED"))
        client.exists("INBOX")
        with server.imap(user) as other:
            other.must("SELECT INBOX")
            other.store("1", "+FLAGS", "\\Deleted")
            time.sleep(1.3)
            other.must("EXPUNGE")
        time.sleep(3)
        before = server.waits("imap")
        time.sleep(8)
        # Some are for what Dovecot looks at every few seconds.
        assert server.waits("imap") - before < 6
        server.deliver("lmtp", user, mail("2"))
        client.read_until("* 3 EXISTS")


def test_IDL_1_a_maildir_whose_lock_was_left_behind(make_server):
    """Who looks into it takes the lock away, if only one looks."""
    server = make_server(mail_format="maildir")
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    maildir = server.home(user) / "maildir"
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    with server.imap(user) as client:
        client.exists("INBOX")
        client.idle()
        (maildir / "dovecot-uidlist.lock").write_text(f"{gone}:{socket.gethostname()}")
        put(maildir, "1.other", mail("1"))
        await_soon(client, "* 2 EXISTS")


@pytest.mark.parametrize("looks", (1, 2))
def test_IDL_2_a_second_look_half_a_second_after_the_last_one(make_server, looks):
    """It finds what there is no event for, as a keyword that has no letter in a maildir."""
    server = make_server(mail_format="maildir")
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    new = server.home(user) / "maildir/new"
    keywords = " ".join(f"keyword{number}" for number in range(27))
    with server.imap(user) as client, server.imap(user) as other:
        other.must("SELECT INBOX")
        other.store("1", "+FLAGS", keywords)
        other.store("1", "-FLAGS", "keyword26")
        client.exists("INBOX")
        # A machine that stands still just then may be too late, but not for ever.
        for number in range(5):
            client.idle()
            time.sleep(0.6)
            for look in range(looks):
                time.sleep(0.3)
                (new / f".nothing{number}{look}").touch()
            time.sleep(0.3)
            other.store("1", "+FLAGS", "keyword26")
            if client.is_told("FETCH", 3):
                return
            other.store("1", "-FLAGS", "keyword26")
            client.done()
            client.must("NOOP")
    pytest.fail("was not told")


@pytest.mark.uninstrumented
def test_a_session_that_is_cut_off_leaves_nothing_to_the_next_one(make_server):
    """In the same process. What it had is filled with other bytes once it is freed."""
    server = make_server(before=import_environment({"MALLOC_PERTURB_": "165"}))
    user = server.new_user()
    for _ in range(3):
        with server.imap(user) as client:
            client.must(NOTIFY)
            client.exists("INBOX")
            time.sleep(1.3)
    with server.imap(user) as client:
        client.exists("INBOX")
        client.idle()
        server.deliver("lmtp", user, mail("mail"))
        client.idle_until("EXISTS")


VIRTUAL = by_dialect(
    v2_3="mail_plugins = $mail_plugins virtual\n"
    "namespace {\n  prefix = virtual/\n  separator = /\n  location = virtual:~/virtual\n}\n",
    v2_4="mail_plugins {\n  virtual = yes\n}\nnamespace virtual {\n  prefix = virtual/\n"
    "  separator = /\n  mail_driver = virtual\n  mail_path = ~/virtual\n}\n",
)


def test_an_IDLE_in_a_virtual_folder_that_ends_as_it_begins(make_server):
    """A look had been put off by no time at all, and nobody but us took it back."""
    server = make_server(after=VIRTUAL)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    folder = server.home(user) / "virtual/all"
    folder.mkdir(parents=True)
    for directory in (folder, folder.parent):
        directory.chmod(0o777)
    (folder / "dovecot-virtual").write_text("INBOX\n  all\n")
    with server.imap(user) as client, server.imap(user) as other:
        assert client.exists("virtual/all") == 1
        server.deliver("lmtp", user, mail("1"))
        # That puts it into the index of the folder, too.
        assert other.exists("virtual/all") == 2
        client.sock.sendall(b"tag IDLE\r\nDONE\r\n")
        client.finish(b"tag")
        assert client.exists("INBOX") == 2


@pytest.mark.parametrize("mail_format", ("maildir", "sdbox", "mdbox"))
def test_IDL_1_lost_what_came_when_a_busy_machine_handed_over(fresh_server, mail_format):
    """Dovecot looks at the clock first, and then what the watches say."""
    server = fresh_server(mail_format=mail_format, after=hibernation.SETTINGS)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        # until no look is going to follow that would be Dovecot's
        with hibernation.held(server, client, hibernation.IDLE_SECS / 2):
            before = hibernation.count(server)
            server.deliver("lmtp", user, mail("1"))
            time.sleep(hibernation.IDLE_SECS)
        await_soon(client, "* 2 EXISTS")
        # and is handed over all the same
        hibernation.await_more(server, before)


class Delivery:
    """One to a maildir that says that new/ has changed before it says what is new there."""

    def __init__(self, server):
        self.user = server.new_user()
        server.deliver("lmtp", self.user, mail("0"))
        maildir = server.home(self.user) / "maildir"
        self.new = maildir / "new"
        self.lock = maildir / "dovecot-uidlist.lock"

    def begin(self):
        known = self.new.stat().st_mtime_ns
        self.lock.touch()
        path = self.new / "1700000000.M1P1.delivery"
        path.write_bytes(mail("delivered"))
        path.chmod(0o666)
        os.utime(self.new, ns=(known, known))

    def end(self):
        os.utime(self.new)
        self.lock.unlink()

    def select(self, client):
        client.exists("INBOX")
        # what has changed less than a second ago is looked at again
        long_ago = time.time() - 100
        os.utime(self.new, (long_ago, long_ago))
        client.must("NOOP")


@pytest.mark.parametrize("lasts", (0, 1))
def test_IDL_1_lost_what_was_being_delivered_when_IDLE_began(make_server, lasts):
    """As where the first sign of a delivery wakes a session."""
    server = make_server(mail_format="maildir", after="mailbox_idle_check_interval = 1 hour\n")
    delivery = Delivery(server)
    with server.imap(delivery.user) as client:
        delivery.select(client)
        delivery.begin()
        client.idle()
        time.sleep(lasts)
        delivery.end()
        await_soon(client, "* 2 EXISTS")


def test_IDL_1_lost_what_was_being_delivered_when_it_was_handed_over(fresh_server):
    server = fresh_server(mail_format="maildir", after=hibernation.SETTINGS)
    delivery = Delivery(server)
    with server.imap(delivery.user) as client:
        delivery.select(client)
        # until no second look is going to follow
        with hibernation.held(server, client, 0.8):
            delivery.begin()
            time.sleep(hibernation.IDLE_SECS * 1.5)
        # it is handed over now or never
        time.sleep(0.3)
        delivery.end()
        await_soon(client, "* 2 EXISTS")
