# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-7: what tests/stress/alike and odd setups have found to be unlike stock Dovecot."""

import itertools
import os
import re
import time

import pytest
from harness.config import by_dialect, metadata_dict, plugins
from harness.mails import chat, mail
from harness.server import MAIL_UID, ROOT

pytestmark = pytest.mark.private


def alias(prefix):
    """INBOX by another name."""
    aliased = by_dialect(v2_3="INBOX/", v2_4="inbox")
    return (
        f"namespace other {{\n  prefix = {prefix}\n  separator = /\n  hidden = yes\n  list = no\n"
        f"  alias_for = {aliased}\n}}\n"
    )


ALIAS = alias("mail/")


@pytest.mark.parametrize(
    "entry",
    [
        ("-s", "", "/shared/vendor/deltachat/maxsmtprecipients"),
        ("INBOX", "/private/devicetoken"),
        ("INBOX", "/private/comment"),
    ],
    ids=["recipients", "token", "comment"],
)
def test_CLI_4_FIL_7_doveadm_could_set_an_entry_that_is_off(make_server, entry):
    """To ask whether Delta Chat's are on gave Dovecot our place for entries, to put them in."""
    *where, name = entry
    answers = []
    for coi in (False, True):
        server = make_server(coi=coi)
        user = server.new_user()
        command = ("doveadm", "mailbox", "metadata")
        for what, value in (("set", ["value"]), ("get", []), ("unset", [])):
            done = server.run(*command, what, "-u", user, *where, name, *value)
            answers.append((done.returncode, done.stderr.replace(user.encode(), b"USER")))
        assert not (server.home(user) / "dovecot-attributes").exists()
    assert answers[3:] == answers[:3]


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_7_a_mail_that_came_twice_left_our_headers_in_the_cache(make_server, mail_format):
    """The second one is copied from the first, which was asked whether it is chat."""
    fields = []
    for coi in (False, True):
        server = make_server(coi=coi, mail_format=mail_format)
        user = server.new_user()
        for text in (mail("mail"), chat("chat")):
            replies = server.lmtp(user, f"{user}+detail", user, mail=text)
            assert all(reply.startswith("250") for reply in replies)
        decisions = server.doveadm(
            "-f", "flow", "mailbox", "cache", "decision", "--all", "-u", user, "INBOX"
        )
        fields.append(sorted(re.findall(r"field=(\S+) decision=(\S+)", decisions)))
    assert fields[0]
    assert fields[1] == fields[0]


@pytest.mark.parametrize("mail_format", ["maildir", "mdbox"])
def test_FIL_7_INBOX_was_left_out_of_the_list_index_where_there_is_an_alias(
    make_server, mail_format
):
    """For its entries it was made another kind of folder, for all else, too: NOTIFY missed it."""
    sizes, answers = [], []
    for coi in (False, True):
        server = make_server(coi=coi, mail_format=mail_format, prefix="INBOX/", after=ALIAS)
        user = server.new_user()
        for number in range(3):
            server.deliver("lmtp", user, mail(f"mail {number}"))
        (log,) = server.home(user).rglob("dovecot.list.index.log")
        sizes.append(log.stat().st_size)
        with server.imap(user) as client:
            answers.append(client.command('DELETE "mail/INBOX"').reason)
    assert sizes[1] == sizes[0]
    assert answers[1] == answers[0]


def namespace(name, driver):
    place = by_dialect(
        v2_3=f"  location = {driver}:~/{name}\n",
        v2_4=f"  mail_driver = {driver}\n  mail_path = ~/{name}\n",
    )
    return f"namespace {name} {{\n  prefix = {name}/\n  separator = /\n{place}}}\n"


