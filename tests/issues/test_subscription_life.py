# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that random lives of subscriptions have found."""

import fcntl

import pytest
from harness.mails import mail
from harness.push import gone
from harness.push_service import hang

pytestmark = pytest.mark.private


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


def test_END_4_pushes_that_hung_kept_a_registration_from_a_service_that_answers(
    make_server, subscriber, service
):
    """Each push of one lost device held a connection, for as long as it may take."""
    server = make_server()
    one = subscriber(server, server.new_user()).subscribe()
    # The service is well, and gets more at once for it.
    for number in range(20):
        server.deliver("lmtp", one.user, mail(f"mail {number}"))
    one.pushes(20)
    service.on(one.path, hang)
    for number in range(12):
        server.deliver("lmtp", one.user, mail(f"mail that hangs {number}"))
    # All that it gets.
    one.pushes(27)
    for user in (one.user, server.new_user()):
        response = subscriber(server, user).set()
        assert response.ok, response
