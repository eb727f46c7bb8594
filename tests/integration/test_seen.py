# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-3: a chat mail in INBOX moves to Chats once it is \\Seen."""

import threading

import pytest
from harness.config import by_dialect, dialect, quota
from harness.imap import Literal
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.push import eventually

SEEN = "\\Seen"
FORMATS = ("maildir", "sdbox", "mdbox", "mbox")

# Ways to make the mail with sequence number and UID 1 \Seen.
COMMANDS = {
    "STORE +FLAGS": "STORE 1 +FLAGS (\\Seen)",
    "STORE +FLAGS.SILENT": "STORE 1 +FLAGS.SILENT (\\Seen)",
    "STORE FLAGS": "STORE 1 FLAGS (\\Seen)",
    "STORE FLAGS.SILENT": "STORE 1 FLAGS.SILENT (\\Seen)",
    "STORE without parentheses": "STORE 1 +FLAGS \\Seen",
    "UID STORE +FLAGS": "UID STORE 1 +FLAGS (\\Seen)",
    "UID STORE +FLAGS.SILENT": "UID STORE 1 +FLAGS.SILENT (\\Seen)",
    "UID STORE FLAGS": "UID STORE 1 FLAGS (\\Seen)",
    "STORE with other flags": "STORE 1 +FLAGS (\\Seen \\Answered)",
    "STORE with $Chat": "STORE 1 +FLAGS ($Chat \\Seen)",
    "STORE with UNCHANGEDSINCE": "STORE 1 (UNCHANGEDSINCE 10000) +FLAGS (\\Seen)",
    "FETCH BODY[]": "FETCH 1 BODY[]",
    "FETCH BODY[TEXT]": "FETCH 1 (UID BODY[TEXT])",
    "FETCH RFC822": "FETCH 1 RFC822",
    "UID FETCH BODY[]": "UID FETCH 1 (BODY[])",
    "FETCH BINARY[1]": "FETCH 1 BINARY[1]",
}


@pytest.fixture
def user(server):
    return server.coi_user("seen")


@pytest.mark.parametrize("command", COMMANDS)
def test_FIL_3_every_command_that_sets_Seen_moves(server, user, command):
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.must(COMMANDS[command])
        client.must("NOOP")
        assert client.must("UID SEARCH ALL").untagged == [b"* SEARCH"], "the client is told"
    folder, flags = server.where(user)["chat"]
    assert folder == server.chats
    assert flags - {"\\Answered"} == {"$Chat", SEEN}


