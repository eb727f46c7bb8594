# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""CLI-4: push for Delta Chat, by the gateway of its makers."""

import dataclasses
import json
import time

import pytest
from harness.config import metadata_dict
from harness.gateway import PATH, Gateway, new_token, set_token, tokens
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import SUBSCRIPTIONS, Subscriber, eventually, queued, service_pids
from harness.push_service import PushService, answer

pytestmark = pytest.mark.private

TOKEN = "/private/devicetoken"
RECIPIENTS = "/shared/vendor/deltachat/maxsmtprecipients"
ALL_METADATA = "imap_metadata = yes\n"


@pytest.fixture(scope="module")
def shared_gateway(authority):
    with PushService(authority.certificate("127.0.0.1")) as service:
        yield Gateway(service)


@pytest.fixture
def server(make_server, shared_gateway):
    return make_server(push=shared_gateway.settings)


# -- what a client sees --


def test_CLI_4_it_is_announced(server):
    with server.imap(server.new_user()) as client:
        assert {"XDELTAPUSH", "METADATA"} <= set(client.capabilities())
        assert client.getmetadata(RECIPIENTS) == {RECIPIENTS: b"1000"}
        assert client.setmetadata({RECIPIENTS: "5"}).status == "NO"
        assert client.getmetadata(RECIPIENTS) == {RECIPIENTS: b"1000"}


@pytest.mark.parametrize(
    "push", [(), (("coi_push_deltachat", "yes"), ("coi_push", "no"))], ids=["off", "no push"]
)
def test_CLI_4_FIL_7_where_it_is_off(make_server, push):
    server = make_server(push=push, before=metadata_dict("attributes") + ALL_METADATA)
    user = server.new_user()
    with server.imap(user) as client:
        assert "XDELTAPUSH" not in client.capabilities()
        assert client.getmetadata(RECIPIENTS) == {RECIPIENTS: None}
        # an entry like others
        assert client.setmetadata({TOKEN: "text"}, mailbox="INBOX").ok
        assert client.getmetadata(TOKEN, mailbox="INBOX") == {TOKEN: b"text"}


def test_CLI_4_the_number_of_recipients_is_a_setting(make_server):
    server = make_server(
        push=(("coi_push_deltachat", "yes"), ("coi_push_deltachat_recipients", "50"))
    )
    with server.imap(server.new_user()) as client:
        assert client.getmetadata(RECIPIENTS) == {RECIPIENTS: b"50"}


def test_CLI_4_a_token_is_listed_and_never_shown(server):
    user, token = server.new_user(), new_token()
    assert set_token(server, user, token) == "OK"
    with server.imap(user) as client:
        assert client.getmetadata(TOKEN, mailbox="INBOX") == {TOKEN: None}
        entries = client.getmetadata(SUBSCRIPTIONS, depth="infinity")
    (shown,) = (json.loads(value) for value in entries.values() if value is not None)
    assert shown.pop("created")
    assert shown == {"token": "", "validated": True}


def test_CLI_4_other_folders_have_no_tokens(server, shared_gateway):
    user, token = server.coi_user("active"), new_token()
    with server.imap(user) as client:
        client.command(f'SETMETADATA "{server.chats}" ({TOKEN} "{token}")')
    assert tokens(server, user) == []


# -- delivery --


@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("message_filter", ["without COI", "none", "seen", "active"])
def test_CLI_4_a_delivery_posts_each_token_as_it_is(
    server, shared_gateway, way, message_filter
):
    with_coi = message_filter != "without COI"
    user = server.coi_user(message_filter) if with_coi else server.new_user()
    devices = [new_token(), new_token(4096)]
    for token in devices:
        assert set_token(server, user, token) == "OK"
    for number, make in enumerate((mail, chat), 1):
        server.deliver(way, user, make(f"mail {number}"))
        for token in devices:
            request = shared_gateway.wait(token, number)[-1]
            names = {name.lower() for name, _ in request.headers}
            assert names == {"host", "user-agent", "content-type", "content-length"}
            assert request.method == "POST"
            assert request.header("Content-Type") == "text/plain"


def test_CLI_4_MSG_2_disposition_notifications_wake_nobody(server, shared_gateway):
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    report = 'Content-Type: multipart/report; report-type=disposition-notification; boundary="x"'
    server.deliver("lmtp", user, mail("read", report, body="--x--\n"))
    server.deliver("lmtp", user, mail("mail"))
    assert len(shared_gateway.wait(token)) == 1


