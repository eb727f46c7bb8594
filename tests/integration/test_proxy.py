# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A Dovecot that passes all on to the one that has the mail, as large providers have it."""

import pytest
from harness.config import by_dialect
from harness.imap import Imap
from harness.mails import chat, mail
from test_blocked import SENDER, add, contact

pytestmark = pytest.mark.private


@pytest.fixture(params=[True, False], ids=["with us", "stock"])
def proxied(request, fresh_server):
    """The server, and another one in front of it, where we are or aren't."""
    server = fresh_server()
    imap, lmtp = server.imap_address[1], server.lmtp_address[1]
    front = fresh_server(
        coi=request.param,
        passdb=by_dialect(
            v2_3="passdb {\n  driver = static\n  args = proxy=y nopassword=y host=127.0.0.1 "
            f"port=%{{if;%s;eq;lmtp;{lmtp};{imap}}}\n}}\n",
            v2_4="passdb static {\n  fields {\n    proxy = yes\n    nopassword = yes\n"
            f"    host = 127.0.0.1\n    port = %{{protocol | if('eq', 'lmtp', {lmtp}, {imap})}}\n"
            "  }\n}\n",
        ),
        after="lmtp_proxy = yes\n",
    )
    return server, front


def test_CAP_1_FIL_2_by_way_of_a_proxy(proxied):
    server, front = proxied
    user = front.new_user()
    with front.imap(user) as client, server.imap(user) as direct:
        assert client.capabilities() == direct.capabilities()
        assert "COI" in client.capabilities()
    front.coi_user("active", name=user)
    front.deliver("lmtp", user, chat("chat"))
    front.deliver("lmtp", user, mail("mail"))
    assert front.where(user) == {"chat": (server.chats, {"$Chat"}), "mail": ("INBOX", set())}
    assert not list(front.homes.iterdir())


def test_IDL_1_MSG_4_by_way_of_a_proxy(proxied, subscriber):
    _, front = proxied
    user = front.new_user()
    one = subscriber(front, user).subscribe()
    with front.imap(user) as client:
        client.must("SELECT INBOX")
        client.idle()
        front.deliver("lmtp", user, mail("mail"))
        client.idle_until("EXISTS")
        client.done()
    (push,) = one.pushes(1)
    assert push.payload["subject"] == "mail"


def test_CAP_2_before_the_login_the_proxy_lists_nothing_of_ours(proxied):
    _, front = proxied
    ours = {"COI", "WEBPUSH", "METADATA", "METADATA-SERVER"}
    with Imap(front.imap_address) as client:
        assert not ours & set(client.capabilities())
        login = client.login(front.new_user(), front.password)
        told = b" ".join(login.lines("CAPABILITY")).decode() or login.text.split("]")[0]
        assert ours & set(told.split()) == {"COI", "WEBPUSH", "METADATA-SERVER"}


@pytest.mark.parametrize("turned", [False, True])
def test_FIL_8_BLK_3_several_recipients_by_way_of_a_proxy(proxied, turned):
    server, front = proxied
    users = [front.coi_user(how) for how in ("active", "none", "seen")]
    users.append(front.new_user())
    users.append(front.coi_user("active"))
    add(front, users[4], contact(SENDER, blocked=True))
    recipients = users[::-1] if turned else users
    replies = front.lmtp(*recipients, mail=chat("chat"))
    assert [reply[:3] for reply in replies] == ["250"] * len(users)
    assert [front.where(user)["chat"] for user in users] == [
        (server.chats, {"$Chat"}),
        ("INBOX", {"$Chat"}),
        ("INBOX", {"$Chat"}),
        ("INBOX", set()),
        (server.folder("Blocked"), {"$Chat"}),
    ]
