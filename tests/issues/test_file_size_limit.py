# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The queue reached the size that a file may have (LimitFSIZE, ulimit -f), of which coi-push
was killed, and so was each that came after it."""

import itertools
from dataclasses import replace

import pytest
from harness.mails import mail
from harness.push import eventually, service_pids

pytestmark = pytest.mark.private

MAILS_MAX = 100
# Not for all of Dovecot: what 2.4.5 makes of its configuration at the start is larger.
LIMIT = (
    "service coi-push {\n"
    "  executable = /usr/bin/prlimit --fsize=100000 /usr/lib/dovecot/coi-push\n}\n"
)


def test_MSG_10_a_queue_that_may_not_grow_is_like_a_full_disk(fresh_server, subscriber, log):
    log.expect(r"coi-push: Error: Can't (take hand-offs|note what was sent)")
    log.expect("coi-push doesn't answer, so its spool is used")
    server = fresh_server()
    one = subscriber(server, server.new_user()).subscribe()
    unlimited = server.settings
    server.restart(replace(unlimited, after=LIMIT))
    before = eventually(lambda: service_pids(server), "it has started")
    for number in itertools.count():
        assert number < MAILS_MAX
        server.deliver("lmtp", one.user, mail(f"N{number}"))
        assert service_pids(server) == before
        if "coi-push: Error: Can't" in server.log_text():
            break
    server.restart(unlimited)
    eventually(lambda: len(set(one.subjects())) > number, "all of them")