def test_CLI_4_beside_Web_Push(server, shared_gateway, service):
    user, token = server.new_user(), new_token()
    one = Subscriber(server, user, service).subscribe()
    set_token(server, user, token)
    server.deliver("lmtp", user, mail("mail"))
    assert one.until("mail") == ["mail"]
    shared_gateway.wait(token)


# -- tokens --


def test_CLI_4_the_same_token_on_every_connection(server, shared_gateway):
    user, token = server.new_user(), new_token()
    for _ in range(5):
        assert set_token(server, user, token) == "OK"
    assert len(tokens(server, user)) == 1
    server.deliver("lmtp", user, mail("first"))
    shared_gateway.wait(token)
    server.deliver("lmtp", user, mail("second"))
    assert len(shared_gateway.wait(token, 2)) == 2


def test_CLI_4_at_most_ten_the_oldest_makes_room(server, shared_gateway):
    user, devices = server.new_user(), [new_token() for _ in range(12)]
    for number, token in enumerate(devices):
        assert set_token(server, user, token) == "OK"
        # when it was set is stored in seconds
        if number < 2:
            time.sleep(1.1)
    assert len(tokens(server, user)) == 10
    server.deliver("lmtp", user, mail("mail"))
    for token in devices[2:]:
        shared_gateway.wait(token)
    assert not any(shared_gateway.requests(token) for token in devices[:2])


def test_CLI_4_SUB_5_they_have_a_limit_of_their_own(make_server, shared_gateway, service):
    limit = (("webpush_subscription_limit", "1"),)
    server = make_server(push=shared_gateway.settings + limit)
    user, devices = server.new_user(), [new_token() for _ in range(2)]
    set_token(server, user, devices[0])
    one = Subscriber(server, user, service).subscribe()
    set_token(server, user, devices[1])
    assert Subscriber(server, user, service).set().status == "NO"
    server.deliver("lmtp", user, mail("mail"))
    assert one.until("mail") == ["mail"]
    for token in devices:
        shared_gateway.wait(token)


BAD = {
    "empty": "",
    "too long": "openpgp:" + "x" * 4089,
    "a blank": "openpgp:x x",
    "a line end": "openpgp:x\r\nX-Header: x",
    "NUL": b"openpgp:\0",
    "not ASCII": "openpgp:ä",
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD)
def test_CLI_4_what_is_no_token_changes_nothing(server, shared_gateway, token):
    user, good = server.new_user(), new_token()
    set_token(server, user, good)
    with server.imap(user) as client:
        literal = Literal(token, binary=isinstance(token, bytes))
        response = client.command(f'SETMETADATA "INBOX" ({TOKEN} ', literal, ")")
        assert response.status in ("NO", "BAD")
        client.must("NOOP")
    assert len(tokens(server, user)) == 1
    server.deliver("lmtp", user, mail("mail"))
    shared_gateway.wait(good)


def test_CLI_4_NIL_forgets_all_of_them(server, shared_gateway, service):
    user, devices = server.new_user(), [new_token() for _ in range(2)]
    one = Subscriber(server, user, service).subscribe()
    for token in devices:
        set_token(server, user, token)
    with server.imap(user) as client:
        assert client.setmetadata({TOKEN: None}, mailbox="INBOX").ok
    assert tokens(server, user) == []
    server.deliver("lmtp", user, mail("mail"))
    assert one.until("mail") == ["mail"]
    assert not any(shared_gateway.requests(token) for token in devices)


def test_CLI_4_a_client_can_forget_one(server):
    user = server.new_user()
    for _ in range(2):
        set_token(server, user, new_token())
    first, second = tokens(server, user)
    with server.imap(user) as client:
        assert client.setmetadata({f"{SUBSCRIPTIONS}/{first}": None}).ok
    assert tokens(server, user) == [second]


def test_CLI_4_nobody_can_make_one_of_a_subscription(server):
    user = server.new_user()
    value = json.dumps({"token": "openpgp:x", "created": int(time.time()), "validated": True})
    with server.imap(user) as client:
        assert client.setmetadata({f"{SUBSCRIPTIONS}/deltachat-1234": value}).status == "NO"
    assert tokens(server, user) == []


