# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review of sessions that come from imap-hibernate, or go there, found."""

import os
import signal
import time

import pytest
from harness import hibernation
from harness.mails import mail

pytestmark = pytest.mark.private

# For what would be told by the next mail, or by Dovecot's look after half a minute.
SOON = 15


def await_soon(client, text):
    client.sock.settimeout(SOON)
    client.read_until(text)


@pytest.mark.parametrize("mail_format", ("maildir", "sdbox", "mdbox"))
def test_IDL_1_lost_what_came_when_a_busy_machine_handed_over(fresh_server, mail_format):
    """Dovecot looks at the clock first, and then what the watches say."""
    server = fresh_server(mail_format=mail_format, after=hibernation.SETTINGS)
    user = server.new_user()
    server.deliver("lmtp", user, mail("0"))
    with server.imap(user) as client:
        assert client.exists("INBOX") == 1
        client.idle()
        # until no look is going to follow that would be Dovecot's
        time.sleep(hibernation.IDLE_SECS / 2)
        (session,) = server.children("imap")
        os.kill(session, signal.SIGSTOP)
        try:
            server.deliver("lmtp", user, mail("1"))
            time.sleep(hibernation.IDLE_SECS)
        finally:
            os.kill(session, signal.SIGCONT)
        await_soon(client, "* 2 EXISTS")
        # and is handed over all the same
        while not hibernation.count(server):
            time.sleep(0.02)
