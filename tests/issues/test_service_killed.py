# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""coi-push was killed before it had started, and what was in the spool waited for the next mail."""

import fcntl
import os
import signal

import pytest
from harness.mails import mail
from harness.push import eventually, service_pids

pytestmark = pytest.mark.private


def test_MSG_10_a_service_that_is_killed_while_it_starts(fresh_server, subscriber, log):
    """Dovecot closes the connections that wait for it, and starts it for none but a later one."""
    log.expect("coi-push|coi: ")
    server = fresh_server(push=(("coi_push_handoff_timeout", None),))
    one = subscriber(server, server.new_user()).subscribe()
    (first,) = service_pids(server)
    with open(server.dir / "push/queue/lock") as lock:
        # The next process has to wait for it. This one waits in a queue for it, and so has it.
        os.kill(first, signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (second,) = eventually(
            lambda: [pid for pid in service_pids(server) if pid != first], "another is started"
        )
        server.deliver("lmtp", one.user, mail("the last"))
        os.kill(second, signal.SIGKILL)
        eventually(lambda: log.count(server, "throttling"), "Dovecot won't start it for a while")
    assert one.until("the last")
