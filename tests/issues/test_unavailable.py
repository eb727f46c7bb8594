# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a client was told while coi-push is away."""

import pytest
from harness.push import VAPID

pytestmark = pytest.mark.private


def test_SUB_1_a_key_that_can_not_be_told_now_looked_as_if_there_never_were_one(make_server, log):
    """CANNOT is what a client gives up at."""
    log.expect(r"coi-push: Error: Can't start.*coi_push_ttl|coi: Can't ask coi-push for its key")
    server = make_server(push=(("coi_push_ttl", "0 s"),))
    with server.imap(server.new_user()) as client:
        response = client.command(f'GETMETADATA "" {VAPID}')
        assert (response.status, response.reason) == (
            "NO",
            "[UNAVAILABLE] Push is not available at the moment",
        )
