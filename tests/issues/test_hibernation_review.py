# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review of sessions that come from imap-hibernate, or go there, found."""

import os
import time

import pytest
from harness import hibernation
from harness.imap import await_soon
from harness.mails import mail

pytestmark = pytest.mark.private


@pytest.mark.parametrize("mail_format", ("maildir", "sdbox", "mdbox"))
def test_IDL_1_lost_what_came_when_a_busy_machine_handed_over(fresh_server, mail_format):
    """Dovecot looks at the clock first, and then what the watches say."""
    server = fresh_server(mail_format=mail_format, after=hibernation.SETTINGS)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        # until no look is going to follow that would be Dovecot's
        with hibernation.held(server, client, hibernation.IDLE_SECS / 2):
            before = hibernation.count(server)
            server.deliver("lmtp", user, mail("1"))
            time.sleep(hibernation.IDLE_SECS)
        await_soon(client, "* 2 EXISTS")
        # and is handed over all the same
        hibernation.await_more(server, before)


class Delivery:
    """One to a maildir that says that new/ has changed before it says what is new there."""

    def __init__(self, server):
        self.user = server.new_user()
        server.deliver("lmtp", self.user, mail("0"))
        maildir = server.home(self.user) / "maildir"
        self.new = maildir / "new"
        self.lock = maildir / "dovecot-uidlist.lock"

    def begin(self):
        known = self.new.stat().st_mtime_ns
        self.lock.touch()
        path = self.new / "1700000000.M1P1.delivery"
        path.write_bytes(mail("delivered"))
        path.chmod(0o666)
        os.utime(self.new, ns=(known, known))

    def end(self):
        os.utime(self.new)
        self.lock.unlink()

    def select(self, client):
        client.exists("INBOX")
        # what has changed less than a second ago is looked at again
        long_ago = time.time() - 100
        os.utime(self.new, (long_ago, long_ago))
        client.must("NOOP")


@pytest.mark.parametrize("lasts", (0, 1))
def test_IDL_1_lost_what_was_being_delivered_when_IDLE_began(make_server, lasts):
    """As where the first sign of a delivery wakes a session."""
    server = make_server(mail_format="maildir", after="mailbox_idle_check_interval = 1 hour\n")
    delivery = Delivery(server)
    with server.imap(delivery.user) as client:
        delivery.select(client)
        delivery.begin()
        client.idle()
        time.sleep(lasts)
        delivery.end()
        await_soon(client, "* 2 EXISTS")


def test_IDL_1_lost_what_was_being_delivered_when_it_was_handed_over(fresh_server):
    server = fresh_server(mail_format="maildir", after=hibernation.SETTINGS)
    delivery = Delivery(server)
    with server.imap(delivery.user) as client:
        delivery.select(client)
        # until no second look is going to follow
        with hibernation.held(server, client, 0.8):
            delivery.begin()
            time.sleep(hibernation.IDLE_SECS * 1.5)
        # it is handed over now or never
        time.sleep(0.3)
        delivery.end()
        await_soon(client, "* 2 EXISTS")
