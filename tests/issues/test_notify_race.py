# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""IDL-1: what NOTIFY never told, or much too late, once it told at once.

See plugin/coi-list-notify.c. The first is why telling at once was given up once.
"""

import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.config import by_dialect, faults, version
from harness.imap import SOON, Literal, await_soon
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.push import eventually

NOTIFY = "NOTIFY SET (PERSONAL (MessageNew MessageExpunge))"
# The maker of a mail and the folder where it goes.
BOTH = ((mail, "INBOX"), (chat, None))


def processor_secs(server):
    """What all imap processes have used, in hundredths of a second."""
    total = 0
    for pid in server.children("imap"):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def watches(pid):
    """The inodes of the files that a process watches."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "inotify" in os.readlink(fd):
            text = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
            found |= {int(inode, 16) for inode in re.findall(r"inotify wd:\S+ ino:(\S+)", text)}
    return found


def await_watch(server, log):
    eventually(
        lambda: any(log.stat().st_ino in watches(pid) for pid in server.children("imap")),
        "the log that is there now is watched",
    )


def told(server, folder, count):
    return f"STATUS {folder or server.chats} (MESSAGES {count} "


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ("maildir", "sdbox"))
def test_a_mail_that_came_just_before_a_look_was_not_told(make_server, mail_format):
    """The look takes it for known: another folder is the reason for it."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        for make, _ in BOTH:
            lmtp.deliver([user], make("first"))
        client.must(NOTIFY)
        # Among them may be one that has ended its session and waits for another.
        sessions = server.children("imap")
        for number in range(2, 12):
            # The second one waits for its turn, and meanwhile comes a mail to INBOX.
            lmtp.deliver([user], chat("told at once"))
            client.read_until(told(server, server.chats, 2 * number - 2))
            lmtp.deliver([user], chat("told a little later"))
            time.sleep(0.005)
            try:
                for session in sessions:
                    os.kill(session, signal.SIGSTOP)
                lmtp.deliver([user], mail(str(number)))
                time.sleep(0.05)
            finally:
                for session in sessions:
                    os.kill(session, signal.SIGCONT)
            client.read_until(told(server, "INBOX", number))


@pytest.mark.private
@pytest.mark.skipif(version() == "2.4.2", reason="this Dovecot waits for the lock")
def test_a_mail_that_found_a_maildir_locked_was_not_told(make_server):
    """To tell of one mail locks it, and the delivery of the next one leaves it in new/."""
    server = make_server(mail_format="maildir")
    user = server.coi_user("active")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        lmtp.deliver([user], mail("first"))
        lock = server.home(user) / "maildir/dovecot-uidlist.lock"
        client.must(NOTIFY)
        count = 1
        # A machine that stands still just then may be too late, but not for ever.
        for _ in range(5):
            lmtp.deliver([user], mail("told at once"))
            count += 1
            client.read_until(told(server, "INBOX", count))
            # for the looks that come from telling it
            time.sleep(0.15)
            lock.write_text(f"{os.getpid()}:{socket.gethostname()}")
            lmtp.deliver([user], mail("not put into the index"))
            lock.unlink()
            count += 1
            if client.is_told(told(server, "INBOX", count), 5):
                return
    pytest.fail("was not told")


@pytest.mark.private
def test_Dovecot_went_on_to_watch_a_log_that_had_been_rotated(make_server):
    """All was told with the next event of another kind, or after half a minute."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    log = server.home(user) / "sdbox/dovecot.list.index.log"
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        lmtp.deliver([user], chat("first"))
        client.must(NOTIFY)
        watched, count = log.stat().st_ino, 1
        while log.stat().st_ino == watched:
            lmtp.deliver([user], chat("fills the log"))
            count += 1
        lmtp.deliver([user], chat("the first in the new one"))
        count += 1
        client.read_until(told(server, server.chats, count))
        began = time.monotonic()
        for _ in range(20):
            lmtp.deliver([user], chat("told at once"))
            count += 1
            client.read_until(told(server, server.chats, count))
            # Stock takes half a second for each, and it was five or thirty.
            assert time.monotonic() - began < 20 * 0.25


