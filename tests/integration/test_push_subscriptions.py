# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""SUB: how clients subscribe, what they read back, and what is refused."""

import base64
import datetime
import json
import re
import threading

import pytest
from harness.config import by_dialect
from harness.doveadm import dsync
from harness.held import LOCK_OF_SUBSCRIPTIONS, Held
from harness.imap import Imap, Literal
from harness.mails import mail
from harness.push import (
    SUBSCRIPTIONS,
    VAPID,
    WEBPUSH,
    Device,
    Subscriber,
    b64,
    eventually,
    point,
    read_vapid,
    subscriptions,
    vapid_key,
)
from harness.push_service import answer
from harness.race import race
from harness.server import ROOT

pytestmark = pytest.mark.private


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def user(server):
    return server.new_user()


# -- SUB-1 --


def test_SUB_1_the_public_key_is_PEM(server, user):
    pem = vapid_key(server, user)
    form = rb"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END PUBLIC KEY-----\n"
    assert re.fullmatch(form, pem), pem
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    # SubjectPublicKeyInfo of an uncompressed point on P-256
    assert (len(der), der[-65]) == (91, 4)
    assert vapid_key(server, server.new_user()) == pem


@pytest.mark.parametrize("given", [None, "text", ""])
def test_SUB_1_the_public_key_is_read_only(server, user, given):
    pem = vapid_key(server, user)
    with server.imap(user) as client:
        assert client.setmetadata({VAPID: given}).status == "NO"
    assert vapid_key(server, user) == pem


def test_SUB_1_the_public_key_is_stable(fresh_server):
    server = fresh_server()
    user = server.new_user()
    pem = vapid_key(server, user)
    server.restart(server.settings)
    assert vapid_key(server, user) == pem
    server.reload()
    assert vapid_key(server, user) == pem


def test_SUB_1_the_public_key_is_listed(server, user):
    with server.imap(user) as client:
        assert VAPID in client.getmetadata(WEBPUSH, depth="infinity")
        assert VAPID in client.getmetadata(WEBPUSH, depth="1")


# -- SUB-2 --


def test_SUB_2_create_replace_and_remove(server, user, subscriber):
    one = subscriber(server, user)
    one.register()
    assert set(subscriptions(server, user)) == {one.id}
    one.msgtype = "chat"
    one.register()
    assert {i: v["msgtype"] for i, v in subscriptions(server, user).items()} == {one.id: "chat"}
    other = subscriber(server, user)
    other.subscribe()
    assert set(subscriptions(server, user)) == {one.id, other.id}
    assert one.remove().ok
    assert set(subscriptions(server, user)) == {other.id}
    assert one.remove().ok, "what isn't there is removed"


@pytest.mark.parametrize("id", ["0123456789", "a" * 36, "-_-_-_-_-_", "ABCdef-012_"])
def test_SUB_2_ids_that_are_right(server, user, subscriber, id):
    one = subscriber(server, user, id=id).subscribe()
    # Names of entries are case-insensitive (RFC 5464, 3.2).
    assert subscriptions(server, user)[id.lower()]["resource"]["endpoint"] == one.endpoint
    server.deliver("lmtp", user, mail("to this id"))
    assert one.subjects(1) == ["to this id"]


WRONG_IDS = [
    "123456789",
    "a" * 37,
    "a" * 10_000,
    "with.a.dot",
    "with a blank",
    "with/a/slash",
    "with=equals=",
    "tab\there\tand",
    "../../../../../etc",
    "ünïcödé-id-of-it",
]


@pytest.mark.parametrize("id", WRONG_IDS, ids=[ascii(id)[:20] for id in WRONG_IDS])
def test_SUB_2_ids_that_are_wrong(server, user, subscriber, service, id):
    one = subscriber(server, user)
    value = Literal(json.dumps(one.value))
    with server.imap(user) as client:
        entry = Literal(f"{SUBSCRIPTIONS}/{id}")
        response = client.command('SETMETADATA "" (', entry, " ", value, ")")
        assert response.status in ("NO", "BAD"), response
        client.must("NOOP")
    assert subscriptions(server, user) == {}
    assert service.connections == 0


def test_SUB_2_the_directory_itself_is_no_subscription(server, user, subscriber):
    value = json.dumps(subscriber(server, user).value)
    with server.imap(user) as client:
        for name in (SUBSCRIPTIONS, f"{SUBSCRIPTIONS}/"):
            assert not client.setmetadata({name: value}).ok
    assert subscriptions(server, user) == {}


def test_SUB_2_several_in_one_command(server, user, subscriber):
    first, second = subscriber(server, user), subscriber(server, user)
    entries = {one.entry: json.dumps(one.value) for one in (first, second)}
    with server.imap(user) as client:
        assert client.setmetadata(entries).ok
    assert set(subscriptions(server, user)) == {first.id, second.id}
    for one in (first, second):
        assert one.validate(one.validations()[0].payload["validation"]).ok


