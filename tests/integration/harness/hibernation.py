# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Sessions that idle are handed over to a process that does nothing but watch."""

import os
import signal
import time
from contextlib import contextmanager

# After how long; Dovecot knows whole seconds.
IDLE_SECS = 1

SETTINGS = f"""\
imap_hibernate_timeout = {IDLE_SECS} s
log_debug = event=imap_client_hibernated
service imap {{
  unix_listener imap-master {{
    mode = 0666
  }}
}}
service imap-hibernate {{
  unix_listener imap-hibernate {{
    mode = 0666
  }}
}}
"""


def count(server):
    """How often a session of the server has been handed over."""
    return server.log_text().count("Successfully hibernated imap client")


def await_more(server, before):
    """Until a session has been handed over once more than it was before."""
    deadline = time.monotonic() + 60
    while count(server) == before:
        assert time.monotonic() < deadline, "it isn't handed over"
        time.sleep(0.02)


def idle(server, client):
    """IDLE, until the session has been handed over."""
    before = count(server)
    client.idle()
    await_more(server, before)


def _stop(server):
    """The process that has a session, which holds now; None where it was handed over."""
    try:
        for session in server.children("imap"):
            os.kill(session, signal.SIGSTOP)
            if session in server.children("imap"):
                return session
    except ProcessLookupError:
        pass
    return None


@contextmanager
def held(server, client, idle_secs):
    """While a session that has idled for so long does nothing, and isn't handed over."""
    for _ in range(10):
        client.idle()
        time.sleep(idle_secs)
        session = _stop(server)
        if session is not None:
            break
        # a busy machine: it comes back, and another try is due
        client.done()
    assert session is not None, "it is always handed over before"
    try:
        yield
    finally:
        os.kill(session, signal.SIGCONT)
