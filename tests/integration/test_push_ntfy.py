# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""ntfy, as Debian has it: a push service that isn't ours."""

import http.client
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.mails import chat
from harness.ports import HeldPort
from harness.push import SUBSCRIPTIONS, eventually

sys.path.append(str(Path(__file__).resolve().parents[2] / "docker"))
from phone import Phone  # noqa: E402

pytestmark = pytest.mark.private


def is_well(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/v1/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.fixture
def ntfy():
    if not shutil.which("ntfy"):
        pytest.skip("this Debian has no ntfy; the demo brings one")
    port = HeldPort()
    url = f"http://127.0.0.1:{port.number}"
    command = ["ntfy", "serve", "--config", os.devnull, "--base-url", url]
    process = subprocess.Popen(
        [*command, "--listen-http", url.removeprefix("http://")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: is_well(port.number), "ntfy serves")
        yield url
    finally:
        process.terminate()
        process.wait()
        port.release()


def test_MSG_1_MSG_6_by_way_of_ntfy(make_server, ntfy):
    server = make_server()
    user = server.coi_user("active")
    phone = Phone(ntfy)
    entry = f"{SUBSCRIPTIONS}/ntfy-phone-1"
    with server.imap(user) as client:
        assert client.setmetadata({entry: phone.subscription()}).ok
        _, _, payload = phone.receive(60)
        assert client.setmetadata({f"{entry}/validate": payload["validation"]}).ok
    server.deliver("lmtp", user, chat("by way of ntfy"))
    _, size, payload = phone.receive(60)
    assert (payload["subject"], payload["folder"]) == ("by way of ntfy", server.chats)
    assert size <= 4096