def test_FIL_3_FETCH_answers_with_the_mail_before_it_moves(server, user):
    server.deliver("lmtp", user, chat("chat", body="the text\n"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        assert b"the text" in b"".join(client.must("FETCH 1 BODY[]").untagged)


@pytest.mark.parametrize("way", ["flags add", "flags replace"])
def test_FIL_3_doveadm_moves(server, user, way):
    server.deliver("lmtp", user, chat("chat"))
    server.deliver("lmtp", user, mail("ordinary"))
    server.doveadm(*way.split(), "-u", user, SEEN, "mailbox", "INBOX", "all")
    assert server.where(user) == {
        "chat": (server.chats, {"$Chat", SEEN}),
        "ordinary": ("INBOX", {SEEN}),
    }


def test_FIL_3_the_delivery_itself_stays_in_INBOX(server, user):
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must("FETCH 1 (FLAGS BODY.PEEK[])")
        client.store("1", "+FLAGS", "\\Flagged")
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", "\\Flagged"})


def test_FIL_3_flags_keywords_and_date_are_kept(server, user):
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Flagged \\Answered Mine $Other")
        (before,) = client.mails("INBOX")
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
        (after,) = client.mails(server.chats)
    assert after.flags == before.flags | {SEEN}
    assert after.date == before.date


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_an_old_date_is_kept(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    date = "01-Feb-2003 04:05:06 +0000"
    with server.imap(user) as client:
        client.must(f'APPEND INBOX ($Chat) "{date}" ', Literal(chat("chat")))
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
        (moved,) = client.mails(server.chats)
        assert moved.date.strip() == date
        assert client.exists("INBOX") == 0


@pytest.mark.private
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_FIL_3_Seen_of_a_private_index_moves(make_server, mail_format):
    """\\Seen isn't in the mailbox's own index then, where other flags and $Chat are."""
    private = by_dialect(
        v2_3=f"mail_location = {mail_format}:~/{mail_format}:INDEXPVT=~/private\n",
        v2_4="mail_index_private_path = ~/private\n",
    )
    server = make_server(mail_format=mail_format, after=private)
    user = server.coi_user("seen")
    for number in range(1, 4):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    server.deliver("lmtp", user, mail("ordinary"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "\\Flagged")
        assert client.exists("INBOX") == 4
        client.store("2,4", "+FLAGS", SEEN)
        client.must("FETCH 3 BODY[]")
    assert server.where(user) == {
        "chat 1": ("INBOX", {"$Chat", "\\Flagged"}),
        "chat 2": (server.chats, {"$Chat", SEEN}),
        "chat 3": (server.chats, {"$Chat", SEEN}),
        "ordinary": ("INBOX", {SEEN}),
    }


def test_FIL_3_a_replacement_of_all_flags_keeps_Chat_on_the_moved_mail(server, user):
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "FLAGS", "\\Seen Mine")
    assert server.where(user)["chat"] == (server.chats, {"$Chat", SEEN, "Mine"})


def test_FIL_3_Chat_and_Seen_in_one_command_count(server, user):
    server.deliver("lmtp", user, mail("ordinary"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "$Chat \\Seen")
    assert server.where(user)["ordinary"] == (server.chats, {"$Chat", SEEN})


def test_FIL_3_mail_without_Chat_never_moves(server, user):
    for number in range(3):
        server.deliver("lmtp", user, mail(f"ordinary {number}"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1:2", "+FLAGS", SEEN)
        client.must("FETCH 3 BODY[]")
    assert {folder for folder, _ in server.where(user).values()} == {"INBOX"}


def test_FIL_3_chat_mail_in_other_folders_never_moves(server, user):
    with server.imap(user) as client:
        client.must("CREATE Other")
        client.must("APPEND Other ($Chat) ", Literal(chat("elsewhere")))
        client.must(f'APPEND "{server.chats}" ($Chat) ', Literal(chat("there already")))
        for folder in ("Other", server.chats):
            client.must(f'SELECT "{folder}"')
            client.store("1", "+FLAGS", SEEN)
    assert server.where(user) == {
        "elsewhere": ("Other", {"$Chat", SEEN}),
        "there already": (server.chats, {"$Chat", SEEN}),
    }


@pytest.mark.parametrize("message_filter", ["none", "active", None])
def test_FIL_3_other_modes_do_not_move(server, message_filter):
    user = server.coi_user(message_filter)
    with server.imap(user) as client:
        client.must("APPEND INBOX ($Chat) ", Literal(chat("chat")))
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
    assert server.where(user)["chat"][0] == "INBOX"


def test_FIL_3_removing_Seen_or_reading_read_only_does_not_move(server, user):
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("EXAMINE INBOX")
        client.must("FETCH 1 BODY[]")
        client.must("SELECT INBOX")
        client.store("1", "-FLAGS", SEEN)
    assert server.where(user)["chat"] == ("INBOX", {"$Chat"})


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_a_range_moves_the_chats_in_it(make_server, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    for number in range(10):
        make = chat if number % 2 else mail
        server.deliver("lmtp", user, make(f"mail {number}"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1:6", "+FLAGS.SILENT", SEEN)
        assert client.subjects("INBOX") == [f"mail {number}" for number in (0, 2, 4, 6, 7, 8, 9)]
        client.must("SELECT INBOX")
        client.store("1:*", "FLAGS", SEEN)
        assert client.subjects("INBOX") == [f"mail {number}" for number in (0, 2, 4, 6, 8)]
        assert client.subjects(server.chats) == [f"mail {number}" for number in (1, 3, 5, 7, 9)]
        assert all(found.flags == {"$Chat", SEEN} for found in client.mails(server.chats))


def test_FIL_3_the_session_sees_the_moved_mail_expunged_once(server, user):
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        lines = client.must("UID STORE 2 +FLAGS (\\Seen)").untagged
        lines += client.must("NOOP").untagged
        assert [line for line in lines if b"EXPUNGE" in line] == [b"* 2 EXPUNGE"]
        assert client.must("UID SEARCH ALL").untagged == [b"* SEARCH 1 3"]


def seen_by(server, user, barrier, failures, command):
    try:
        with server.imap(user) as client:
            client.must("SELECT INBOX")
            barrier.wait()
            client.command(command)
            client.must("NOOP")
    except Exception as error:  # a thread has no other way to tell
        failures.append(error)


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_racing_clients_neither_lose_nor_double_a_mail(make_server, mail_format):
    count, clients = 200, 4
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    with Lmtp(server.lmtp_address) as lmtp:
        for number in range(count):
            lmtp.deliver([user], chat(f"chat {number:03}"))
    barrier, failures = threading.Barrier(clients), []
    commands = ("STORE 1:* +FLAGS (\\Seen)", "UID STORE 1:* +FLAGS.SILENT (\\Seen)")
    threads = [
        threading.Thread(
            target=seen_by, args=(server, user, barrier, failures, commands[number % 2])
        )
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with server.imap(user) as client:
        assert client.subjects(server.chats) == [f"chat {number:03}" for number in range(count)]
        assert client.exists("INBOX") == 0


@pytest.mark.private
@pytest.mark.parametrize("mail_format", FORMATS)
def test_FIL_3_a_full_mailbox_is_in_nobodys_way(make_server, log, mail_format):
    """What is moved needs no room, as with MOVE."""
    log.expect("[Qq]uota")
    server = make_server(mail_format=mail_format, before=quota())
    user = server.coi_user("seen")
    count = 0
    while server.lmtp(user, mail=chat(f"chat {count}"))[0].startswith("250"):
        count += 1
    assert count > 3
    with server.imap(user) as client:
        assert client.exists("INBOX") == count
        client.store("1:*", "+FLAGS", SEEN)
        assert client.exists("INBOX") == 0
        assert client.exists(server.chats) == count


@pytest.mark.private
def test_FIL_3_FIL_6_where_there_is_no_room_for_it_the_mail_stays(make_server, log):
    """It was an error with each mail that was read."""
    if dialect() == "2.3":
        pytest.skip("who has more than fits may move all of it")
    server = make_server(before=quota().replace("grace = 0", "grace = 10k"))
    user = server.coi_user("seen")
    chats = [f"chat {number}" for number in range(20)]
    replies = [server.lmtp(user, mail=chat(subject))[0] for subject in chats]
    count = sum(reply.startswith("250") for reply in replies)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        for number in range(count - 3, count):
            client.must(f"UID STORE {number} +FLAGS (\\Seen)")
        assert len(client.subjects("INBOX")) > count - 3
    told = f"{user}.*Not allowed to move seen chat mail.*Quota exceeded"
    eventually(lambda: log.count(server, told) == 1, "the log says so")


@pytest.mark.private
def test_FIL_3_FIL_6_where_Chats_is_unusable_the_mail_stays(make_server, log):
    server = make_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    (server.home(user) / "maildir/.COI.Chats").chmod(0)
    log.expect("COI|coi: ")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", SEEN)
        client.must("NOOP")
    (server.home(user) / "maildir/.COI.Chats").chmod(0o700)
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", SEEN})