def test_SUB_2_SUB_11_several_of_which_one_is_refused(server, user, subscriber, service):
    """By its push service: nobody else is asked, and none is stored."""
    first, second = subscriber(server, user), subscriber(server, user)
    service.on(first.path, answer(403))
    entries = {one.entry: json.dumps(one.value) for one in (first, second)}
    with server.imap(user) as client:
        assert client.setmetadata(entries).status == "NO"
    assert subscriptions(server, user) == {}
    subscriber(server, user).subscribe()
    assert not service.of(second.path)


def test_SUB_2_SUB_6_of_an_entry_that_is_there_twice_the_last_value_counts(
    server, user, subscriber, service
):
    one = subscriber(server, user)
    first, last = changed(one, "device", "first"), changed(one, "device", "last")
    with server.imap(user) as client:
        pairs = [f"{one.entry} ", Literal(json.dumps(first)), f" {one.entry} "]
        client.must('SETMETADATA "" (', *pairs, Literal(json.dumps(last)), ")")
    assert subscriptions(server, user)[one.id]["device"] == "last"
    # Another one's message comes behind all that this one was sent.
    other = subscriber(server, user).subscribe()
    assert len(service.of(other.path)) == len(service.of(one.path)) == 1


def test_SUB_2_of_very_many_in_one_command_none_is_changed(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    with server.imap(user) as client:
        for count, status in ((101, "NO"), (100, "OK")):
            names = [one.id, *(f"{number:010}" for number in range(count - 1))]
            pairs = " ".join(f"{SUBSCRIPTIONS}/{name} NIL" for name in names)
            assert set(subscriptions(server, user)) == {one.id}
            assert client.command(f'SETMETADATA "" ({pairs})').status == status
    assert subscriptions(server, user) == {}


def test_MSG_12_a_subscription_is_in_no_debug_log(make_server, subscriber):
    debug = by_dialect(
        v2_3="mail_debug = yes\nlog_debug = category=dict OR category=mail\n",
        v2_4="log_debug = category=dict OR category=mail\n",
    )
    server = make_server(after=debug)
    user = server.new_user()
    one = subscriber(server, user)
    validation = one.register()
    keys = one.value["resource"]["keys"]
    stored = (server.home(user) / "dovecot-attributes").read_text()
    assert keys["auth"] in stored and validation in stored
    # The session's last line is behind its others.
    ended = rf"imap\({user}\).*(Disconnected|Logged out)"
    eventually(lambda: re.search(ended, server.log_text()), "the session is over")
    text = server.log_text()
    assert "Debug: " in text
    for secret in (validation, keys["auth"], keys["p256dh"], one.path):
        assert secret not in text


# -- SUB-3 --


def changed(one, path, value):
    """The object of a subscription with one key, such as resource.keys.auth, set or left out."""
    given = json.loads(json.dumps(one.value))
    inner = given
    *way, last = path.split(".")
    for name in way:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return given


P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
GOOD_POINT = point(Device().private)
OFF_THE_CURVE = GOOD_POINT[:64] + bytes([GOOD_POINT[64] ^ 1])
COMPRESSED = bytes([2 + GOOD_POINT[64] % 2]) + GOOD_POINT[1:33]
TOO_LARGE = b"\4" + P256.to_bytes(32, "big") + GOOD_POINT[33:]

REQUIRED = [
    "client",
    "device",
    "msgtype",
    "resource",
    "resource.endpoint",
    "resource.keys",
    "resource.keys.p256dh",
    "resource.keys.auth",
]
WRONG_VALUES = [
    *((name, KeyError) for name in REQUIRED),
    *((name, value) for name in REQUIRED for value in (None, 5, True, [], ["x"])),
    *((name, "") for name in REQUIRED[2:]),
    *((name, {}) for name in REQUIRED),
    ("client", "x" * 129),
    ("client", "ü" * 65),
    ("device", "x" * 129),
    ("msgtype", "Chat"),
    ("msgtype", "none"),
    ("msgtype", "chat "),
    ("msgtype", "x" * 1000),
    ("resource.endpoint", "https://127.0.0.1/" + "x" * 983),
    ("resource.keys.p256dh", "AAAA"),
    ("resource.keys.p256dh", b64(b"\0" * 65)),
    ("resource.keys.p256dh", b64(b"\4" + b"\0" * 64)),
    ("resource.keys.p256dh", b64(OFF_THE_CURVE)),
    ("resource.keys.p256dh", b64(TOO_LARGE)),
    ("resource.keys.p256dh", b64(COMPRESSED)),
    ("resource.keys.p256dh", b64(b"\6" + GOOD_POINT[1:])),
    ("resource.keys.p256dh", b64(GOOD_POINT + b"\0")),
    ("resource.keys.p256dh", b64(GOOD_POINT) + "\n"),
    ("resource.keys.p256dh", " " + b64(GOOD_POINT)),
    ("resource.keys.p256dh", "*" * 87),
    ("resource.keys.p256dh", "A" * 257),
    ("resource.keys.auth", b64(b"x" * 15)),
    ("resource.keys.auth", b64(b"x" * 17)),
    ("resource.keys.auth", b64(b"x" * 16) + "="),
    ("resource.keys.auth", "ü" * 22),
    ("exclude_from", 5),
    ("exclude_from", [5]),
    ("exclude_from", [["me@example.org"]]),
    ("exclude_from", {}),
]


def case_name(value):
    return ascii(value)[:30] if not isinstance(value, type) else "left out"


@pytest.mark.parametrize("path, value", WRONG_VALUES, ids=case_name)
def test_SUB_3_a_value_that_is_wrong(server, user, subscriber, service, path, value):
    one = subscriber(server, user)
    response = one.set(changed(one, path, value))
    assert response.status == "NO", response
    assert subscriptions(server, user) == {}
    assert service.connections == 0


def texts_that_are_no_object(one):
    whole = json.dumps(one.value)
    yield ""
    yield " "
    yield "text"
    yield "null"
    yield "5"
    yield "[]"
    yield "{}"
    yield '"text"'
    yield whole[:-1]
    yield whole + "x"
    yield whole + whole
    yield whole.replace('"', "'")
    yield f"[{whole}]"
    yield whole.replace('"client"', '"client": "twice", "client"')
    yield whole.replace("Test client", "Test\x01client")
    yield whole.encode().replace(b"Test client", b"Test \xff\xfe")
    yield whole.replace("Test client", "\\ud800")
    yield whole[:-1] + ', "deep": ' + "[" * 5000 + "]" * 5000 + "}"
    yield whole[:-1] + ', "long": "' + "x" * 100_000 + '"}'


def test_SUB_3_a_text_that_is_no_object(server, user, subscriber, service):
    one = subscriber(server, user)
    for text in texts_that_are_no_object(one):
        response = one.set(text)
        assert response.status == "NO", (text[:300], response)
    assert subscriptions(server, user) == {}
    assert service.connections == 0


def test_SUB_3_a_NUL_in_the_object(server, user, subscriber):
    one = subscriber(server, user)
    for place in (b"{", b"Test client", b"}"):
        data = json.dumps(one.value).encode().replace(place, place + b"\0")
        with server.imap(user) as client:
            assert not client.setmetadata({one.entry: Literal(data, binary=True)}).ok
    assert subscriptions(server, user) == {}


def padded(data):
    return base64.urlsafe_b64encode(data).decode()


def standard(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("encode", [b64, padded, standard, lambda d: standard(d).rstrip("=")])
def test_SUB_3_keys_in_every_base64(server, user, service, encode):
    """Also: unpadded base64url keys were refused, by a peer."""
    # Both of the characters that the alphabets differ in.
    device = Device(auth=b"\xfb\xef\xbe\xff\xff\xff" + b"\xfb\xff" * 5)
    while not {"+", "/"} <= set(standard(point(device.private))):
        device = Device(auth=device.auth)
    one = Subscriber(server, user, service, device=device)
    keys = {"p256dh": encode(point(device.private)), "auth": encode(device.auth)}
    one.extra = {"resource": {"endpoint": one.endpoint, "keys": keys}}
    one.subscribe()
    server.deliver("lmtp", user, mail("in every base64"))
    assert one.subjects(1) == ["in every base64"]


@pytest.mark.parametrize("given, stored", [("email", "mail"), ("any", "all"), ("chat", "chat")])
def test_SUB_3_synonyms_of_the_first_implementation(server, user, subscriber, given, stored):
    one = subscriber(server, user, msgtype=given).subscribe()
    assert one.stored()["msgtype"] == stored


def test_SUB_3_unknown_keys_are_dropped(server, user, subscriber):
    one = subscriber(server, user)
    one.extra = {"unknown": {"deep": [1, 2]}, "validated": True, "created": "2001-01-01T00:00:00Z"}
    one.register()
    stored = one.stored()
    assert "unknown" not in stored
    assert stored["validated"] is False
    assert not stored["created"].startswith("2001")


def test_SUB_3_values_as_long_as_they_may_be(server, user, service, subscriber):
    start = len(service.origin) + 1
    one = subscriber(server, user, path="/" + "p" * (1000 - start))
    assert len(one.endpoint) == 1000
    one.extra = {"client": "ü" * 64, "device": "d" * 128}
    one.subscribe()
    stored = one.stored()
    assert (stored["client"], stored["device"]) == ("ü" * 64, "d" * 128)
    assert stored["resource"]["endpoint"] == one.endpoint


# -- SUB-4 --


def test_SUB_4_created_and_validated_are_added(server, user, subscriber):
    one = subscriber(server, user)
    # time() may be some milliseconds late, and so be in the second before.
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    text = one.register()
    after = datetime.datetime.now(datetime.timezone.utc)
    stored = one.stored()
    assert stored["validated"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", stored["created"])
    created = datetime.datetime.fromisoformat(stored["created"].replace("Z", "+00:00"))
    assert before <= created <= after
    assert one.validate(text).ok
    again = one.stored()
    assert again == {**stored, "validated": True}


@pytest.mark.parametrize("depth", ["1", "infinity"])
def test_SUB_4_they_are_listed(server, user, subscriber, depth):
    ids = {subscriber(server, user).subscribe().id for _ in range(3)}
    with server.imap(user) as client:
        entries = client.getmetadata(SUBSCRIPTIONS, depth=depth)
        found = {name for name, value in entries.items() if value is not None}
        assert found == {f"{SUBSCRIPTIONS}/{id}" for id in ids}
        assert found <= set(client.getmetadata(WEBPUSH, depth="infinity"))
        assert not found & set(client.getmetadata(WEBPUSH, depth="1"))


def test_SUB_4_one_entry_by_its_name(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    unknown = f"{SUBSCRIPTIONS}/unknown-id-1"
    with server.imap(user) as client:
        assert json.loads(client.getmetadata(one.entry)[one.entry]) == one.stored()
        assert client.getmetadata(unknown) == {unknown: None}


def test_SUB_4_what_a_client_set_is_what_it_reads(server, user, subscriber):
    one = subscriber(server, user)
    one.extra = {"client": 'With "quotes", \\ and ü', "device": "\u2028 \U0001f600"}
    one.subscribe()
    stored = one.stored()
    for name in ("client", "device", "msgtype"):
        assert stored[name] == one.value[name]
    assert stored["resource"]["endpoint"] == one.endpoint
    assert stored["resource"]["keys"]["p256dh"] == one.device.p256dh


def test_SUB_4_users_do_not_see_each_others(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    other = server.new_user()
    assert subscriptions(server, other) == {}
    with server.imap(other) as client:
        assert client.getmetadata(one.entry) == {one.entry: None}
        client.setmetadata({one.entry: None})
    assert set(subscriptions(server, user)) == {one.id}


# -- SUB-5 --


def test_SUB_5_one_more_than_the_limit(server, user, subscriber):
    first, *others = [subscriber(server, user).subscribe() for _ in range(10)]
    before = subscriptions(server, user)
    assert len(before) == 10
    late = subscriber(server, user)
    response = late.set()
    assert response.status == "NO"
    assert response.text.startswith("[METADATA TOOMANY] ")
    assert subscriptions(server, user) == before
    first.subscribe()
    assert len(subscriptions(server, user)) == 10, "a replacement is not one more"
    assert others[0].remove().ok
    late.subscribe()
    assert len(late.validations()) == 1, "there was none for what was refused"
    assert len(subscriptions(server, user)) == 10


def test_SUB_5_the_limit_is_a_setting(make_server, subscriber):
    server = make_server(push=(("webpush_subscription_limit", 2),))
    user = server.new_user()
    for _ in range(2):
        subscriber(server, user).subscribe()
    assert subscriber(server, user).set().status == "NO"
    other = server.new_user()
    subscriber(server, other).subscribe()


def test_SUB_5_racing_registrations_keep_the_limit(make_server, subscriber):
    # Dovecot lets a user have ten sessions.
    many = "protocol imap {\n  mail_max_userip_connections = 100\n}\n"
    server = make_server(before=many)
    user = server.new_user()
    everybody = [subscriber(server, user) for _ in range(25)]
    responses = race(25, lambda number: everybody[number].set())
    winners = [one for one, response in zip(everybody, responses) if response.ok]
    assert {one.id for one in winners} == set(subscriptions(server, user))
    # Of one push service, no more than eight are taken at once.
    assert 8 <= len(winners) <= 10
    others = [one for one in everybody if one not in winners]
    for one in others[: 10 - len(winners)]:
        assert one.set().ok
        winners.append(one)
    assert not others[-1].set().ok
    assert len(subscriptions(server, user)) == 10
    for one in winners:
        assert one.validate(one.validations()[-1].payload["validation"]).ok
    server.deliver("lmtp", user, mail("to ten devices"))
    for one in winners:
        assert one.subjects(1) == ["to ten devices"]


def test_SUB_5_they_are_changed_by_one_session_at_a_time(server, user, subscriber):
    one = subscriber(server, user)
    with server.imap(user) as client:
        client.must("SELECT INBOX")
    with Held(server, user, LOCK_OF_SUBSCRIPTIONS):
        responses = []
        thread = threading.Thread(target=lambda: responses.append(one.set()))
        thread.start()
        # It is asked ahead of that, because it may take long.
        eventually(one.validations, "it is asked")
        for _ in range(5):
            assert subscriptions(server, user) == {}
    thread.join()
    assert responses[0].ok
    assert set(subscriptions(server, user)) == {one.id}


def test_SUB_5_racing_replacements_leave_one_whole(server, user, service):
    everybody = [Subscriber(server, user, service, id="same-for-all") for _ in range(8)]
    responses = race(8, lambda number: everybody[number].set())
    assert any(response.ok for response in responses)
    ((_, stored),) = subscriptions(server, user).items()
    (winner,) = [one for one in everybody if one.endpoint == stored["resource"]["endpoint"]]
    assert stored["resource"]["keys"]["p256dh"] == winner.device.p256dh
    assert winner.validate(winner.validations()[-1].payload["validation"]).ok
    server.deliver("lmtp", user, mail("to the winner"))
    assert winner.subjects(1) == ["to the winner"]


# -- SUB-6 --


def test_SUB_6_the_validation_message(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    (push,) = one.validations()
    assert push.payload == {"validation": text}
    assert 16 <= len(text.encode()) <= 1000
    request = push.request
    assert request.method == "POST"
    assert request.header("Content-Encoding") == "aes128gcm"
    # SUB-7: as long as it is good for
    assert 240 < int(request.header("TTL")) <= 300
    assert request.header("WebPush-Validation") is not None
    vapid = read_vapid(request.header("Authorization"), vapid_key(server, user))
    assert vapid.claims["aud"] == one.service.origin
    assert one.requests() == []


def test_SUB_6_a_replacement_is_validated_anew(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    old = one.validations()[0].payload["validation"]
    new = one.register()
    assert new != old
    assert one.stored()["validated"] is False
    assert not one.validate(old).ok
    assert one.validate(new).ok


# -- SUB-7, SUB-9 --


def test_SUB_7_the_right_text(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    assert one.validate(text).ok
    assert one.stored()["validated"] is True


def test_SUB_7_wrong_texts(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    wrong = ["", " ", "x", text[:-1], text + "x", " " + text, text.swapcase(), text[::-1], None]
    wrong += ["x" * 100_000, '{"validation":"' + text + '"}']
    for given in wrong:
        response = one.validate(given)
        assert response.status == "NO", (given and given[:50], response)
        assert text not in response.text
    for data in (text.encode() + b"\0", text.encode()[:-1] + b"\xff"):
        assert not one.validate(Literal(data, binary=True)).ok
    assert one.stored()["validated"] is False
    assert one.validate(text).ok, "wrong ones don't use it up"


def test_SUB_7_an_unknown_id(server, user, subscriber):
    one, unknown = subscriber(server, user), subscriber(server, user)
    text = one.register()
    assert unknown.validate(text).status == "NO"
    assert unknown.validate(None).status == "NO"
    assert set(subscriptions(server, user)) == {one.id}


def test_SUB_7_late(make_server, subscriber):
    server = make_server(push=(("webpush_subscription_expire", "3 s"),))
    user = server.new_user()
    one = subscriber(server, user)
    # On a very busy machine it is over before it has begun.
    eventually(lambda: one.set().ok, "a registration")
    text = one.validations()[-1].payload["validation"]
    eventually(lambda: one.stored() is None, "an expired subscription is discarded")
    assert one.validate(text).status == "NO"
    assert one.stored() is None


def test_SUB_8_SUB_7_an_expired_one_makes_room(make_server, subscriber):
    """Also: dead subscriptions piled up for ever, and a stale one blocked a new one, by peers."""
    settings = (("webpush_subscription_expire", "3 s"), ("webpush_subscription_limit", 2))
    server = make_server(push=settings)
    user = server.new_user()
    stale = [subscriber(server, user) for _ in range(2)]
    for one in stale:
        eventually(lambda: one.set().ok, "a registration")
    new = subscriber(server, user)
    eventually(lambda: new.set().ok, "there is room for a new one")
    ids = {one.id for one in stale}
    eventually(lambda: not ids & set(subscriptions(server, user)), "they have expired")
    for one in stale:
        assert one.validate(one.validations()[0].payload["validation"]).status == "NO"
    assert set(subscriptions(server, user)) <= {new.id}


def test_SUB_9_a_text_is_good_for_once(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    assert one.validate(text).ok
    assert one.validate(text).status == "NO"
    assert one.stored()["validated"] is True


def test_SUB_9_racing_validations_are_one(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    responses = race(6, lambda _: one.validate(text))
    assert sum(response.ok for response in responses) == 1
    assert one.stored()["validated"] is True


def test_SUB_9_a_text_is_for_one_user_and_id(server, user, subscriber, service):
    other = server.new_user()
    mine = subscriber(server, user)
    another = subscriber(server, user)
    theirs = Subscriber(server, other, service, id=mine.id)
    texts = {one: one.register() for one in (mine, another, theirs)}
    for one in texts:
        for owner, text in texts.items():
            if owner is not one:
                assert one.validate(text).status == "NO"
    for one, text in texts.items():
        assert one.validate(text).ok


def test_SUB_9_texts_have_nothing_in_common(server, user, subscriber):
    one = subscriber(server, user)
    texts = [one.register() for _ in range(8)]
    assert len(set(texts)) == 8
    # 128 bits of base64
    assert min(map(len, texts)) >= 22
    alike = [sum(a == b for a, b in zip(texts[0], text)) for text in texts[1:]]
    assert max(alike) <= len(texts[0]) // 2, texts


def test_SUB_9_a_text_can_not_be_read(server, user, subscriber):
    one = subscriber(server, user)
    text = one.register()
    with server.imap(user) as client:
        names = (one.entry, f"{one.entry}/validate", SUBSCRIPTIONS, WEBPUSH)
        for depth in (None, "infinity"):
            response = client.command(
                f'GETMETADATA {f"(DEPTH {depth}) " if depth else ""}"" ({" ".join(names)})'
            )
            assert text.encode() not in b"".join(response.untagged)


# -- SUB-8 --


def test_SUB_8_no_push_before_validation(server, user, subscriber):
    waiting, sentinel = subscriber(server, user), subscriber(server, user)
    text = waiting.register()
    sentinel.subscribe()
    server.deliver("lmtp", user, mail("before"))
    sentinel.until("before")
    assert waiting.requests() == []
    assert waiting.validate(text).ok
    server.deliver("lmtp", user, mail("after"))
    assert waiting.until("after") == ["after"]


def test_SUB_8_a_replaced_one_gets_nothing_before_validation(server, user, subscriber):
    one, sentinel = subscriber(server, user).subscribe(), subscriber(server, user).subscribe()
    text = one.register()
    server.deliver("lmtp", user, mail("in between"))
    sentinel.until("in between")
    assert one.requests() == []
    assert one.validate(text).ok


def test_SUB_2_a_removed_one_gets_nothing(server, user, subscriber):
    one, sentinel = subscriber(server, user).subscribe(), subscriber(server, user).subscribe()
    assert one.remove().ok
    server.deliver("lmtp", user, mail("afterwards"))
    sentinel.until("afterwards")
    assert one.requests() == []


# -- SUB-10 --


def test_SUB_10_exclude_from(server, user, subscriber):
    one, sentinel = subscriber(server, user), subscriber(server, user).subscribe()
    one.extra = {"exclude_from": ["SENDER@Example.org", "other@example.org"]}
    one.subscribe()
    assert {a.lower() for a in one.stored()["exclude_from"]} == {
        "sender@example.org",
        "other@example.org",
    }
    text = mail("excluded")
    server.deliver("lmtp", user, text)
    server.deliver("lmtp", user, mail("sent by another").replace(b"sender@", b"third@"))
    server.deliver("lmtp", user, mail("upper case").replace(b"sender@example", b"OTHER@EXAMPLE"))
    dot = mail("dot").replace(b"sender@example.org", b"other@example.org.")
    assert b"other@example.org." in dot
    server.deliver("lmtp", user, dot)
    server.deliver("lmtp", user, mail("last").replace(b"sender@", b"third@"))
    sentinel.pushes(5)
    assert sorted(one.until("last")) == ["last", "sent by another"]


# -- SUB-11 --


def assert_still_works(one, before):
    assert one.stored() == before
    one.server.deliver("lmtp", one.user, mail("still there"))
    assert one.until("still there") == ["still there"]


@pytest.mark.parametrize(
    "path, value",
    [
        ("resource.keys.p256dh", b64(OFF_THE_CURVE)),
        ("resource.keys.auth", "short"),
        ("msgtype", "nothing"),
        ("resource.endpoint", "https://10.0.0.1/private"),
        ("resource.endpoint", "https://unknown.invalid/push"),
        ("resource.endpoint", "ftp://127.0.0.1/push"),
    ],
    ids=case_name,
)
def test_SUB_11_a_failed_replacement_leaves_the_old_one(server, user, subscriber, path, value):
    one = subscriber(server, user).subscribe()
    before = one.stored()
    assert one.set(changed(one, path, value)).status == "NO"
    assert_still_works(one, before)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 413, 429, 500, 301])
def test_SUB_11_a_replacement_that_is_not_accepted(server, user, subscriber, service, status):
    one = subscriber(server, user).subscribe()
    before = one.stored()
    other = subscriber(server, user, id=one.id)
    service.on(other.path, answer(status))
    assert other.set().status == "NO"
    assert_still_works(one, before)


def test_SUB_11_a_replacement_that_is_not_reached(server, user, subscriber, make_service):
    one = subscriber(server, user).subscribe()
    before = one.stored()
    gone = make_service()
    gone.down()
    assert subscriber(server, user, id=one.id, service=gone).set().status == "NO"
    assert_still_works(one, before)


def test_SUB_11_secrets_are_not_read_back(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    assert one.stored()["resource"]["keys"]["auth"] == ""
    with server.imap(user) as client:
        response = client.must(f'GETMETADATA (DEPTH infinity) "" ({WEBPUSH} {one.entry})')
        text = b"".join(response.untagged)
    assert b64(one.device.auth).encode() not in text
    assert standard(one.device.auth).encode() not in text


# -- SUB-12 --

INJECTIONS = [
    "https://127.0.0.1/\r\n* BYE injected\r\n",
    "https://127.0.0.1/\nX-Injected: yes",
    "https://127.0.0.1\r\n/x",
    "https://127.0.0.1/ HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    "https://127.0.0.1/\0x",
    "https://127.0.0.1/\x7f\x01",
    "https://10.0.0.1/\r\nt1 OK done",
    "https://ünï.example/\r\n",
    "https://nowhere.invalid/\r\n(",
]


@pytest.mark.parametrize("endpoint", INJECTIONS, ids=ascii)
def test_SUB_12_nothing_is_injected_by_an_endpoint(server, user, subscriber, log, endpoint):
    one = subscriber(server, user)
    value = json.dumps(changed(one, "resource.endpoint", endpoint))
    with server.imap(user) as client:
        response = client.setmetadata({one.entry: value})
        assert response.status == "NO"
        assert response.untagged == []
        assert re.fullmatch(r"[\x20-\x7e]+", response.text)
        client.must("NOOP")
    assert subscriptions(server, user) == {}
    assert not log.count(server, r"^(\* BYE|X-Injected|Host: elsewhere|t1 OK)|[\0\x7f]")


def test_SUB_12_nothing_is_injected_by_other_texts(server, user, subscriber, log):
    one = subscriber(server, user)
    for path in ("client", "device", "msgtype", "resource.keys.p256dh", "resource.keys.auth"):
        value = json.dumps(changed(one, path, "x\r\n* BYE injected\r\nwhatever\0"))
        with server.imap(user) as client:
            response = client.setmetadata({one.entry: value})
            assert re.fullmatch(r"[\x20-\x7e]+", response.text)
            client.must("NOOP")
            client.must(f'GETMETADATA (DEPTH infinity) "" ({SUBSCRIPTIONS})')
    assert not log.count(server, r"^\* BYE")


@pytest.mark.parametrize(
    "status, word, headers, body",
    [
        (500, "unreachable", ("X-Banner: CANARY",), b"CANARY\r\n* BYE injected\r\n"),
        (403, "refused", (), b"CANARY" * 10_000),
        (302, "refused", ("Location: http://CANARY.example/",), b""),
        (429, "unreachable", ("Retry-After: 86399",), b"\xff\xfe\0CANARY"),
    ],
)
def test_SUB_12_nothing_of_an_answer_is_told(
    server, user, subscriber, service, log, status, word, headers, body
):
    one = subscriber(server, user)
    service.on(one.path, answer(status, *headers, body=body, reason="CANARY"))
    response = one.set()
    assert response.status == "NO"
    assert word in response.text
    assert "CANARY" not in response.text and str(status) not in response.text
    assert not log.count(server, "CANARY")
    assert one.stored() is None


def test_SUB_12_unreachable_and_not_allowed(server, user, subscriber, make_service):
    gone = make_service()
    gone.down()
    one = subscriber(server, user, service=gone)
    assert "unreachable" in one.set().text
    unknown = changed(one, "resource.endpoint", "https://unknown.invalid/push")
    assert "unreachable" in one.set(unknown).text
    private = changed(one, "resource.endpoint", "https://10.0.0.1/push")
    assert "not allowed" in one.set(private).text
    assert subscriptions(server, user) == {}


# -- CAP-1, CAP-2, CLI-5 --


def test_CAP_1_CAP_2_WEBPUSH_is_listed_after_login(server, user):
    with server.imap(user) as client:
        assert client.capabilities().count("WEBPUSH") == 1
    with Imap(server.imap_address) as client:
        assert "WEBPUSH" not in client.capabilities()
        assert b"WEBPUSH" not in client.greeting.split()


def test_CAP_1_without_push_there_is_no_WEBPUSH(make_server, subscriber, service):
    server = make_server(push=(("coi_push", "no"),))
    user = server.new_user()
    with server.imap(user) as client:
        words = client.capabilities()
    assert "WEBPUSH" not in words and "COI" in words
    assert not subscriber(server, user).set().ok
    assert service.connections == 0


def test_CAP_3_a_user_without_the_plugin_has_no_WEBPUSH(make_server):
    server = make_server(userdb_fields=("mail_plugins=notify",))
    with server.imap(server.new_user()) as client:
        assert "WEBPUSH" not in client.capabilities()


@pytest.mark.parametrize("name", ["XWEBPUSH", ""])
def test_CLI_5_the_capability_is_a_setting(make_server, subscriber, name):
    server = make_server(push=(("coi_push_capability", name),))
    user = server.new_user()
    with server.imap(user) as client:
        words = client.capabilities()
    assert [word for word in words if "PUSH" in word] == [name] * bool(name)
    assert all(words)
    subscriber(server, user).subscribe()


# -- END-5 --


def test_END_5_registrations_are_throttled(fresh_server, subscriber, service):
    server = fresh_server(push=(("coi_push_register_limit", 3),))
    user, other = server.new_user(), server.new_user()
    one = subscriber(server, user)
    for _ in range(3):
        one.register()
    before = one.stored()
    response = one.set()
    assert response.status == "NO"
    assert response.text.startswith("[LIMIT] Too many registrations, try again later")
    assert len(one.validations()) == 3
    assert one.stored() == before
    subscriber(server, other).subscribe()


def test_END_5_failures_lock_for_a_while(fresh_server, subscriber, service):
    """A user can't go through the ports of a host."""
    server = fresh_server(push=(("coi_push_register_limit", 100),))
    user = server.new_user()
    texts = set()
    for _ in range(60):
        one = subscriber(server, user)
        service.on(one.path, answer(500))
        response = one.set()
        assert response.status == "NO"
        texts.add(response.reason)
        if len(texts) > 1:
            break
    assert len(texts) > 1, "60 failures, and no other answer"
    asked = len(service.requests)
    assert subscriber(server, user).set().status == "NO"
    assert len(service.requests) == asked
    subscriber(server, server.new_user()).subscribe()


# -- other ways in --


def test_ENA_11_one_refused_entry_changes_none(server, user, subscriber, service):
    one, other = subscriber(server, user), subscriber(server, user)
    wrong = json.dumps(changed(other, "msgtype", "nothing"))
    enabled = f"{ROOT}/enabled"
    orders = (
        {one.entry: json.dumps(one.value), enabled: "yes", other.entry: wrong},
        {other.entry: wrong, enabled: "yes", one.entry: json.dumps(one.value)},
    )
    for entries in orders:
        with server.imap(user) as client:
            assert client.setmetadata(entries).status == "NO"
            assert client.getmetadata(enabled) == {enabled: None}
    assert subscriptions(server, user) == {}
    assert service.connections == 0, "nobody is asked of what is not to be"


def test_ENA_11_beside_an_entry_that_is_not_ours_nobody_is_asked(
    server, user, subscriber, service
):
    one = subscriber(server, user)
    with server.imap(user) as client:
        entries = {one.entry: json.dumps(one.value), "/private/comment": "x"}
        assert client.setmetadata(entries).status == "NO"
    assert subscriptions(server, user) == {}
    assert service.connections == 0


def test_SUB_2_SUB_11_doveadm_lists_and_removes(server, user, subscriber):
    one = subscriber(server, user).subscribe()
    metadata = ("doveadm", "mailbox", "metadata")
    shown = server.run(*metadata, "get", "-u", user, "-s", "", one.entry)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["resource"]["endpoint"] == one.endpoint
    listed = server.run(*metadata, "list", "-u", user, "-s", "", WEBPUSH)
    assert one.id.encode() in listed.stdout
    done = server.run(*metadata, "unset", "-u", user, "-s", "", one.entry)
    assert done.returncode == 0, done.stderr
    assert one.stored() is None


def test_SUB_2_dsync_keeps_them(server, make_server, user, subscriber, log):
    """To another server, as when a user is moved."""
    log.expect("VAPID key that is not here")
    one = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, mail("makes the INBOX"))
    one.until("makes the INBOX")
    other = make_server(push=(("coi_push_ttl", "1 h"),))
    done = dsync(server, user, other)
    assert done.returncode == 0, done.stderr
    moved = subscriptions(other, user)
    assert moved == subscriptions(server, user)
    other.deliver("lmtp", user, mail("on the other server"))
    assert "on the other server" in one.until("on the other server")
