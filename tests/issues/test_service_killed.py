# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""coi-push was killed before it had started, and what was in the spool waited for the next mail."""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

import pytest
from harness.mails import mail
from harness.push import eventually, service_pids

pytestmark = pytest.mark.private


def has_open(pid, path):
    with contextlib.suppress(OSError):
        return any(os.path.realpath(fd) == str(path) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_MSG_10_a_service_that_is_killed_while_it_starts(fresh_server, subscriber, log):
    """Dovecot closes the connections that wait for it, and starts it for none but a later one."""
    log.expect("coi-push|coi: ")
    server = fresh_server(push=(("coi_push_handoff_timeout", None),))
    one = subscriber(server, server.new_user()).subscribe()
    killed = service_pids(server)
    path = server.dir / "push/queue/queue.lock"
    with open(path) as lock:
        # The next process has to wait for it. This one waits in a queue for it, and so has it.
        os.kill(killed[0], signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(2):
            (pid,) = eventually(
                lambda: [
                    pid
                    for pid in service_pids(server)
                    if pid not in killed and has_open(pid, path)
                ],
                "another one waits for the lock",
            )
            server.deliver("lmtp", one.user, mail(f"mail {len(killed)}"))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    assert one.until("mail 1")
    assert one.until("mail 2")
    assert not log.count(server, "throttling")


def test_MSG_10_a_service_that_can_not_start_tries_again(fresh_server, subscriber, log):
    """It ended, and then it was for Dovecot to know when to start it."""
    log.expect("coi-push|coi: ")
    server = fresh_server(push=(("coi_push_handoff_timeout", None),))
    one = subscriber(server, server.new_user()).subscribe()
    key = server.dir / "push/keys/storage.pem"
    text = key.read_text()
    key.write_text("nonsense")
    (pid,) = service_pids(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: log.count(server, "Can't start, and will try again in 2 sec"), "it says so")
    server.deliver("lmtp", one.user, mail("mail"))
    key.write_text(text)
    assert one.until("mail")
    assert not log.count(server, "throttling")
