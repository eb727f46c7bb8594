# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A Dovecot that its admin has confined, by systemd or a container."""

import pytest
from harness.mails import mail

CONFINEMENTS = {
    "NoNewPrivileges": ("--no-new-privs",),
    "CapabilityBoundingSet": ("--bounding-set=-fowner",),
}


@pytest.mark.private
@pytest.mark.parametrize("name", CONFINEMENTS)
def test_MSG_10_coi_push_did_not_start_again(fresh_server, subscriber, name):
    """It changed the mode of its folders at each start, which are no longer root's then."""
    server = fresh_server()
    server.stop()
    server.runner = ("setpriv", *CONFINEMENTS[name])
    server.start()
    one = subscriber(server, server.new_user()).subscribe()
    server.deliver("lmtp", one.user, mail("first"))
    one.until("first")
    server.restart(server.settings)
    server.deliver("lmtp", one.user, mail("second"))
    one.until("second")
