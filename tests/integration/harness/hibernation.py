# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Sessions that idle are handed over to a process that does nothing but watch."""

import time

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