def test_FIL_7_NOTIFY_told_of_INBOX_without_end_where_there_is_an_alias(make_server):
    """To 2.3 INBOX by way of an alias is another folder, but in one place of the list's index.
    Each look into one of them, as we took after each that was told, changed the other one's.
    """
    spaces = plugins("virtual") + namespace("virtual", "virtual") + namespace("archive", "mdbox")
    server = make_server(mail_format="maildir", prefix="INBOX/", after=spaces + ALIAS)
    user = server.new_user()
    server.write(user, "virtual/All/dovecot-virtual", "*\n  all\n")
    for number in range(2):
        server.deliver("lmtp", user, mail(f"mail {number}"))
    with server.imap(user) as client:
        client.must("NOTIFY SET (INBOXES (MessageNew MessageExpunge))")
        server.deliver("lmtp", user, mail("mail"))
        time.sleep(3)
        assert client.must("NOOP").lines("STATUS")
        time.sleep(2)
        # For a NOOP Dovecot looks by itself.
        assert len(client.must("NOOP").lines("STATUS")) < 5


def mailboxes_on_disk(server, user):
    home = server.home(user)
    return sorted(str(path.relative_to(home)) for path in home.rglob("dovecot-uidlist"))


@pytest.mark.parametrize("prefix", ["", "mail/"])
def test_ENA_6_FIL_7_INBOX_was_made_where_it_is_not_for_2_3(make_server, prefix):
    """Where an alias comes first, INBOX is another maildir, and we asked for the usual one. That
    there was one more then changed whose entries Dovecot took for the user's."""
    server = make_server(prefix="INBOX/", before=alias(prefix))
    user = server.coi_user()
    server.deliver("lmtp", user, chat("chat"))
    before = mailboxes_on_disk(server, user)
    enabled = f"{ROOT}/enabled"
    with server.imap(user) as client:
        client.must(f'DELETE "{server.chats}"')
        assert client.getmetadata(enabled) == {enabled: None}
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        assert client.getmetadata(enabled) == {enabled: None}
        assert client.subjects("INBOX") == ["chat", "mail"]
    assert mailboxes_on_disk(server, user) == [name for name in before if "Chats" not in name]


@pytest.mark.parametrize("prefix", ["", "mail/"])
def test_FIL_7_the_servers_comment_could_not_be_set_where_an_alias_comes_first(make_server, prefix):
    """INBOX by way of it had Dovecot's own entries of the server with us, which are read-only."""
    before = alias(prefix) + metadata_dict("attributes") + "imap_metadata = yes\n"
    names = ["/shared/admin"]
    for name in ("comment", "vendor/x"):
        names += [f"/shared/{name}", f"/private/{name}"]
    answers = []
    for coi in (False, True):
        server = make_server(coi=coi, prefix="INBOX/", before=before)
        user = server.new_user()
        with server.imap(user) as client:
            said = []
            for name in names:
                for value in ("value", None):
                    said.append((name, client.setmetadata({name: value}).reason))
                    said.append(client.command(f'GETMETADATA "" {name}').untagged)
        answers.append(said)
    assert answers[1] == answers[0]


@pytest.mark.parametrize("before", ["", alias(""), alias("mail/")], ids=["none", "first", "mail"])
def test_FIL_7_NOTIFY_made_INBOX(make_server, before):
    found = []
    for coi in (False, True):
        server = make_server(coi=coi, prefix="INBOX/", before=before)
        user = server.new_user()
        with server.imap(user) as client:
            client.must("NOTIFY SET (INBOXES (MessageNew MessageExpunge))")
        found.append(mailboxes_on_disk(server, user))
        server.deliver("lmtp", user, mail("mail"))
        found[-1].append(mailboxes_on_disk(server, user))
    assert found[1] == found[0]


def test_FIL_7_NOTIFY_without_an_index_of_the_list(make_server):
    notify = "NOTIFY SET (PERSONAL (MessageNew MessageExpunge))"
    answers = []
    for coi in (False, True):
        server = make_server(coi=coi, before="mailbox_list_index = no\n")
        user = server.new_user()
        with server.imap(user) as client:
            answers.append(client.command(notify).reason)
            server.deliver("lmtp", user, mail("mail"))
            client.must("NOOP")
    assert answers[1] == answers[0]


CONTROL = by_dialect(
    v2_3="mail_location = maildir:~/maildir:CONTROL=~/control\n",
    v2_4="mail_path = ~/maildir\nmail_control_path = ~/control\n",
)


