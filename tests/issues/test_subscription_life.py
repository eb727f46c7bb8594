# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that random lives of subscriptions have found."""

import fcntl

import pytest
from harness.mails import mail
from test_push_review import gone

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