def test_CLI_4_tokens_rest_while_it_is_off(fresh_server, gateway, service):
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    on = server.settings
    one = Subscriber(server, user, service).subscribe()
    server.restart(dataclasses.replace(on, push=()))
    assert tokens(server, user) == []
    server.deliver("lmtp", user, mail("off"))
    assert one.until("off") == ["off"]
    assert gateway.requests(token) == []
    server.restart(on)
    server.deliver("lmtp", user, mail("on"))
    assert len(gateway.wait(token)) == 1


# -- the gateway --


@pytest.mark.parametrize("status", [404, 410])
def test_CLI_4_a_token_that_is_gone_is_forgotten(fresh_server, gateway, status):
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    gateway.service.on(PATH, answer(status))
    server.deliver("lmtp", user, mail("first"))
    gateway.wait(token)
    eventually(lambda: tokens(server, user) == [], "it is forgotten")
    server.deliver("lmtp", user, mail("second"))
    other = new_token()
    gateway.service.on(PATH, answer(200))
    set_token(server, user, other)
    server.deliver("lmtp", user, mail("third"))
    gateway.wait(other)
    assert len(gateway.requests(token)) == 1


def test_CLI_4_MSG_9_it_is_tried_again(fresh_server, gateway, log):
    log.expect("coi-push")
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    gateway.service.on(PATH, answer(503, "Retry-After: 1"), answer(200))
    server.deliver("lmtp", user, mail("mail"))
    assert [one.behaviour for one in gateway.wait(token, 2)] == ["answer 503", "answer 200"]


@pytest.mark.parametrize("how", ["all are forgotten", "others take its place"])
def test_CLI_4_SUB_2_what_waits_for_one_that_is_forgotten(fresh_server, gateway, how):
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    gateway.service.on(PATH, answer(503))
    server.deliver("lmtp", user, mail("mail"))
    gateway.wait(token)
    eventually(lambda: queued(server) == 1, "it waits")
    if how == "all are forgotten":
        with server.imap(user) as client:
            assert client.setmetadata({TOKEN: None}, mailbox="INBOX").ok
    else:
        time.sleep(1.1)
        for _ in range(10):
            assert set_token(server, user, new_token()) == "OK"
    eventually(lambda: queued(server) == 0, "nothing waits")
    assert len(gateway.requests(token)) == 1


def test_CLI_4_MSG_10_what_has_waited_wakes_once_for_all(fresh_server, gateway, log):
    log.expect("coi-push")
    server = fresh_server(push=gateway.settings)
    user, token = server.new_user(), new_token()
    set_token(server, user, token)
    gateway.service.down()
    for number in range(20):
        server.deliver("lmtp", user, mail(f"mail {number}"))
    server.stop()
    gateway.service.up()
    server.start()
    gateway.wait(token)
    # What is still to come would be there before this. Those that were under way when
    # the next mail came count, too.
    server.deliver("lmtp", user, mail("last"))
    other = new_token()
    set_token(server, user, other)
    server.deliver("lmtp", user, mail("the very last"))
    gateway.wait(other)
    assert len(gateway.requests(token)) <= 6


@pytest.mark.parametrize("url", ["notifications.delta.chat", "http://example.org/x", "ftp://a/"])
def test_CLI_4_a_gateway_that_cannot_be_used(fresh_server, log, url):
    log.expect("coi-push|coi: |command startup failed")
    server = fresh_server(
        push=(("coi_push_deltachat", "yes"), ("coi_push_deltachat_gateway", url))
    )
    user = server.new_user()
    set_token(server, user, new_token())
    server.deliver("lmtp", user, mail("mail"))
    eventually(
        lambda: "coi_push_deltachat_gateway" in server.log_text(), "the log says which setting"
    )
    assert server.where(user)["mail"][0] == "INBOX"


def test_CLI_4_MSG_12_a_token_is_in_no_log_and_no_queue(fresh_server, gateway, log):
    log.expect("coi-push|coi: ")
    server = fresh_server(push=gateway.settings, after="log_debug = event=coi_push_finished\n")
    user, token = server.new_user(), "openpgp:canary" + "c" * 300
    set_token(server, user, token)
    gateway.service.down()
    server.deliver("lmtp", user, mail("queued"))
    server.doveadm("service", "stop", "coi-push")
    eventually(lambda: not service_pids(server), "the service has stopped")
    server.deliver("lmtp", user, mail("spooled"))
    for path in server.dir.rglob("*"):
        if path.is_file() and server.homes not in path.parents:
            assert b"canary" not in path.read_bytes(), path
    gateway.service.up()
    server.reload()
    gateway.wait(token)