@pytest.mark.private
def test_a_folder_that_is_deleted_right_after_it_was_told_stays_deleted(make_server):
    """The second look opened it, which makes a folder with auto = create again."""
    auto = "namespace inbox {\n  mailbox Gone {\n    auto = create\n  }\n}\n"
    server = make_server(mail_format="maildir", after=auto)
    user = server.coi_user("active")
    folder = server.home(user) / "maildir/.Gone"
    with server.imap(user) as client, server.imap(user) as other:
        client.must(NOTIFY)
        other.must("APPEND Gone ", Literal(mail("told")))
        client.read_until(told(server, "Gone", 1))
        assert folder.exists()
        other.must("DELETE Gone")
        # What comes half a second later, or not at all, has come when this is told.
        for number in (1, 2):
            time.sleep(0.6)
            server.deliver("lmtp", user, mail("later"))
            client.read_until(told(server, "INBOX", number))
        assert not folder.exists()


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ("maildir", "sdbox"))
def test_a_sound_index_of_folders_was_taken_for_corrupted(make_server, mail_format):
    """And was made anew, of which sessions crashed. Stock Dovecot does so, too, if less often."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    with ExitStack() as stack:
        clients = [stack.enter_context(server.imap(user)) for _ in range(3)]
        other = stack.enter_context(server.imap(user))
        lmtp = stack.enter_context(Lmtp(server.lmtp_address))
        for client in clients:
            client.must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        before = other.folders()
        for number in range(100):
            made = other.command(f"CREATE new{number}")
            # Dovecot, when it looks at a maildir that is just being made, finishes it.
            assert made.ok or "ALREADYEXISTS" in made.reason
            lmtp.deliver([user], mail(str(number)))
            other.must(f"RENAME new{number} old{number}")
            lmtp.deliver([user], chat(str(number)))
            if number > 0:
                other.must(f"DELETE old{number - 1}")
        for client in clients:
            client.must("NOOP")
            assert client.folders() == sorted([*before, "old99"])


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ("sdbox", "mdbox"))
def test_a_folder_was_opened_while_it_was_being_made(make_server, mail_format):
    """mdbox doubled mails then. The race is Dovecot's, and takes place only at once."""
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    with server.imap(user) as client, server.imap(user) as other:
        client.must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        took = []
        for number in range(3):
            # Until no look waits for its time any more.
            time.sleep(1)
            began = time.monotonic()
            other.must(f"CREATE new{number}")
            client.read_until(f"new{number}")
            took.append(time.monotonic() - began)
            # It is one like others from now on.
            other.must(f"APPEND new{number} ", Literal(mail("told")))
            client.read_until(told(server, f"new{number}", 1))
    # Dovecot's own half second, which a slow machine can only prolong; but a look that
    # is late there, from before, may find a folder that has just been made.
    assert max(took) > 0.4


@pytest.mark.private
def test_what_could_not_be_told_at_once_was_tried_for_ever(make_server):
    """Without a pause: while a client didn't read its mail, and while a folder was new."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    with server.imap(user) as client, server.imap(user) as other:
        client.must("APPEND INBOX ", Literal(mail("big") + b"y" * 20_000_000))
        client.must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        client.must("SELECT INBOX")
        client.send("FETCH 1 BODY[]")
        time.sleep(0.5)
        before = processor_secs(server)
        other.must("CREATE new")
        time.sleep(2)
        assert processor_secs(server) - before < 0.5


@pytest.mark.private
@pytest.mark.parametrize("how", ("NOTIFY again", "IDLE in INBOX"))
def test_who_ended_to_watch_a_file_ended_it_for_NOTIFY(make_server, how):
    """Dovecot has one watch for all of a session that watch a file."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        for make, _ in BOTH:
            lmtp.deliver([user], make("first"))
        client.must(NOTIFY)
        if how == "NOTIFY again":
            client.must(NOTIFY)
        else:
            client.must("SELECT INBOX")
            client.idle()
            time.sleep(1.2)
            client.done()
            client.must(f"SELECT {server.chats}")
        time.sleep(1.2)
        began = time.monotonic()
        for number in range(2, 8):
            lmtp.deliver([user], mail("told at once"))
            client.read_until(told(server, "INBOX", number))
        # It was two or three seconds for each, and in stock half a minute.
        assert time.monotonic() - began < 6


