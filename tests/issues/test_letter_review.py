# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review found that took the protocols by the letter."""

import json

import pytest
from harness.imap import Literal
from harness.push_service import answer
from harness.server import ROOT

# RFC 5464, 4.3: a client can't tell otherwise how much it may be.
TOO_LONG = {
    "subscription": ("webpush/subscriptions/device-1234", 8192),
    "validation": ("webpush/subscriptions/device-1234/validate", 1000),
}


@pytest.mark.parametrize("name", TOO_LONG)
@pytest.mark.parametrize(
    "literal, times", [(False, 1), (True, 1), (True, 50)], ids=["quoted", "literal", "far too long"]
)
def test_SUB_3_a_value_that_is_too_long_was_no_METADATA_MAXSIZE(server, name, literal, times):
    entry, size = TOO_LONG[name]
    entry = f"{ROOT.rpartition('/coi/')[0]}/{entry}"
    text = "x" * (size * times + 1)
    with server.imap(server.new_user()) as client:
        response = client.setmetadata({entry: Literal(text) if literal else text})
        assert response.status == "NO"
        assert response.text.startswith(f"[METADATA MAXSIZE {size}] ")


@pytest.mark.parametrize(
    "extra", ['"x":18446744073709551615', '"x":"a\\u0000b"', '"x":[{"y":["\\u0000"]}]']
)
def test_SUB_3_a_key_that_is_to_be_dropped_was_refused(server, subscriber, extra):
    one = subscriber(server, server.new_user())
    response = one.set(json.dumps(one.value)[:-1] + "," + extra + "}")
    assert response.ok, response
    assert "x" not in one.stored()


@pytest.mark.parametrize(
    "msg_id",
    [
        '<"x y"@example.org>',
        '<"x.y"@example.org>',
        '<"x>y"@example.org>',
        "<a b@example.org>",
        "<A.B@Example.ORG>",
        "<a@[192.0.2.1]>",
        "<a..b@example.org>",
        "<a@b@example.org>",
        "<a(b)@example.org>",
        '<a"b@example.org>',
        "<no-domain>",
        "<folded\n in@example.org>",
    ],
)
@pytest.mark.parametrize("before", ["", "(<not@this.one>) "], ids=["", "comment"])
def test_MSG_4_msg_id_was_not_the_mails(server, subscriber, msg_id, before):
    """Clients look a mail up by what ENVELOPE and SEARCH HEADER have."""
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    text = f"From: s@example.org\nMessage-ID: {before}{msg_id}\nSubject: s\n\nHello.\n"
    server.deliver("lmtp", user, text.encode())
    (push,) = one.pushes(1)
    assert push.payload["msg-id"] == msg_id.replace("\n", "")


@pytest.mark.parametrize("status", [203, 207, 299])
def test_MSG_9_a_success_was_sent_again(server, subscriber, service, status):
    """RFC 9110, 15: a code that isn't known counts as the first one of its class."""
    one = subscriber(server, server.new_user())
    service.on(one.path, answer(status))
    assert one.set().ok
