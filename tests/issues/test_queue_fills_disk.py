# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A push service was down, and the queue filled its own disk: nothing was ever sent again.

There was no room to note what was sent, so there was never more room. So it was with
SQLite 3.46 (Debian 13), where this test failed; 3.40 got out of it by itself.
"""

import itertools
import os

import pytest
from coichaos.run import mount_small_queue, unmount_queue
from harness.config import Config
from harness.lmtp import Lmtp
from harness.mails import mail
from harness.push import Subscriber, eventually
from harness.server import PrivateServer

pytestmark = pytest.mark.private

MAILS_MAX = 5000


@pytest.fixture
def server(pool):
    if not os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        pytest.skip("needs a mount namespace of its own")
    server = PrivateServer(
        Config(push=(("coi_push_queue_user_limit", 1_000_000),)), pool.work_dir, pool.shipped_conf
    )
    mount_small_queue(server, "6m")
    try:
        yield server.start()
    finally:
        server.stop()
        unmount_queue(server)
    server.remove()


def test_MSG_10_what_filled_the_disk_is_sent_when_the_service_is_back(server, make_service):
    service = make_service(tls=None)
    one = Subscriber(server, server.new_user(), service).subscribe()
    service.down()
    with Lmtp(server.lmtp_address) as lmtp:
        for number in itertools.count():
            assert number < MAILS_MAX
            lmtp.deliver([one.user], mail(f"N{number}"))
            if "Can't take hand-offs" in server.log_text():
                break
    service.up()
    # What the queue did not take is in the spool.
    eventually(lambda: len(one.requests()) > number, "as many as there are mails")
    assert set(one.subjects()) == {f"N{sent}" for sent in range(number + 1)}