def answers(server, user):
    """What deliveries get while the user's control files can't be changed."""
    control = server.home(user) / "control"
    directories = [control, *(path for path in control.rglob("*") if path.is_dir())]
    for directory in directories:
        os.chown(directory, 0, 0)
        directory.chmod(0o755)
    found = [server.lmtp(user, mail=one)[0][:3] for one in (chat("chat"), mail("mail"))]
    for directory in directories:
        os.chown(directory, MAIL_UID, MAIL_UID)
    return found


@pytest.mark.parametrize("mode", ["none", "active", "pushed"])
def test_FIL_7_a_maildir_whose_control_files_can_only_be_read_took_no_chats(
    make_server, log, subscriber, mode
):
    """Dovecot stores a mail without a UID there, but neither keywords nor UIDs."""
    log.expect("Permission denied|Error: open\\(.*dovecot-uidlist.lock")
    stock = make_server(coi=False, before=CONTROL)
    plain = stock.new_user()
    stock.deliver("lmtp", plain, mail("before"))
    server = make_server(before=CONTROL)
    user = server.coi_user("none" if mode == "pushed" else mode)
    if mode == "pushed":
        subscriber(server, user).subscribe()
    server.deliver("lmtp", user, mail("before"))
    found = answers(server, user)
    assert found == answers(stock, plain)
    folder = server.chats if mode == "active" else "INBOX"
    expected = {"before": "INBOX", "chat": folder, "mail": "INBOX"}
    taken = ["before", *itertools.compress(("chat", "mail"), (one == "250" for one in found))]
    where = {subject: place for subject, (place, _) in server.where(user).items()}
    assert where == {subject: expected[subject] for subject in taken}


# The index, and for an mbox all but INBOX, is elsewhere.
READ_ONLY = {
    "maildir": by_dialect(
        v2_3="mail_location = maildir:~/maildir:INDEX=~/index:CONTROL=~/control\n",
        v2_4="mail_index_path = ~/index\nmail_control_path = ~/control\n",
    ),
    "mbox": by_dialect(
        v2_3="mail_location = mbox:~/mbox:INBOX=~/spool/inbox:INDEX=~/index\n",
        v2_4="mail_path = ~/mbox\nmail_inbox_path = ~/spool/inbox\nmail_index_path = ~/index\n",
    ),
}
INBOX_FILES = {"maildir": ["maildir/cur", "maildir/new"], "mbox": ["spool", "spool/inbox"]}


@pytest.mark.parametrize("mail_format", READ_ONLY)
def test_FIL_3_FIL_7_a_chat_that_is_read_in_an_INBOX_that_can_only_be_read(
    make_server, log, mail_format
):
    """Dovecot says so to the client, and sets \\Seen in the index."""
    if mail_format == "mbox":
        log.expect(r"file_dotlock_create\(.*/spool/inbox\) failed: Permission denied")
    server = make_server(before=READ_ONLY[mail_format], mail_format=mail_format)
    user = server.new_user()
    server.write(user, "spool/nothing", "")
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": "seen"}).ok
    for subject in ("one", "two"):
        server.deliver("lmtp", user, chat(subject))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 2
    paths = [server.home(user) / name for name in INBOX_FILES[mail_format]]
    for path in paths:
        os.chown(path, 0, 0)
        path.chmod(0o755)
    with server.imap(user) as client:
        assert client.must("SELECT INBOX").text.startswith("[READ-ONLY]")
        client.store("1", "+FLAGS", "\\Seen")
        client.must("FETCH 2 BODY[]")
        assert client.must("NOOP").untagged == []
        assert [mail.flags for mail in client.mails("INBOX")] == [{"$Chat", "\\Seen"}, {"$Chat"}]
    for path in paths:
        os.chown(path, MAIL_UID, MAIL_UID)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("2", "+FLAGS", "\\Seen")
        assert client.subjects("INBOX") == ["one"]
        assert client.subjects(server.chats) == ["two"]
