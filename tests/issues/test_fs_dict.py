# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Metadata in Dovecot's dict driver fs, of which 2.3 ends a process that lists it.

With push on, which it is, that was each delivery to everybody.
"""

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail
from harness.push import eventually

pytestmark = pytest.mark.private


@pytest.fixture
def server(make_server, work_dir):
    place = work_dir / "fs-dict"
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    return make_server(
        before=by_dialect(
            v2_3=f"mail_attribute_dict = fs:posix:prefix={place}/\n",
            v2_4="mail_attribute {\n  dict fs {\n    fs posix {\n"
            f"      prefix = {place}/\n    }}\n  }}\n}}\n",
        )
    )


@pytest.mark.parametrize("way", ["lmtp", "lda"])
def test_FIL_1_a_user_without_COI_got_no_mail(server, way):
    user = server.new_user()
    server.deliver(way, user, mail("mail"))
    server.deliver(way, user, chat("chat"))
    assert server.where(user) == {"mail": ("INBOX", set()), "chat": ("INBOX", set())}


@pytest.mark.parametrize("way", ["lmtp", "lda"])
def test_FIL_2_nor_did_one_with_COI(server, way):
    user = server.coi_user("active")
    server.deliver(way, user, chat("chat"))
    assert server.where(user) == {"chat": (server.chats, {"$Chat"})}


def test_SUB_2_a_subscription_ended_the_session(server, subscriber, log):
    log.expect("the push subscriptions: Dovecot's dict driver fs can't list them")
    user = server.coi_user("active")
    one = subscriber(server, user)
    with server.imap(user) as client:
        response = client.setmetadata({one.entry: "{}"})
        assert response.status == "NO"
        assert "[UNAVAILABLE]" in response.text
        client.must("NOOP")
    eventually(lambda: log.count(server, "driver fs can't list them") > 0, "it is logged")
