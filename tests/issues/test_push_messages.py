# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Which mail is pushed, and what a push says of it."""

import pytest
from harness.config import version
from harness.contacts import SENDER, block
from harness.mails import chat, mail


@pytest.mark.private
@pytest.mark.skipif(version() == "2.4.2", reason="this Dovecot waits for it in any case")
def test_MSG_1_mail_that_nobody_wants_pushed_waited_for_a_lock(make_server, subscriber):
    """A maildir stores a mail without a UID where somebody holds the lock; a push needs one."""
    server = make_server()
    user = server.coi_user("none")
    subscriber(server, user, "chat").subscribe()
    server.deliver("lmtp", user, chat("first"))
    lock = server.write(user, "maildir/dovecot-uidlist.lock", "")
    # The client gives up before Dovecot breaks the lock.
    server.deliver("lmtp", user, mail("mail"))
    lock.unlink()
    assert set(server.where(user)) == {"first", "mail"}


@pytest.mark.private
def test_BLK_3_blocked_mail_was_pushed_where_Blocked_is_unusable(make_server, subscriber, log):
    server = make_server()
    one = subscriber(server, server.coi_user("active")).subscribe()
    block(server, one.user)
    server.write(one.user, "maildir/.Blocked", "in the way")
    log.expect("Blocked|coi: ")
    server.deliver("lmtp", one.user, mail("blocked"))
    server.deliver("lmtp", one.user, mail("last").replace(SENDER.encode(), b"good@example.org"))
    assert one.until("last") == ["last"]


@pytest.mark.parametrize(
    "msg_id",
    [
        '<"x y"@example.org>',
        '<"x.y"@example.org>',
        '<"x>y"@example.org>',
        "<a b@example.org>",
        "<A.B@Example.ORG>",
        "<a@[192.0.2.1]>",
        "<a..b@example.org>",
        "<a@b@example.org>",
        "<a(b)@example.org>",
        '<a"b@example.org>',
        "<no-domain>",
        "<folded\n in@example.org>",
    ],
)
@pytest.mark.parametrize("before", ["", "(<not@this.one>) "], ids=["", "comment"])
def test_MSG_4_msg_id_was_not_the_mails(server, subscriber, msg_id, before):
    """Clients look a mail up by what ENVELOPE and SEARCH HEADER have."""
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    text = f"From: s@example.org\nMessage-ID: {before}{msg_id}\nSubject: s\n\nHello.\n"
    server.deliver("lmtp", user, text.encode())
    (push,) = one.pushes(1)
    assert push.payload["msg-id"] == msg_id.replace("\n", "")


@pytest.mark.private
@pytest.mark.parametrize(
    "value, name",
    [
        ("Mail Delivery System <MAILER-DAEMON>", "Mail Delivery System"),
        ("MAILER-DAEMON (Mail Delivery System)", "Mail Delivery System"),
        ("=?utf-8?q?J=C3=BCrgen?= <>", "Jürgen"),
        ("Name <root>, Other <>", "Name"),
        ("MAILER-DAEMON", None),
        ('"Group": ;', None),
        ("<root>, Name <name@example.org>", "Name"),
        ("name@example.org, Other <root>", None),
    ],
)
def test_MSG_4_the_name_of_a_sender_without_domain_was_left_out(server, subscriber, value, name):
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, f"From: {value}\nSubject: s\n\nHello.\n".encode())
    (push,) = one.pushes(1)
    assert push.payload.get("from-name") == name
    assert push.payload.get("from-email") in (None, "name@example.org")
