# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What GETMETADATA and SETMETADATA are answered that fail, and what ended a session or hung it."""

import json
import os
import signal
from pathlib import Path

import pytest
from harness.config import metadata_dict
from harness.imap import Literal
from harness.push import SUBSCRIPTIONS, VAPID, eventually, service_pids
from harness.push_service import answer
from harness.server import ROOT

FILTER = f"{ROOT}/message-filter"


def test_a_refused_literal_hung_the_session(server):
    """Dovecot asks for no further literal once an entry has been refused."""
    user = server.new_user()
    with server.imap(user) as client:
        before = client.getmetadata(ROOT, depth=1)
        entries = {f"{ROOT}/enabled": Literal("Yes"), FILTER: Literal("active")}
        assert client.setmetadata(entries).status == "NO"
        entries = {f"{ROOT}/enabled": Literal(b"y\0s", binary=True), FILTER: Literal("x" * 100_000)}
        assert client.setmetadata(entries).status == "NO"
        assert client.getmetadata(ROOT, depth=1) == before
        assert client.folders() == ["INBOX"]


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


def with_keys(one, **keys):
    value = one.value
    value["resource"]["keys"].update(keys)
    return value


def with_endpoint(one, endpoint):
    value = one.value
    value["resource"]["endpoint"] = endpoint
    return value


def with_entries(one, *ids):
    with one.server.imap(one.user) as client:
        return client.setmetadata({f"{SUBSCRIPTIONS}/{id}": None for id in ids})


# How a subscription is refused, and with what answer: clients.md has the same table.
REFUSALS = {
    "[CANNOT] The subscription can't be used: ": lambda one: one.set("{}"),
    "[CANNOT] resource.keys.p256dh is not a key": lambda one: one.set(
        with_keys(one, p256dh="BA" + "A" * 85)
    ),
    "[METADATA MAXSIZE 8192] The value is too long": lambda one: one.set("x" * 9000),
    "[CANNOT] This push service is not allowed": lambda one: one.set(
        with_endpoint(one, "https://10.0.0.1/")
    ),
    "[CANNOT] The push service refused the message": lambda one: (
        one.service.on(one.path, answer(403)),
        one.set(),
    )[1],
    "[UNAVAILABLE] The push service is unreachable": lambda one: one.set(
        with_endpoint(one, "https://127.0.0.1:1/")
    ),
    "[CANNOT] The validation text is wrong or too old": lambda one: one.validate("x"),
    "[CANNOT] There is no such webpush entry": lambda one: with_entries(one, "too-short"),
    "[LIMIT] Too many changes at once": lambda one: with_entries(
        one, *(f"{number:010}" for number in range(101))
    ),
}


@pytest.mark.private
@pytest.mark.parametrize("text", REFUSALS)
def test_SUB_12_a_client_is_told_by_a_code_what_to_do(server, subscriber, text):
    response = REFUSALS[text](subscriber(server, server.new_user()))
    assert response.status == "NO"
    assert response.text.startswith(text)
    documented = Path(__file__).resolve().parents[2] / "docs/clients.md"
    assert f"| `{text}" in documented.read_text()


@pytest.mark.private
def test_SUB_1_a_service_that_hangs_made_listings_fail(own, subscriber):
    """It was asked for its key, and the whole of GETMETADATA was a NO."""
    user = own.coi_user("active")
    (pid,) = eventually(lambda: service_pids(own), "the service runs")
    os.kill(pid, signal.SIGSTOP)
    try:
        with own.imap(user) as client:
            found = client.getmetadata("/private/vendor/vendor.dovecot", depth="infinity")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found["/private/vendor/vendor.dovecot/coi/config/enabled"] == b"yes"


@pytest.mark.private
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


TREE = "/private/vendor/vendor.dovecot"


@pytest.mark.private
@pytest.mark.parametrize("entry", [TREE, f"{TREE}/webpush"])
@pytest.mark.parametrize("imap_metadata", ["yes", "no"])
def test_SUB_2_a_listing_without_dict_and_service_ended_imap(
    fresh_server, log, entry, imap_metadata
):
    """Dovecot takes "not possible" after a failed listing for a mistake of its own."""
    log.expect("metadata|coi-push")
    server = fresh_server(
        before=metadata_dict("metadata")
        + f"protocol imap {{\n  imap_metadata = {imap_metadata}\n}}\n"
    )
    user = server.coi_user("active")
    server.doveadm("service", "stop", "coi-push")
    path = server.home(user) / "metadata"
    path.unlink()
    path.symlink_to(path)
    with server.imap(user) as client:
        assert client.command(f'GETMETADATA (DEPTH infinity) "" {entry}').status == "NO"
        client.must("NOOP")
