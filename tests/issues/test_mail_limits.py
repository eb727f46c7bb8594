# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a limit refuses is no failure of ours."""

import dataclasses

import pytest
from harness.config import by_dialect, dialect, plugins, quota
from harness.mails import chat
from harness.push import eventually
from harness.server import ROOT
from test_blocked import SENDER, add, contact, where

pytestmark = pytest.mark.private

SEEN = "\\Seen"
BIG = chat("big", body="0123456789\n" * 1000)
MAIL_SIZE = plugins("quota") + by_dialect(
    v2_3="plugin {\n  quota = count:User quota\n  quota_vsizes = yes\n"
    "  quota_max_mail_size = 1k\n}\n",
    v2_4='quota_mail_size = 1k\nquota "User quota" {\n  driver = count\n}\n',
)
SIEVE = pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])


@SIEVE
def test_FIL_6_a_mail_larger_than_any_may_be_made_an_error_of_ours(make_server, log, sieve):
    replies = []
    for with_coi in (False, True):
        server = make_server(coi=with_coi, before=MAIL_SIZE, sieve=sieve)
        user = server.coi_user("active", "big") if with_coi else server.new_user("big")
        replies += server.lmtp(user, mail=BIG)
        assert server.where(user) == {}
        assert log.count(server, "coi: ") == 0
    stock, ours = replies
    assert ours == stock


@SIEVE
def test_FIL_6_INBOX_may_have_room_where_Chats_has_none(make_server, log, sieve):
    more = by_dialect(
        v2_3="plugin {\n  quota_rule2 = INBOX:storage=+100M\n}\n",
        v2_4="namespace inbox {\n  mailbox INBOX {\n    quota_storage_extra = 100M\n  }\n}\n",
    )
    server = make_server(before=quota() + more, sieve=sieve)
    user = server.coi_user("active")
    server.deliver("lmtp", user, BIG)
    assert server.where(user)["big"] == ("INBOX", {"$Chat"})


def test_FIL_3_a_chat_larger_than_any_may_be_was_an_error_with_each_that_is_read(
    fresh_server, log
):
    """2.3 moves it, as it takes no more room. The others are moved in any case."""
    server = fresh_server()
    user = server.coi_user("seen")
    server.deliver("lmtp", user, BIG)
    server.restart(dataclasses.replace(server.settings, before=MAIL_SIZE))
    server.deliver("lmtp", user, chat("one"))
    server.deliver("lmtp", user, chat("two"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1:2", "+FLAGS", SEEN)
        client.store("1:*", "+FLAGS", SEEN)
        assert sorted(client.subjects(server.chats))[-2:] == ["one", "two"]
        assert sorted(client.subjects("INBOX") + client.subjects(server.chats)) == [
            "big",
            "one",
            "two",
        ]


@SIEVE
def test_ENA_1_BLK_3_FIL_6_as_many_folders_as_there_may_be_made_errors(make_server, log, sieve):
    if dialect() == "2.3":
        pytest.skip("it has no such limit")
    server = make_server(before=quota("1M") + "quota_mailbox_count = 3\n", sieve=sieve)
    many, user = server.new_user(), server.coi_user("active")
    with server.imap(many) as client:
        client.must("CREATE one")
        client.must("CREATE two")
        response = client.setmetadata({f"{ROOT}/enabled": "yes"})
        assert (response.status, response.text.split()[0]) == ("NO", "[LIMIT]")
        assert client.folders() == ["INBOX", "one", "two"]
    add(server, user, contact(SENDER, blocked=True))
    server.deliver("lmtp", user, chat("chat"))
    assert where(server, user) == {"chat": (server.chats, {"$Chat"})}
    told = f"{many}.*Info: .*Can't create the COI folders: Maximum number"
    eventually(lambda: log.count(server, told) == 1, "the log says why there are none")
    told = f"{user}.*Info: .*Can't open Blocked, so the mail .*: Maximum number"
    eventually(lambda: log.count(server, told) == 1, "the log says why it isn't in Blocked")
