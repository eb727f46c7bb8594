# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""MSG-10: no push is lost, whoever is killed. A long one of this is tests/stress/push-chaos."""

import os

import pytest
from coichaos.run import Chaos, Options, config, mount_small_queue, unmount_queue
from harness.server import PrivateServer

pytestmark = pytest.mark.private


@pytest.fixture(autouse=True)
def namespace():
    if not os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        pytest.skip("needs a process namespace of its own")


@pytest.mark.parametrize("name", ["killed", "service_stopped", "sink_down", "disk_full"])
def test_MSG_10_nothing_is_lost(pool, make_service, name):
    changes = {} if name == "killed" else {name: True}
    options = Options(deliveries=300, users=6, every=40, seed=len(name), **changes)
    server = PrivateServer(config(), pool.work_dir, pool.shipped_conf)
    if options.disk_full:
        mount_small_queue(server, options.queue_size)
    try:
        server.start()
        Chaos(server, make_service(tls=None), options, print).run()
    finally:
        server.stop()
        if options.disk_full:
            unmount_queue(server)
    server.remove()
