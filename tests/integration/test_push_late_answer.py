# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What coi-push says of a subscription, where its client has renewed that meanwhile."""

import contextlib
import threading

import pytest
from harness.line import Line
from harness.mails import mail
from harness.push import eventually
from harness.push_service import answer

pytestmark = pytest.mark.private

PATIENCE = 60


class Answers(Line):
    """In coi-push's place. One answer that says so may be held."""

    def __init__(self, path):
        self.holds = None
        self.is_held = threading.Event()
        self.may_pass = threading.Event()
        service = path.with_name("coi-push.service")
        path.rename(service)
        super().__init__(path, self.hold, service)

    def hold(self, data):
        if self.holds is not None and self.holds in data:
            self.holds = None
            self.is_held.set()
            self.may_pass.wait()

    def close(self):
        self.may_pass.set()
        super().close()
        self.target.rename(self.path)


def is_shown(one):
    """Unlike a listing this one entry's reading removes nothing."""
    with one.server.imap(one.user) as client:
        return client.getmetadata(one.entry)[one.entry] is not None


@pytest.mark.parametrize("same", (False, True), ids=("another", "the_same"))
def test_MSG_9_gone_is_said_of_one_that_was_renewed(fresh_server, subscriber, service, same):
    server = fresh_server(push=(("coi_push_handoff_timeout", f"{PATIENCE} s"),))
    user = server.new_user()
    # From the beginning: to coi-push, who asks is the uid that it sees.
    with contextlib.closing(Answers(server.dir / "run/coi-push")) as line:
        renewed, other = (subscriber(server, user).subscribe() for _ in range(2))
        for one in (renewed, other):
            service.on(one.path, answer(410), answer(201))
        server.deliver("lmtp", user, mail("refused"))
        for one in (renewed, other):
            eventually(lambda one=one: not is_shown(one), "the server knows that it is gone")

        line.holds = f"gone={renewed.id}".encode()
        delivery = threading.Thread(target=server.deliver, args=("lmtp", user, mail("late")))
        delivery.start()
        assert line.is_held.wait(PATIENCE)
        again = renewed if same else subscriber(server, user, id=renewed.id)
        # Not what it was a second ago, to the letter.
        again.extra = {"device": "Renewed"}
        again.subscribe()
        line.may_pass.set()
        delivery.join()
        entries = (server.home(user) / "dovecot-attributes").read_text()
        assert (renewed.id in entries, other.id in entries) == (True, False)
        assert again.stored()["validated"] is True
        server.deliver("lmtp", user, mail("next"))
        again.until("next")
