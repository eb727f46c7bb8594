# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Push services that end a connection, answer with an unusual success, or hang."""

import json
import os
import subprocess
from pathlib import Path

import h2.errors
import pytest
from harness.h2server import Behaviour, push_service
from harness.mails import mail
from harness.push_service import answer, hang

RST_STREAM = 3
RESETS_MAX = 1000


class NoThousandResets(Behaviour):
    """As all common services since CVE-2023-44487, nghttp2's defaults among them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.resets = 0
        self.buffer = b""
        self.preface = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def on_data(self, data):
        # libcurl resets streams that are over, which the h2 module doesn't tell.
        self.buffer += data
        if self.preface:
            if len(self.buffer) < self.preface:
                return
            self.buffer, self.preface = self.buffer[self.preface :], 0
        while len(self.buffer) >= 9:
            size = 9 + int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < size:
                break
            self.resets += self.buffer[3] == RST_STREAM
            self.buffer = self.buffer[size:]
        if self.resets >= RESETS_MAX:
            self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self.is_over = True


@pytest.mark.private
def test_END_4_services_closed_a_connection_with_a_thousand_resets(authority):
    with push_service(authority.certificate("localhost"), NoThousandResets) as service:
        program = Path(os.environ["COI_TEST_BUILD"]) / "tests/coi-sender-run"
        output = subprocess.run(
            [program, f"ca={authority.ca}", "count=2500", "size=100", "timeout=60000", service.url],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout
    *results, summary = [json.loads(line) for line in output.splitlines()]
    assert summary["answered"] == 2500
    assert {result["http"] for result in results} == {201}


@pytest.mark.parametrize("status", [203, 207, 299])
def test_MSG_9_a_success_was_sent_again(server, subscriber, service, status):
    """RFC 9110, 15: a code that isn't known counts as the first one of its class."""
    one = subscriber(server, server.new_user())
    service.on(one.path, answer(status))
    assert one.set().ok


@pytest.mark.private
def test_END_4_pushes_that_hung_kept_a_registration_from_a_service_that_answers(
    make_server, subscriber, service
):
    """Each push of one lost device held a connection, for as long as it may take."""
    server = make_server()
    one = subscriber(server, server.new_user()).subscribe()
    # The service is well, and gets more at once for it.
    for number in range(20):
        server.deliver("lmtp", one.user, mail(f"mail {number}"))
    one.pushes(20)
    service.on(one.path, hang)
    for number in range(12):
        server.deliver("lmtp", one.user, mail(f"mail that hangs {number}"))
    # All that it gets.
    one.pushes(27)
    for user in (one.user, server.new_user()):
        response = subscriber(server, user).set()
        assert response.ok, response
