# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What push services answer: none of it may count as a failure of theirs."""

import json
import os
import subprocess
from pathlib import Path

import h2.errors
import pytest
from harness.h2server import Behaviour, push_service
from harness.push_service import answer

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
