# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What values of settings did that make no sense, or that are different for each user.

Those of coi-push are in relay_settings_test.cc.
"""

import pytest
from harness import config
from harness.config import by_dialect, settings
from harness.mails import mail
from harness.push import eventually
from harness.push_service import answer
from harness.server import ROOT

pytestmark = pytest.mark.private


@pytest.mark.parametrize(
    "name, value",
    [
        # imap ended with a panic at each login
        ("coi_push_capability", "WEB PUSH"),
        # clients got an answer that is no IMAP
        ("coi_push_capability", "WEB(PUSH"),
        ("coi_push_capability", "WEB]PUSH"),
        # clients were told that the push service had refused them, or was away
        ("webpush_subscription_expire", "0"),
        ("coi_push_register_timeout", "0"),
    ],
)
def test_CAP_1_SUB_7_a_value_without_sense_was_taken(make_server, log, name, value):
    log.expect(rf"coi: COI is off, because its settings can't be used: {name} is")
    server = make_server(push=((name, f'"{value}"'),))
    with server.imap(server.new_user()) as client:
        assert "COI" not in client.capabilities()
        assert client.command("SELECT INBOX").ok


def test_CAP_1_push_that_is_off_may_be_called_anything(make_server):
    server = make_server(push=(("coi_push", "no"), ("coi_push_capability", '"WEB PUSH"')))
    with server.imap(server.new_user()) as client:
        assert "COI" in client.capabilities()


def test_SUB_6_a_push_service_had_half_a_second_where_it_may_take_for_ever(
    make_server, subscriber, service
):
    forever = config.by_dialect(v2_3="4294967295 ms", v2_4="infinite")
    server = make_server(push=(("coi_push_register_timeout", forever),))
    one = subscriber(server, server.new_user())

    def slow(exchange):
        exchange.pause(1.5)
        return answer(201)(exchange)

    service.on(one.path, slow)
    response = one.set()
    assert response.ok, response


@pytest.mark.parametrize(
    "name, value",
    [
        ("coi_mailbox_root", "COI-%{user}"),
        ("coi_push_capability", config.by_dialect(v2_3="P-%u", v2_4="P-%{user}")),
        (
            "webpush_subscription_limit",
            config.by_dialect(v2_3="1%{uid}", v2_4="%{userdb:limit | default('12')}"),
        ),
    ],
)
def test_SUB_1_what_differs_between_users_kept_coi_push_from_starting(
    make_server, subscriber, name, value
):
    """It is nobody's, so that these variables meant nothing to it."""
    server = make_server(push=((name, value),))
    user = server.new_user()
    one = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, mail("mail"))
    one.pushes(1)


def test_CLI_4_tokens_were_taken_for_a_gateway_that_is_none(make_server, log):
    log.expect(r"coi-push: Error: Can't start.*: coi_push_deltachat_gateway is empty")
    server = make_server(
        push=(("coi_push_deltachat", "yes"), ("coi_push_deltachat_gateway", '""'))
    )
    eventually(
        lambda: "coi_push_deltachat_gateway is empty" in server.log_text(), "a line in the log"
    )


def test_a_typo_in_a_webpush_setting_was_ignored_in_silence(make_server, log):
    log.expect("coi: Ignoring unknown setting plugin/webpush_subscription_limt")
    if by_dialect(v2_3=False, v2_4=True):
        pytest.skip("Dovecot 2.4 refuses it itself")
    server = make_server(after="plugin {\n  webpush_subscription_limt = 2\n}\n")
    with server.imap(server.coi_user("active")):
        pass
    assert log.count(server, "webpush_subscription_limt") >= 1


@pytest.mark.parametrize("place", ["everybody", "one user"])
def test_CFG_1_CAP_1_the_userdb_may_set_it_for_one_user(make_server, place):
    fields = ("coi_push=no", "coi_mailbox_root=Chatting") if place == "one user" else ()
    server = make_server(userdb_fields=fields)
    with server.imap(server.coi_user()) as client:
        assert ("WEBPUSH" in client.capabilities()) == (not fields)
        assert ("Chatting/Chats" in client.folders()) == bool(fields)


def test_CFG_1_the_root_is_told_in_UTF_8(make_server):
    server = make_server(after=settings(coi_mailbox_root="Gespräche"))
    with server.imap(server.coi_user()) as client:
        entry = f"{ROOT}/mailbox-root"
        assert client.getmetadata(entry) == {entry: "Gespräche".encode()}
        assert "Gespr&AOQ-che/Chats" in client.folders()
