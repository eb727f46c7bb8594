# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a fourth review has found."""

import hashlib
import itertools
import time

import pytest
from harness.config import metadata_dict
from harness.doveadm import dsync
from harness.gateway import PATH, new_token, set_token, tokens
from harness.mails import mail
from harness.push import SUBSCRIPTIONS, eventually
from harness.push_service import answer

pytestmark = pytest.mark.private

TREE = "/private/vendor/vendor.dovecot"


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


def test_CLI_4_a_token_that_was_gone_and_is_set_again(fresh_server, gateway):
    """It was taken for the one that was there, and removed with the next mail."""
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    assert set_token(server, user, token) == "OK"
    (name,) = tokens(server, user)
    entry = f"{SUBSCRIPTIONS}/{name}"
    gateway.service.on(PATH, answer(410))
    server.deliver("lmtp", user, mail("first"))
    gateway.wait(token)
    with server.imap(user) as client:
        # To read it removes it for nobody.
        eventually(lambda: client.getmetadata(entry) == {entry: None}, "the service has noted it")
    gateway.service.on(PATH, answer(200))
    assert set_token(server, user, token) == "OK"
    server.deliver("lmtp", user, mail("second"))
    gateway.wait(token, 2)


def token_with_the_last_id():
    for number in itertools.count():
        token = f"openpgp:last{number}"
        if hashlib.sha256(token.encode()).hexdigest().startswith("fff"):
            return token


def two_in_sync(make_server, gateway):
    """Two servers, and a user whose INBOX is the same in both."""
    source = make_server(push=gateway.settings)
    target = make_server(push=gateway.settings, after="# another one\n")
    user = source.new_user()
    source.deliver("lmtp", user, mail("before"))
    for _ in range(2):
        dsync(source, user, target, "sync")
    return source, target, user


def test_CLI_4_more_tokens_than_a_user_may_have(make_server, gateway):
    """The newest wasn't used: the first ten were, and for ever."""
    source, target, user = two_in_sync(make_server, gateway)
    for server in (source, target):
        for _ in range(10):
            assert set_token(server, user, new_token()) == "OK"
    source.deliver("lmtp", user, mail("between"))
    dsync(source, user, target, "sync")
    token = token_with_the_last_id()
    assert set_token(target, user, token) == "OK"
    assert len(tokens(target, user)) == 10
    target.deliver("lmtp", user, mail("mail"))
    gateway.wait(token)


def test_CLI_4_the_newest_of_more_tokens_than_a_user_may_have(make_server, gateway):
    """It is in the second ten, and nothing has been set where the mail comes."""
    source, target, user = two_in_sync(make_server, gateway)
    for server in (source, target):
        for _ in range(9):
            assert set_token(server, user, new_token()) == "OK"
    # Times are in seconds.
    second = int(time.time())
    eventually(lambda: int(time.time()) > second, "it is later")
    token = token_with_the_last_id()
    assert set_token(source, user, token) == "OK"
    source.deliver("lmtp", user, mail("between"))
    gateway.wait(token)
    dsync(source, user, target, "sync")
    target.deliver("lmtp", user, mail("mail"))
    gateway.wait(token, 2)
