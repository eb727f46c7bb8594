# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A metadata dict that had failed was asked again, for subscriptions.

One in PostgreSQL whose table is missing held up a delivery for 30 s that way: it says so in
several lines, and Dovecot's dict protocol takes what is in the next one for another answer.
"""

import pytest
from harness.config import remote_dict
from harness.mails import chat, mail
from harness.push import eventually

pytestmark = pytest.mark.private


@pytest.fixture
def server(fresh_server, work_dir):
    directory = work_dir / "closed-dict"
    directory.mkdir(mode=0o700, exist_ok=True)
    return fresh_server(before=remote_dict(directory / "metadata"))


@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("make", [mail, chat], ids=["mail", "chat"])
def test_FIL_10_MSG_11_a_delivery_asks_for_nothing_else(server, way, make, log):
    log.expect(r"coi: Can't read the user's metadata|dict(\(\d+\))?: Error: ")
    user = server.new_user()
    # Who has no INBOX has no metadata.
    assert server.where(user) == {}
    server.deliver(way, user, make("one"))
    assert server.where(user) == {"one": ("INBOX", set())}
    eventually(lambda: log.count(server, "dict.*Lookup failed") == 2, "the log says so")
    assert log.count(server, "dict_iterate.* failed") == 0
