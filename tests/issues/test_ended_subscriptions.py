# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Subscriptions and device tokens that were removed, replaced, or gone for their service.

What needs no server is in relay_ended_subscriptions_test.cc.
"""

import fcntl
import json
import os
import signal
import time

import pytest
from harness.gateway import PATH, new_token, set_token, tokens
from harness.held import LOCK_OF_SUBSCRIPTIONS, Held
from harness.lmtp import Lmtp
from harness.mails import mail
from harness.push import SUBSCRIPTIONS, eventually, gone, queued, service_pids, subscriptions
from harness.push_service import answer
from test_failing_metadata import unwritable

pytestmark = pytest.mark.private


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_SUB_2_what_waited_for_a_subscription_was_sent_after_its_end(own, subscriber, service, how):
    """A lost phone got subject and text of all that waited, for a day."""
    one = subscriber(own, own.new_user()).subscribe()
    service.on(one.path, answer(503))
    own.deliver("lmtp", one.user, mail("secret"))
    one.pushes(1)
    assert queued(own) == 1
    if how == "removed":
        assert one.remove().ok
    else:
        service.on(one.path, answer(201))
        assert one.set().ok
    eventually(lambda: queued(own) == 0, "nothing waits")
    assert len(one.requests()) == 1


def test_MSG_9_one_that_cannot_be_removed_is_not_tried_by_each_delivery(own, subscriber, log):
    log.expect("dovecot-attributes|Can't remove push subscriptions")
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    before = log.count(own, "lmtp.*Disconnect")
    with unwritable(own, one.user), Lmtp(own.lmtp_address) as client:
        for _ in range(3):
            (reply,) = client.deliver([one.user], mail("mail"))
            assert reply.startswith("250")
    eventually(lambda: log.count(own, "lmtp.*Disconnect") > before, "all is logged")
    assert log.count(own, "Can't remove push subscriptions") == 1


def test_MSG_11_no_delivery_waits_for_who_changes_subscriptions(own, subscriber):
    """That takes as long as others like, and the one that is gone can be removed later."""
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    attributes = own.home(one.user) / "dovecot-attributes"
    with Held(own, one.user, LOCK_OF_SUBSCRIPTIONS):
        began = time.monotonic()
        own.deliver("lmtp", one.user, mail("meanwhile"))
        # Others wait for 20 s.
        assert time.monotonic() - began < 15
        assert one.id in attributes.read_text()
    own.deliver("lda", one.user, mail("later"))
    assert one.id not in attributes.read_text()


def test_MSG_9_one_that_was_gone_was_shown_by_its_name(own, subscriber):
    one = subscriber(own, own.new_user()).subscribe()
    gone(own, one)
    with own.imap(one.user) as client:
        assert client.getmetadata(one.entry) == {one.entry: None}


def test_SUB_5_those_that_were_gone_kept_out_new_ones(fresh_server, subscriber, service, log):
    log.expect(r"coi-push|coi: ")
    server = fresh_server(push=(("webpush_subscription_limit", "1"),))
    one = subscriber(server, server.new_user()).subscribe()
    another = subscriber(server, one.user)
    assert not another.set().ok
    gone(server, one)
    another.subscribe()
    assert set(subscriptions(server, one.user)) == {another.id}


def test_SUB_2_a_removal_was_kept_from_the_service_that_had_been_away(
    fresh_server, subscriber, service, log
):
    log.expect("coi: |coi-push")
    server = fresh_server(push=(("coi_push_handoff_timeout", "1 s"),))
    one = subscriber(server, server.new_user()).subscribe()
    service.on(one.path, answer(503))
    server.deliver("lmtp", one.user, mail("secret"))
    eventually(lambda: queued(server) == 1 and one.requests(), "it waits")
    (pid,) = service_pids(server)
    with server.imap(one.user) as client:
        os.kill(pid, signal.SIGSTOP)
        try:
            client.command(f'GETMETADATA "" ({one.entry.rpartition("/subscriptions")[0]}/vapid)')
        finally:
            os.kill(pid, signal.SIGCONT)
        # It is back, which this session finds out when it next asks.
        assert queued(server) == 1
        assert client.setmetadata({one.entry: None}).ok
    eventually(lambda: queued(server) == 0, "it is forgotten")


def test_SUB_2_of_many_large_ones_that_were_removed_some_were_sent(
    fresh_server, subscriber, service, log
):
    """They did not fit into one request to the service."""
    log.expect("coi-push")
    server = fresh_server(
        push=(("webpush_subscription_limit", "40"), ("coi_push_register_limit", "100"))
    )
    user = server.new_user()
    all_of_them = []
    for _ in range(36):
        one = subscriber(server, user)
        large = {"exclude_from": [f"{number}{'x' * 240}@x.org" for number in range(31)]}
        assert one.set(json.dumps(one.value | large)).ok
        assert one.validate(one.validations()[-1].payload["validation"]).ok
        service.on(one.path, answer(503))
        all_of_them.append(one)
    server.deliver("lmtp", user, mail("secret"))
    eventually(lambda: queued(server) == len(all_of_them), "they wait")
    with server.imap(user) as client:
        assert client.setmetadata({one.entry: None for one in all_of_them}).ok
    assert queued(server) == 0


def test_CLI_4_a_token_that_was_gone_and_is_set_again(fresh_server, gateway):
    """It was taken for the one that was there, and removed with the next mail."""
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    assert set_token(server, user, token) == "OK"
    (name,) = tokens(server, user)
    entry = f"{SUBSCRIPTIONS}/{name}"
    gateway.service.on(PATH, answer(410))
    server.deliver("lmtp", user, mail("first"))
    gateway.wait(token)
    with server.imap(user) as client:
        # To read it removes it for nobody.
        eventually(lambda: client.getmetadata(entry) == {entry: None}, "the service has noted it")
    gateway.service.on(PATH, answer(200))
    assert set_token(server, user, token) == "OK"
    server.deliver("lmtp", user, mail("second"))
    gateway.wait(token, 2)


def test_MSG_9_one_that_was_gone_made_an_error_while_others_were_changed(fresh_server, subscriber):
    """Two deliveries at once are enough. It said that push isn't available."""
    server = fresh_server()
    one = subscriber(server, server.new_user()).subscribe()
    gone(server, one)
    attributes = server.home(one.user) / "dovecot-attributes"
    path = server.home(one.user) / "maildir/dovecot-coi-push.lock"
    with open(path, "w") as lock:
        path.chmod(0o666)
        fcntl.lockf(lock, fcntl.LOCK_EX)
        # The log is looked at behind the test.
        server.deliver("lmtp", one.user, mail("meanwhile"))
        assert one.id in attributes.read_text()
        path.unlink()
    server.deliver("lmtp", one.user, mail("later"))
    assert one.id not in attributes.read_text()
