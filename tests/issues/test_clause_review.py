# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review found that went through the requirements clause by clause."""

import time
from dataclasses import replace

import pytest
from harness.mails import mail
from harness.push import eventually, subscriptions

pytestmark = pytest.mark.private


def test_SUB_7_MSG_1_more_than_a_user_may_have_kept_out_the_newest(fresh_server, subscriber):
    """It was taken and confirmed, and neither listed nor pushed to.

    Those with the first ids were used, where the admin had lowered the limit, or dsync
    had brought together what two servers had.
    """
    server = fresh_server(push=(("webpush_subscription_limit", 3),))
    user = server.new_user()
    first, second, last = (subscriber(server, user, id=f"{n}-of-three") for n in (1, 2, 3))
    for one in (first, second, last):
        one.subscribe()
    server.restart(replace(server.settings, push=(("webpush_subscription_limit", 2),)))
    # Times are in seconds.
    this_second = int(time.time())
    eventually(lambda: int(time.time()) > this_second, "it is later")
    last.subscribe()
    assert len(subscriptions(server, user)) == 2
    server.deliver("lmtp", user, mail("mail"))
    assert last.until("mail") == ["mail"]
    assert subscriber(server, user).set().text.startswith("[METADATA TOOMANY] ")