@pytest.mark.private
def test_a_log_that_was_rotated_by_new_folders_was_not_watched(make_server):
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    log = server.home(user) / "sdbox/dovecot.list.index.log"
    with server.imap(user) as client, server.imap(user) as other:
        server.deliver("lmtp", user, chat("first"))
        client.must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        watched, count = log.stat().st_ino, 0
        while log.stat().st_ino == watched:
            other.must(f"CREATE folder-with-a-rather-long-name-{count:05}")
            count += 1
        client.read_until(f"folder-with-a-rather-long-name-{count - 1:05}")
        await_watch(server, log)


@pytest.mark.private
def test_a_folder_that_was_made_while_the_old_log_was_watched_was_not_told(make_server):
    """It is left alone for half a second, and not for ever."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    log = server.home(user) / "sdbox/dovecot.list.index.log"
    with ExitStack() as stack:
        client = stack.enter_context(server.imap(user))
        other = stack.enter_context(server.imap(user))
        lmtp = stack.enter_context(Lmtp(server.lmtp_address))
        lmtp.deliver([user], chat("first"))
        client.must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        watched = log.stat().st_ino
        while log.stat().st_ino == watched:
            lmtp.deliver([user], chat("fills the log"))
        other.must("CREATE new")
        await_soon(client, " new")


@pytest.mark.private
def test_a_log_of_INBOX_that_was_rotated_was_not_watched(make_server):
    server = make_server(mail_format="sdbox", before="mail_index_log_rotate_max_size = 8k\n")
    user = server.new_user()
    log = server.home(user) / "sdbox/mailboxes/INBOX/dbox-Mails/dovecot.index.log"
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        lmtp.deliver([user], mail("first"))
        client.must(NOTIFY)
        watched = log.stat().st_ino
        while log.stat().st_ino == watched:
            lmtp.deliver([user], mail("fills the log"))
        await_watch(server, log)


@pytest.mark.private
def test_a_mail_to_INBOX_was_not_told_because_INBOX_was_subscribed(make_server):
    """That is a change of INBOX, too, and was taken for having told the mail."""
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    with server.imap(user) as client, server.imap(user) as other:
        for make, _ in BOTH:
            server.deliver("lmtp", user, make("first"))
        other.must("UNSUBSCRIBE INBOX")
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge SubscriptionChange))")
        sessions = server.children("imap")
        for number in range(2, 8):
            server.deliver("lmtp", user, chat("told at once"))
            client.read_until(told(server, server.chats, number))
            other.must(f"{'UN' if number % 2 else ''}SUBSCRIBE INBOX")
            time.sleep(0.005)
            try:
                for session in sessions:
                    os.kill(session, signal.SIGSTOP)
                server.deliver("lmtp", user, mail(str(number)))
                time.sleep(0.05)
            finally:
                for session in sessions:
                    os.kill(session, signal.SIGCONT)
            await_soon(client, told(server, "INBOX", number))


@pytest.mark.private
def test_a_flag_that_the_second_look_found_was_not_told(make_server):
    """It syncs a maildir, and the difference by which Dovecot knows of a change is gone."""
    server = make_server(mail_format="maildir")
    user = server.coi_user("active")
    with ExitStack() as stack:
        client = stack.enter_context(server.imap(user))
        other = stack.enter_context(server.imap(user))
        lmtp = stack.enter_context(Lmtp(server.lmtp_address))
        lmtp.deliver([user], mail("first"))
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange))")
        other.must("SELECT INBOX")
        session = next(pid for pid in server.children("imap") if watches(pid))
        for number in range(2, 5):
            time.sleep(1.2)
            lmtp.deliver([user], mail("told at once"))
            client.read_until(told(server, "INBOX", number))
            other.must("NOOP")
            time.sleep(0.15)
            try:
                os.kill(session, signal.SIGSTOP)
                other.must(f"STORE {number - 1} +FLAGS (\\Seen)")
                time.sleep(0.6)
            finally:
                os.kill(session, signal.SIGCONT)
            client.sock.settimeout(SOON)
            # its own, or the one of all counts
            while b"UNSEEN 1)" not in client.read_line():
                pass


@pytest.mark.private
def test_a_maildir_that_is_told_twice_is_looked_into_half_a_second_after(make_server):
    """The second look at the first mail comes too early for what the second one keeps out."""
    server = make_server(mail_format="maildir")
    user = server.new_user()
    maildir = server.home(user) / "maildir"
    with server.imap(user) as client, Lmtp(server.lmtp_address) as lmtp:
        lmtp.deliver([user], mail("first"))
        client.must(NOTIFY)
        count = 1
        # A machine that stands still just then may be too late, but not for ever.
        for number in range(5):
            time.sleep(1.2)
            for pause in (0.3, 0.35):
                lmtp.deliver([user], mail("told at once"))
                count += 1
                client.read_until(told(server, "INBOX", count))
                time.sleep(pause)
            # It isn't in any log, as if the maildir had been locked.
            other = maildir / "tmp" / f"{number}.other"
            other.write_bytes(mail("not put into the index"))
            other.chmod(0o666)
            other.rename(maildir / "new" / other.name)
            count += 1
            if client.is_told(told(server, "INBOX", count), 3):
                return
    pytest.fail("was not told")


@pytest.mark.private
def test_NOTIFY_stays_out_of_an_answer_that_is_being_sent(make_server):
    """For half a second at least; then Dovecot itself writes into it."""
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    with server.imap(user) as client, server.imap(user) as other:
        other.must("CREATE Work")
        client.must("APPEND INBOX ", Literal(mail("big") + b"y" * 20_000_000))
        client.must(NOTIFY)
        client.must("SELECT INBOX")
        clean = []
        # A slow machine may take longer.
        while True not in clean and len(clean) < 5:
            time.sleep(1)
            tag = client.send("FETCH 1 BODY[]")
            time.sleep(0.1)
            other.must("APPEND Work ", Literal(mail("told")))
            time.sleep(0.1)
            response = client.finish(tag)
            clean.append(b"* STATUS" not in response.lines("FETCH")[0])
            if not response.lines("STATUS"):
                client.read_until("STATUS Work")
    assert True in clean


@pytest.mark.private
def test_a_look_that_comes_later_stays_out_of_an_answer_too(make_server):
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    with server.imap(user) as client, server.imap(user) as other:
        other.must("CREATE Work")
        client.must("APPEND INBOX ", Literal(mail("big") + b"y" * 20_000_000))
        client.must("SELECT INBOX")
        client.must(NOTIFY)
        clean = []
        # A slow machine may take longer, and then Dovecot itself writes into it.
        while True not in clean and len(clean) < 5:
            time.sleep(1.2)
            # a reason for a look half a second later
            client.must(NOTIFY)
            began = time.monotonic()
            tag = client.send("FETCH 1 BODY[]")
            time.sleep(0.3)
            other.must("APPEND Work ", Literal(mail("told")))
            time.sleep(max(0, began + 0.65 - time.monotonic()))
            response = client.finish(tag)
            clean.append(b"* STATUS" not in response.lines("FETCH")[0])
            if clean[-1] and not response.lines("STATUS"):
                client.read_until("STATUS Work")
    assert True in clean


@pytest.mark.private
def test_a_session_that_has_told_all_sleeps(make_server):
    """What is told is a reason to look again, but not for ever."""
    server = make_server(mail_format="sdbox")
    user = server.new_user()
    with server.imap(user) as client:
        server.deliver("lmtp", user, mail("first"))
        client.must(NOTIFY)
        server.deliver("lmtp", user, mail("second"))
        client.read_until(told(server, "INBOX", 2))
        time.sleep(2)
        before = server.waits("imap")
        time.sleep(3)
        # It would be 30 times a second; Dovecot itself looks every few seconds.
        assert server.waits("imap") - before < 30


@pytest.mark.private
@pytest.mark.uninstrumented
def test_a_log_that_changes_and_has_nothing_new(fresh_server, work_dir):
    """There are maildirs where each look makes the next one, and a session never came out."""
    changing = work_dir / "changing"
    before = faults(changing=changing, path="/INBOX/")
    server = fresh_server(mail_format="sdbox", before=before)
    user = server.new_user()
    with server.imap(user) as client, server.imap(user) as other:
        client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange))")
        changing.touch()
        server.deliver("lmtp", user, mail("mail"))
        await_soon(client, told(server, "INBOX", 1))
        # It is looked for the sake of another folder.
        other.must("CREATE Work")
        other.must("APPEND Work ", Literal(mail("other")))
        await_soon(client, told(server, "Work", 1))
        # There would be one a moment, without an end.
        time.sleep(1)
        response = client.must("NOOP")
        changing.unlink()
    assert len(response.lines("STATUS")) < 3


# What stock Dovecot says, if less often.
DELETED = "Mailbox list index notify: Failed to sync INBOX: Mailbox was deleted under us"


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ("maildir", "sdbox"))
def test_a_look_took_place_while_INBOX_was_deleted(make_server, mail_format, log):
    """It opened INBOX, which is to make it. And it knew no end of the old one, by which 2.3 had
    the index of the next one for damaged, destroyed it, and so lost the mails in it."""
    log.expect(DELETED)
    server = make_server(mail_format=mail_format)
    with ExitStack() as stack:
        clients = {}
        for _ in range(12):
            user = server.new_user()
            server.lmtp(user, mail=mail("before"))
            clients[user] = stack.enter_context(server.imap(user))
            clients[user].must("NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))")
        for user in clients:
            # A maildir loses its mails, and stays.
            server.run("doveadm", "mailbox", "delete", "-u", user, "INBOX")
        # until all looks are over
        time.sleep(1.2)
        server.lmtp(*clients, mail=mail("after"))
        for user, client in clients.items():
            await_soon(client, "STATUS INBOX (MESSAGES 1 ")
            assert client.subjects("INBOX") == ["after"]
            assert list(server.where(user)) == ["after"]


@pytest.mark.private
def test_a_log_that_could_not_be_looked_at_was_the_end_of_a_session(make_server, log):
    """Dovecot ends to wait then, without telling us, and a look would call back nobody."""
    log.expect(r"stat\(.*\) failed: Permission denied")
    server = make_server(mail_format="sdbox", before="mailbox_idle_check_interval = 1 s\n")
    user = server.new_user()
    server.deliver("lmtp", user, mail("first"))
    directory = server.home(user) / "sdbox"
    mode = directory.stat().st_mode
    with server.imap(user) as client:
        # The second one is a reason for a look half a second later.
        client.must(NOTIFY)
        client.must(NOTIFY)
        directory.chmod(0)
        try:
            client.must("CAPABILITY")
            eventually(lambda: log.count(server, r"stat\(.*\) failed") > 0, "it was looked at")
            time.sleep(0.5)
        finally:
            directory.chmod(mode)
        server.deliver("lmtp", user, mail("second"))
        # What comes next may be a reason for a look.
        for _ in range(2):
            client.must("CAPABILITY")
            time.sleep(0.2)
        client.must("CAPABILITY")


OTHER = "namespace other {\n  prefix = other/\n  separator = /\n" + by_dialect(
    v2_3="  location = sdbox:~/other\n}\n",
    v2_4="  mail_driver = sdbox\n  mail_path = ~/other\n}\n",
)


@pytest.mark.private
@pytest.mark.parametrize(
    "after, folder",
    [(OTHER, "other/Work"), ("mailbox_list_index_include_inbox = yes\n", "INBOX")],
    ids=["other namespace", "INBOX in the list index"],
)
def test_what_has_no_log_of_INBOX_to_look_at_is_told_at_once_too(make_server, after, folder):
    server = make_server(mail_format="sdbox", after=after)
    user = server.new_user()
    with server.imap(user) as client, server.imap(user) as other:
        if folder != "INBOX":
            other.must(f"CREATE {folder}")
        other.must(f"APPEND {folder} ", Literal(mail("first")))
        client.must(NOTIFY)
        began = time.monotonic()
        for number in range(2, 12):
            other.must(f"APPEND {folder} ", Literal(mail("told at once")))
            client.read_until(told(server, folder, number))
        # Stock takes half a second for each.
        assert time.monotonic() - began < 10 * 0.25
