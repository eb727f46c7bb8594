# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Subscriptions that were lost, or refused, by how they were renewed.

What needs no server is in relay_renewal_test.cc.
"""

import json
import threading

import pytest
from harness.held import LOCK_OF_SUBSCRIPTIONS, Held, is_waited_for
from harness.mails import mail
from harness.push import eventually, gone, subscriptions
from harness.push_service import answer


def once(is_open, then):
    """Answers once is_open is set."""

    def late(exchange):
        assert is_open.wait(60)
        return then(exchange)

    return late


@pytest.mark.parametrize("status", (404, 410))
@pytest.mark.parametrize("removed", (False, True), ids=("replaced", "removed"))
def test_MSG_9_a_late_answer_ended_a_renewed_one(server, subscriber, service, status, removed):
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    is_open = threading.Event()
    service.on(one.path, once(is_open, answer(status)), answer(201))
    server.deliver("lmtp", user, mail("old"))
    service.wait(lambda: len(one.requests()) == 1, "the push is under way")
    if removed:
        assert one.remove().ok
    one.subscribe()
    is_open.set()
    server.deliver("lmtp", user, mail("new"))
    one.until("new")
    assert one.stored()["validated"] is True
    server.deliver("lmtp", user, mail("last"))
    one.until("last")


def test_MSG_9_one_that_was_gone_is_renewed_before_it_is_removed(fresh_server, subscriber):
    """By another session, meanwhile: the one that is there by then isn't gone."""
    server = fresh_server()
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    gone(server, one)
    metadata = server.home(user) / "dovecot-attributes"
    with Held(server, user, LOCK_OF_SUBSCRIPTIONS) as held:
        reader = threading.Thread(target=lambda: subscriptions(server, user))
        reader.start()
        eventually(lambda: is_waited_for(held.path), "it is about to be removed")
        renewed = one.path + "-renewed"
        text = metadata.read_text().replace(one.path, renewed)
        server.write(user, "renewed", text).rename(metadata)
    reader.join()
    assert renewed in metadata.read_text()


def test_SUB_6_several_in_one_command_shared_their_time(make_server, subscriber, service):
    """Each may take as long as the setting says: these two took longer together."""
    server = make_server(push=(("coi_push_register_timeout", "4 s"),))
    user = server.new_user()
    several = [subscriber(server, user) for _ in range(2)]

    def slow(exchange):
        exchange.pause(2.5)
        return answer(201)(exchange)

    for one in several:
        service.on(one.path, slow)
    with server.imap(user) as client:
        response = client.setmetadata({one.entry: json.dumps(one.value) for one in several})
    assert response.ok, response
    for one in several:
        assert one.validate(one.validations()[-1].payload["validation"]).ok
