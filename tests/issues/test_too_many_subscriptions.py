# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""More subscriptions or device tokens than a user may have, or larger ones: the admin lowered
the limit, or dsync or another tool brought them."""

import hashlib
import itertools
import time
from dataclasses import replace

import pytest
from harness.doveadm import dsync
from harness.gateway import new_token, set_token, tokens
from harness.mails import mail
from harness.push import eventually, subscriptions

pytestmark = pytest.mark.private


def test_SUB_7_MSG_1_more_than_a_user_may_have_kept_out_the_newest(fresh_server, subscriber):
    """It was taken and confirmed, and neither listed nor pushed to.

    Those with the first ids were used, where the admin had lowered the limit, or dsync
    had brought together what two servers had.
    """
    server = fresh_server(push=(("webpush_subscription_limit", 3),))
    user = server.new_user()
    first, second, last = (subscriber(server, user, id=f"{n}-of-three") for n in (1, 2, 3))
    for one in (first, second, last):
        one.subscribe()
    server.restart(replace(server.settings, push=(("webpush_subscription_limit", 2),)))
    # Times are in seconds.
    this_second = int(time.time())
    eventually(lambda: int(time.time()) > this_second, "it is later")
    last.subscribe()
    assert len(subscriptions(server, user)) == 2
    server.deliver("lmtp", user, mail("mail"))
    assert last.until("mail") == ["mail"]
    assert subscriber(server, user).set().text.startswith("[METADATA TOOMANY] ")


def test_SUB_3_one_that_is_a_little_too_large_took_the_push_from_all(make_server, subscriber):
    """As it may come by dsync or another tool: we store none that is so large."""
    server = make_server()
    one = subscriber(server, server.new_user()).subscribe()
    path = server.home(one.user) / "dovecot-attributes"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(f"/{one.id}"))
    stored = lines[at + 1]
    stored = stored.replace('"client":"', '"client":"' + "x" * (16384 - len(stored)))
    lines[at:at] = [lines[at].removesuffix(one.id) + "A-large-one", stored]
    server.write(one.user, "dovecot-attributes", "\n".join(lines) + "\n")
    server.deliver("lmtp", one.user, mail("mail"))
    assert one.until("mail") == ["mail"]


def test_MSG_1_more_subscriptions_than_are_handed_over_at_once(make_server, subscriber, service):
    """Where the admin allows so many: 100 in one request, and then the others."""
    server = make_server(push=(("webpush_subscription_limit", 1000),))
    one = subscriber(server, server.new_user()).subscribe()
    path = server.home(one.user) / "dovecot-attributes"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(f"/{one.id}"))
    endpoints = [f"{one.endpoint}-{number}" for number in range(120)]
    for number, endpoint in enumerate(endpoints):
        key = lines[at].removesuffix(one.id) + f"another-{number:04}"
        lines += [key, lines[at + 1].replace(one.endpoint, endpoint)]
    server.write(one.user, "dovecot-attributes", "\n".join(lines) + "\n")
    server.deliver("lmtp", one.user, mail("mail"))
    assert one.until("mail") == ["mail"]
    for endpoint in endpoints:
        service.wait_for(endpoint.removeprefix(service.origin))


def token_with_the_last_id():
    for number in itertools.count():
        token = f"openpgp:last{number}"
        if hashlib.sha256(token.encode()).hexdigest().startswith("fff"):
            return token


def two_in_sync(make_server, gateway):
    """Two servers, and a user whose INBOX is the same in both."""
    source = make_server(push=gateway.settings)
    target = make_server(push=gateway.settings, after="# another one\n")
    user = source.new_user()
    source.deliver("lmtp", user, mail("before"))
    for _ in range(2):
        dsync(source, user, target, "sync")
    return source, target, user


def test_CLI_4_more_tokens_than_a_user_may_have(make_server, gateway):
    """The newest wasn't used: the first ten were, and for ever."""
    source, target, user = two_in_sync(make_server, gateway)
    for server in (source, target):
        for _ in range(10):
            assert set_token(server, user, new_token()) == "OK"
    source.deliver("lmtp", user, mail("between"))
    dsync(source, user, target, "sync")
    token = token_with_the_last_id()
    assert set_token(target, user, token) == "OK"
    assert len(tokens(target, user)) == 10
    target.deliver("lmtp", user, mail("mail"))
    gateway.wait(token)


def test_CLI_4_the_newest_of_more_tokens_than_a_user_may_have(make_server, gateway):
    """It is in the second ten, and nothing has been set where the mail comes."""
    source, target, user = two_in_sync(make_server, gateway)
    for server in (source, target):
        for _ in range(9):
            assert set_token(server, user, new_token()) == "OK"
    # Times are in seconds.
    second = int(time.time())
    eventually(lambda: int(time.time()) > second, "it is later")
    token = token_with_the_last_id()
    assert set_token(source, user, token) == "OK"
    source.deliver("lmtp", user, mail("between"))
    gateway.wait(token)
    dsync(source, user, target, "sync")
    target.deliver("lmtp", user, mail("mail"))
    gateway.wait(token, 2)
