# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-6: a Chats folder that cannot be used costs no mail."""

import shutil

import pytest
from harness.config import by_dialect, plugins, quota, settings
from harness.mails import chat, mail
from harness.push import eventually

pytestmark = pytest.mark.private
WAYS = ("lmtp", "lda")
ACL = plugins("acl") + by_dialect(
    v2_3="plugin {\n  acl = vfile\n}\n", v2_4="acl_driver = vfile\n"
)


def a_file_in_its_place(server, user):
    shutil.rmtree(server.home(user) / "maildir/.COI.Chats")
    server.write(user, "maildir/.COI.Chats", "in the way")


def not_writable(server, user):
    path = server.home(user) / "maildir/.COI.Chats"
    for name in ("cur", "new", "tmp"):
        (path / name).chmod(0o500)


def not_to_be_opened(server, user):
    (server.home(user) / "maildir/.COI.Chats").chmod(0)


OBSTACLES = (a_file_in_its_place, not_writable, not_to_be_opened)


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_FIL_6_the_mail_goes_where_it_would_have_gone(make_server, log, obstacle, way, sieve):
    server = make_server(sieve=sieve)
    user = server.coi_user("active")
    obstacle(server, user)
    log.expect("COI|coi: ")
    server.deliver(way, user, chat("chat"))
    server.deliver(way, user, mail("ordinary"))
    with server.imap(user) as client:
        found = {entry.subject: entry.flags for entry in client.mails("INBOX")}
    assert found == {"chat": {"$Chat"}, "ordinary": set()}
    eventually(lambda: log.count(server, "coi: ") >= 1, "the reason is logged")


@pytest.mark.parametrize("way", WAYS)
def test_FIL_6_ACL_forbids(make_server, log, way):
    server = make_server(before=ACL)
    user = server.coi_user("active")
    server.write(user, "maildir/.COI.Chats/dovecot-acl", "owner lr\n")
    log.expect("COI|coi: ")
    server.deliver(way, user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", {"$Chat"})


@pytest.mark.parametrize("mail_format", ["sdbox", "mdbox"])
def test_FIL_6_dbox(make_server, log, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    path = server.home(user) / mail_format / "mailboxes/COI"
    path.chmod(0)
    log.expect("COI|coi: ")
    server.deliver("lmtp", user, chat("chat"))
    path.chmod(0o700)
    assert server.where(user)["chat"] == ("INBOX", {"$Chat"})


@pytest.mark.parametrize("way", WAYS)
def test_FIL_6_a_folder_that_is_gone_is_made_again(make_server, way):
    server = make_server()
    user = server.coi_user("active")
    shutil.rmtree(server.home(user) / "maildir/.COI.Chats")
    server.deliver(way, user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat"})
    with server.imap(user) as client:
        assert server.chats in client.folders("LSUB")


def answer_of(server, way, user, text):
    if way == "lmtp":
        (reply,) = server.lmtp(user, mail=text)
        return reply
    # With -e the answer is a status, and not a mail to the sender.
    done = server.lda(user, text, "-e")
    return f"{done.returncode} {done.stderr.splitlines()[-1]}"


@pytest.mark.parametrize("way, status", [("lmtp", "552"), ("lda", "77")])
@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
def test_FIL_6_quota_exceeded_is_answered_as_stock_does(make_server, log, sieve, way, status):
    big = chat("big", body="0123456789\n" * 1000)
    log.expect("[Qq]uota")
    answers = []
    for with_coi in (False, True):
        server = make_server(coi=with_coi, before=quota(), sieve=sieve)
        name = f"full-{way}"
        user = server.coi_user("active", name) if with_coi else server.new_user(name)
        answers.append(answer_of(server, way, user, big))
        assert server.where(user) == {}
    stock, ours = answers
    assert ours == stock
    assert ours.startswith(f"{status} ")


def test_FIL_6_quota_leaves_room_for_small_chats(make_server):
    server = make_server(before=quota())
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("small"))
    assert server.where(user)["small"] == (server.chats, {"$Chat"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("coi_mailbox_root", "a*b", id="FIL_6_no_folder"),
        pytest.param("coi_chat_rules", "chat-version telepathy", id="CLI_3_unknown_rule"),
    ],
)
def test_FIL_6_CLI_3_a_bad_setting_turns_COI_off(make_server, log, name, value):
    server = make_server(after=settings(**{name: value}))
    log.expect(name)
    user = server.new_user()
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        assert "COI" not in client.capabilities()
    assert server.where(user)["chat"] == ("INBOX", set())
    eventually(lambda: log.count(server, name) >= 1, "it is in the log")
