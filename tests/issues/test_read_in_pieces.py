# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mode seen and clients that know nothing of it: they fetch a chat in pieces without PEEK, as
alpine, PHP and Thunderbird do. Who fetches the whole has it all, and it moves at once."""

import os
import signal
import time

import pytest
from harness.config import by_dialect, plugins
from harness.mails import chat
from harness.push import eventually

SEEN = "\\Seen"
MULTIPART = ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"']
TEXT = "--b\n\nthe text\n--b\n\n" + "an attachment\n" * 1000 + "--b--\n"
PIECES = {
    "parts": ["FETCH 1 BODY[1]", "FETCH 1 BODY[2]"],
    "parts by UID": ["UID FETCH 1 BODY[1]", "UID FETCH 1 BODY[2]"],
    "octets": ["UID FETCH 1 BODY[]<0.2000>", "UID FETCH 1 BODY[]<2000.20000>"],
    "octets as Thunderbird": [
        "UID FETCH 1 BODY[]<0.2000>",
        "CHECK",
        "UID FETCH 1 BODY[]<2000.20000>",
    ],
    "header and text": ["FETCH 1 BODY[HEADER]", "CAPABILITY", "FETCH 1 RFC822.TEXT"],
    "decoded octets": ["FETCH 1 BINARY[]<0.2000>", "FETCH 1 (BINARY[]<2000.20000>)"],
}
LARGE = "--b\n\nthe text\n--b\n\n" + "an attachment\n" * 1000000 + "--b--\n"
PIECE = "UID FETCH 1 (BODY[1])"
WHOLE = [
    "UID FETCH 1 BODY[]",
    "UID FETCH 1 (FLAGS BODY[])",
    "UID FETCH 1 body[]",
    "UID FETCH 1 RFC822",
    "UID FETCH 1 (BODY.PEEK[HEADER] RFC822)",
    "UID FETCH 1 BINARY[]",
]


def expunged(lines):
    return [line for line in lines if b"EXPUNGE" in line]


@pytest.fixture(params=["maildir", "sdbox", "mdbox"])
def server(request, make_server):
    return make_server(mail_format=request.param)


@pytest.fixture
def user(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat", *MULTIPART, body=TEXT))
    return user


@pytest.mark.private
@pytest.mark.parametrize("pieces", PIECES)
def test_FIL_3_the_first_piece_was_all_that_one_got(server, user, pieces):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        told = [client.must(command) for command in PIECES[pieces]]
        assert b"an attachment\r\nan attachment" in b"".join(told[-1].untagged)
        assert not any(expunged(response.untagged) for response in told)
        assert client.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]
        assert server.where(user) == {"chat": (server.chats, {"$Chat", SEEN})}


@pytest.mark.private
@pytest.mark.parametrize("command", WHOLE)
def test_FIL_3_who_fetches_the_whole_need_not_do_more(server, user, command):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        told = client.must(command)
        assert server.where(user) == {"chat": (server.chats, {"$Chat", SEEN})}
        assert b"an attachment\r\nan attachment" in b"".join(told.untagged)
        assert expunged(told.untagged) == [b"* 1 EXPUNGE"]


@pytest.mark.private
@pytest.mark.parametrize(
    "commands, where",
    [
        (["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"], None),
        (["UID STORE 1 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 1"], None),
        (["STORE 1 +FLAGS.SILENT (\\Deleted)", "CLOSE"], None),
        (["UID MOVE 1 Other"], "Other"),
        (["COPY 1 Other", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE"], "Other"),
    ],
)
def test_FIL_3_what_is_deleted_or_moved_behind_a_piece_came_to_Chats(server, user, commands, where):
    with server.imap(user) as client:
        client.must("CREATE Other")
        client.must("SELECT INBOX")
        client.must(PIECE)
        for command in commands:
            client.must(command)
        client.must("NOOP")
        found = server.where(user)
    assert {name: folder for name, (folder, _) in found.items()} == (
        {"chat": where} if where else {}
    )


@pytest.mark.private
def test_FIL_3_a_copy_in_Chats_is_not_the_mail_that_is_moved(server, user):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        client.must(f'COPY 1 "{server.chats}"')
        client.must("NOOP")
        assert client.subjects(server.chats) == ["chat", "chat"]
        assert client.exists("INBOX") == 0


@pytest.mark.private
def test_FIL_3_what_is_no_chat_any_more_stays(server, user):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        client.store("1", "-FLAGS", "$Chat")
        client.must("NOOP")
        assert server.where(user) == {"chat": ("INBOX", {SEEN})}


@pytest.mark.private
def test_FIL_3_where_no_more_can_be_noted_nothing_waits(make_server):
    server = make_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    late = server.home(user) / "maildir/dovecot-coi.moving.late"
    late.write_text("\n" * 262144)
    late.chmod(0o666)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        assert server.where(user) == {"chat": (server.chats, {"$Chat", SEEN})}


@pytest.mark.private
def test_FIL_3_who_idles_is_told(server, user):
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        client.idle()
        assert client.idle_until("EXPUNGE")[-1] == b"* 1 EXPUNGE"
        client.done()
    assert server.where(user) == {"chat": (server.chats, {"$Chat", SEEN})}


@pytest.mark.private
@pytest.mark.parametrize("how", ["LOGOUT", "the connection is cut", "SELECT", "another reads"])
def test_FIL_3_what_was_begun_is_moved_when_that_is_over(server, user, how):
    server.deliver("lmtp", user, chat("another"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        if how == "another reads":
            with server.imap(user) as other:
                other.must("SELECT INBOX")
                other.store("2", "+FLAGS", SEEN)
            assert server.where(user) == {
                "chat": (server.chats, {"$Chat", SEEN}),
                "another": (server.chats, {"$Chat", SEEN}),
            }
            return
        if how != "the connection is cut":
            client.must(f'SELECT "{server.chats}"' if how == "SELECT" else how)
    place = server.chats, {"$Chat", SEEN}
    eventually(lambda: server.where(user).get("chat") == place, "it was moved")
    assert server.where(user)["another"] == ("INBOX", {"$Chat"})


@pytest.mark.private
def test_FIL_3_a_session_that_falls_silent_keeps_it_from_nobody(make_server):
    server = make_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        place = {"chat": (server.chats, {"$Chat", SEEN})}
        eventually(lambda: server.where(user) == place, "it is moved all the same")
        assert client.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]


@pytest.mark.private
def test_FIL_3_a_session_that_is_killed_behind_a_piece(fresh_server, log):
    server = fresh_server()
    server.kills = True
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    server.deliver("lmtp", user, chat("another"))
    log.expect("killed with signal 9")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(PIECE)
        for pid in server.children("imap"):
            os.kill(pid, signal.SIGKILL)
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", SEEN})
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("2", "+FLAGS", SEEN)
    assert {folder for folder, _ in server.where(user).values()} == {server.chats}


@pytest.mark.private
@pytest.mark.parametrize("first", ["BODY[1]", "FLAGS"])
def test_FIL_3_a_piece_that_the_client_is_slow_to_read_was_the_last(make_server, first):
    server = make_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat", *MULTIPART, body=LARGE))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.must(f"FETCH 1 {first}")
        tag = client.send("FETCH 1 BODY[2]")
        # By then Dovecot waits for us to read; if not, nothing is shown.
        time.sleep(0.3)
        assert len(client.finish(tag).untagged[0]) > 10000000
        assert client.must("FETCH 1 BODY[1]").untagged == [b"* 1 FETCH (BODY[1] {8}\r\nthe text)"]
        assert client.must("NOOP").lines("EXPUNGE") == [b"* 1 EXPUNGE"]
    assert server.where(user) == {"chat": (server.chats, {"$Chat", SEEN})}


VIRTUAL = plugins("virtual") + by_dialect(
    v2_3="namespace {\n  prefix = virtual/\n  separator = /\n  location = virtual:~/virtual\n}\n",
    v2_4="namespace virtual {\n  prefix = virtual/\n  separator = /\n  mail_driver = virtual\n"
    "  mail_path = ~/virtual\n}\n",
)


@pytest.mark.private
@pytest.mark.parametrize("pieces", PIECES)
def test_FIL_3_the_first_piece_was_all_that_one_got_of_a_virtual_folder(make_server, pieces):
    """There it is the sync behind a FETCH by which INBOX gets \\Seen."""
    server = make_server(before=VIRTUAL)
    user = server.coi_user("seen")
    server.write(user, "virtual/all/dovecot-virtual", "INBOX\n  all\n")
    server.deliver("lmtp", user, chat("chat", *MULTIPART, body=TEXT))
    with server.imap(user) as client:
        client.must("SELECT virtual/all")
        told = [client.must(command) for command in PIECES[pieces]]
        assert b"an attachment\r\nan attachment" in b"".join(told[-1].untagged)
        assert not any(expunged(response.untagged) for response in told)
        client.must("NOOP")
    with server.imap(user) as client:
        assert client.subjects(server.chats) == ["chat"]
        assert client.exists("INBOX") == 0
