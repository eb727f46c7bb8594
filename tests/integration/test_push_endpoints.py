# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""END: endpoints come from clients, and push services are anybody's."""

import socket
import threading

import pytest
from harness.config import import_environment
from harness.mails import mail
from harness.push import Subscriber, eventually, service_pids, subscriptions
from harness.push_service import HOSTILE, PushService, answer

pytestmark = pytest.mark.private

COMPLAINTS = r"coi-push"
# What a test of a refusal must not run into.
NO_THROTTLE = ("coi_push_register_limit", 10_000)


@pytest.fixture
def server(make_server):
    """Push services are allowed on 127.0.0.0/8, http on 127.0.0.1."""
    return make_server(push=(NO_THROTTLE,))


@pytest.fixture
def strict(make_server):
    """As an admin has it who has set nothing."""
    settings = (("coi_push_networks", None), ("coi_push_hosts_http", None), NO_THROTTLE)
    return make_server(push=settings)


def register(server, service, endpoint):
    """The response to a subscription of a new user with this endpoint."""
    user = server.new_user()
    one = Subscriber(server, user, service)
    keys = one.value["resource"]["keys"]
    one.extra = {"resource": {"endpoint": endpoint, "keys": keys}}
    response = one.set()
    assert bool(subscriptions(server, user)) == response.ok
    return response


def assert_not_allowed(server, service, endpoint):
    response = register(server, service, endpoint)
    assert response.status == "NO", endpoint
    # With a dot at its end some take it for a name, which nobody has. And of ::1 in a file
    # of hosts glibc makes 127.0.0.1, where nobody listens, for who asks for IPv4 alone.
    named = f".:{service.port}" in endpoint or ".test:" in endpoint
    words = ("not allowed", "unreachable")[: 1 + named]
    assert any(word in response.text for word in words), (endpoint, response)
    assert service.connections == 0


# -- END-1 --

# {port}: of a service that must not see a connection
WRONG_URLS = [
    "http://127.0.0.2:{port}/",
    "http://localhost:{port}/",
    "http://push.example.org/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "dict://127.0.0.1:{port}/d",
    "smtp://127.0.0.1:{port}/",
    "imap://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "wss://127.0.0.1:{port}/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "127.0.0.1:{port}",
    "//127.0.0.1:{port}/",
    "/path",
    "https:",
    "https:/127.0.0.1:{port}/",
    "https:127.0.0.1:{port}/",
    "https://",
    "https:///path",
    "https://:{port}/",
    "https://user@127.0.0.1:{port}/",
    "https://user:password@127.0.0.1:{port}/",
    "https://@127.0.0.1:{port}/",
    "https://:@127.0.0.1:{port}/",
    "https://push.example.org@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}@push.example.org/",
    "https://127.0.0.1:{port}/#fragment",
    "https://127.0.0.1:{port}#",
    "https://127.0.0.1:0/",
    "https://127.0.0.1:65536/",
    "https://127.0.0.1:999999999999/",
    "https://127.0.0.1:-1/",
    "https://127.0.0.1:x/",
    "https://127.0.0.1:{port} /",
    "https://127.0.0.1:{port}/a b",
    " https://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/\t",
    "https://127.0.0.1\\@10.0.0.1/",
    "https://[::1/",
    "https://::1/",
    "https://[::1]x/",
    "https://[fe80::1%25eth0]/",
    "https://127.0.0.1%00.example.org/",
    "https://exa mple.org/",
    "https://-/",
    "https://./",
    "https://..example.org/",
    "https://" + "a" * 64 + ".example.org/",
    "https://" + "a." * 130 + "example.org/",
]


@pytest.mark.parametrize("endpoint", WRONG_URLS, ids=lambda e: ascii(e)[1:40])
def test_END_1_a_URL_that_is_wrong(server, service, endpoint):
    response = register(server, service, endpoint.format(port=service.port))
    assert response.status == "NO", response
    assert service.connections == 0


def test_END_1_another_spelling_of_a_right_one(server, service):
    one = Subscriber(server, server.new_user(), service)
    endpoint = one.endpoint.replace("https", "HTTPS")
    one.extra = {"resource": {"endpoint": endpoint, "keys": one.value["resource"]["keys"]}}
    one.subscribe()


def test_END_1_query_and_escapes_reach_the_service(server, service):
    one = Subscriber(server, server.new_user(), service, path="/a%2Fb%20c/../d?e=f&g=%C3%BC;h")
    response = one.set()
    assert response.ok, response
    (request,) = service.requests
    assert request.path.endswith("?e=f&g=%C3%BC;h")


def test_END_1_http_where_the_admin_allows_the_host(server, make_service):
    plain = make_service(tls=None)
    Subscriber(server, server.new_user(), plain).subscribe()
    other = make_service(tls=None, host="127.0.0.2")
    assert_not_allowed(server, other, f"{other.origin}/")


def test_END_1_http_for_one_port(make_server, make_service):
    allowed, other = make_service(tls=None), make_service(tls=None)
    server = make_server(push=(("coi_push_hosts_http", f"127.0.0.1:{allowed.port}"),))
    Subscriber(server, server.new_user(), allowed).subscribe()
    assert_not_allowed(server, other, f"{other.origin}/")


def test_END_1_no_http_by_default(strict, make_service):
    service = make_service(tls=None)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert_not_allowed(strict, service, f"http://{host}:{service.port}/")


BAD_CERTIFICATES = {
    "of another host": (("elsewhere.example",), {}),
    "signed by itself": (("127.0.0.1",), {"own": True}),
    "over": (("127.0.0.1",), {"days": -1}),
    "of another address": (("127.0.0.2",), {}),
}


@pytest.mark.parametrize("name", BAD_CERTIFICATES)
def test_END_1_a_certificate_that_is_no_good(server, authority, make_service, name):
    names, options = BAD_CERTIFICATES[name]
    service = make_service(tls=authority.certificate(*names, **options))
    response = register(server, service, f"{service.origin}/secret-path")
    assert response.status == "NO"
    assert "unreachable" in response.text
    assert service.requests == []


def test_END_1_a_certificate_that_has_become_bad(server, authority, service, make_service, log):
    log.expect(COMPLAINTS)
    one = Subscriber(server, server.new_user(), service).subscribe()
    port = service.port
    service.down()
    bad = PushService(authority.certificate("127.0.0.1", own=True), port=port)
    server.deliver("lmtp", one.user, mail("mail"))
    bad.wait(lambda: bad.connections, "a connection")
    bad.close()
    assert bad.requests == []
    service.up()
    assert one.until("mail") == ["mail"]


# -- END-2 --

# Besides loopback.
PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:a00:1]",
    "[::10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2002:a00:1::1]",
    "[2002:7f00:1::1]",
    "[2001:0:a00:1::1]",
    "167772161",
    "0xa000001",
    "0x0a.0.0.1",
    "012.0.0.1",
    "10.1",
    "10.0.1",
]
LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "0",
    "0.0.0.0",
    "[::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_END_2_an_address_that_is_not_public(server, service, host):
    assert_not_allowed(server, service, f"https://{host}:{service.port}/")


@pytest.mark.parametrize("host", LOOPBACK)
def test_END_2_this_machine(strict, service, host):
    assert_not_allowed(strict, service, f"https://{host}:{service.port}/")


def test_END_2_other_networks_stay_closed(server, make_service):
    """127.0.0.0/8 is allowed, ::1 isn't."""
    six = make_service(host="::1")
    assert_not_allowed(server, six, f"https://[::1]:{six.port}/")


def test_END_2_a_network_of_IPv6(make_server, make_service):
    server = make_server(push=(("coi_push_networks", "::1/128 192.0.2.0/24"),))
    six, four = make_service(host="::1"), make_service()
    Subscriber(server, server.new_user(), six).subscribe()
    assert_not_allowed(server, four, f"{four.origin}/")


NAMES = {
    "private": ("10.0.0.1",),
    "link-local": ("169.254.169.254",),
    "IPv6": ("::1",),
    "IPv4 in IPv6": ("::ffff:10.0.0.1",),
    "none but private": ("10.0.0.1", "192.168.0.1", "fd00::1"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_END_2_a_name_of_an_address_that_is_not_public(server, make_service, hosts, kind):
    hosts.set("trap.push.test", *NAMES[kind])
    six = make_service(host="::1")
    assert_not_allowed(server, six, f"https://trap.push.test:{six.port}/")


def test_END_2_a_name_that_has_changed(fresh_server, make_service, hosts, log):
    """DNS rebinding: the address is checked for every connection."""
    log.expect(COMPLAINTS)
    server = fresh_server()
    hosts.set("rebound.push.test", "127.0.0.1")
    named = make_service(name="rebound.push.test")
    trap = make_service(host="::1", port=named.port)
    one = Subscriber(server, server.new_user(), named).subscribe()
    control = Subscriber(server, one.user, make_service()).subscribe()
    hosts.set("rebound.push.test", "::1")
    # No connection and no cached address is left.
    named.down()
    server.restart(server.settings)
    for number in range(3):
        server.deliver("lmtp", one.user, mail(f"mail {number}"))
    control.pushes(3)
    assert one.stored()["validated"] is True
    assert trap.connections == 0
    assert_not_allowed(server, trap, one.endpoint)


REDIRECTS = (300, 301, 302, 303, 304, 307, 308)


def test_END_2_no_redirect_is_followed(server, make_service, log):
    log.expect(COMPLAINTS)
    target, plain = make_service(), make_service(tls=None)
    for status in REDIRECTS:
        service = make_service()
        one = Subscriber(server, server.new_user(), service).subscribe()
        for where in (target.origin + one.path, plain.origin + one.path, "/elsewhere", one.path):
            redirect = answer(status, f"Location: {where}")
            service.on("/registered", redirect)
            other = Subscriber(server, server.new_user(), service, path="/registered")
            assert "refused" in other.set().text
            service.on(one.path, redirect, answer(201))
            count = len(one.requests())
            server.deliver("lmtp", one.user, mail(f"{status} to {where}"))
            one.pushes(count + 1)
            # Nothing of what was redirected goes on before this.
            server.deliver("lmtp", one.user, mail(f"after {where}"))
            one.until(f"after {where}")
        assert service.of("/elsewhere") == []
        assert one.stored()["validated"] is True
    assert target.connections == plain.connections == 0


@pytest.mark.uninstrumented
def test_END_2_no_proxy_of_the_environment(fresh_server, service, make_service):
    proxy = make_service(tls=None)
    names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    server = fresh_server(before=import_environment(dict.fromkeys(names, proxy.origin)))
    Subscriber(server, server.new_user(), service).subscribe()
    assert proxy.connections == 0


# -- END-3 --


def test_END_3_hosts_that_are_allowed(make_server, make_service, hosts):
    allowed = "push.test *.good.push.test"
    server = make_server(push=(("coi_push_hosts", allowed), NO_THROTTLE))
    # It may be any, so it is one that answers.
    service = make_service(name="push.test")
    cases = {
        "push.test": True,
        "PUSH.test": True,
        "a.good.push.test": True,
        "b.a.good.push.test": True,
        "good.push.test": False,
        "a.push.test": False,
        "xpush.test": False,
        "push.test.example": False,
        "agood.push.test": False,
        "127.0.0.1": False,
    }
    for name in cases:
        hosts.set(name.lower(), "127.0.0.1")
    found = {}
    for name in cases:
        text = register(server, service, f"https://{name}:{service.port}/").text
        found[name] = "not allowed" not in text
    assert found == cases


def test_END_3_hosts_that_are_denied(make_server, service, hosts):
    denied = "bad.push.test *.evil.push.test 127.0.0.1"
    server = make_server(push=(("coi_push_hosts_denied", denied), NO_THROTTLE))
    cases = {
        "bad.push.test": False,
        "BAD.push.TEST": False,
        "bad.push.test.": False,
        "a.evil.push.test": False,
        "push.test": True,
        "127.0.0.1": False,
    }
    for name in cases:
        hosts.set(name.lower(), "127.0.0.1")
    found = {}
    for name in cases:
        text = register(server, service, f"https://{name}:{service.port}/").text
        found[name] = "not allowed" not in text
    assert found == cases


def test_END_3_a_host_that_is_denied_later(fresh_server, make_service, hosts, log):
    log.expect(COMPLAINTS)
    server = fresh_server()
    hosts.set("later.push.test", "127.0.0.1")
    named, other = make_service(name="later.push.test"), make_service()
    user = server.new_user()
    one, control = Subscriber(server, user, named).subscribe(), Subscriber(server, user, other)
    control.subscribe()
    settings = server.settings
    changed = type(settings)(push=(("coi_push_hosts_denied", "later.push.test"),))
    server.restart(changed)
    server.deliver("lmtp", user, mail("denied"))
    control.until("denied")
    assert one.requests() == []


# -- END-4 --


def test_END_4_hostile_services_harm_nobody_else(make_server, make_service, log):
    """All of them at once, each with many pushes; then they get better, and get them."""
    log.expect(COMPLAINTS)
    server = make_server(push=(NO_THROTTLE,))
    hostile = {}
    users = []
    for number, name in enumerate(HOSTILE):
        if number % 5 == 0:
            users.append(server.new_user())
        service = make_service(tls=True if number % 2 else None)
        hostile[name] = Subscriber(server, users[-1], service).subscribe()
    mute = Subscriber(server, users[0], make_service()).subscribe()
    good = [Subscriber(server, user, make_service()).subscribe() for user in users]
    mute.service.down()
    mute.service.mute()
    mute.service.up()
    for name, one in hostile.items():
        one.service.on(one.path, HOSTILE[name])
    count = 30
    for number in range(count):
        for user in users:
            server.deliver("lmtp", user, mail(f"mail {number}"))
    for one in good:
        assert len(set(one.subjects(count))) == count
    # Each was tried, and is still what it is.
    for one in hostile.values():
        one.pushes(1)
    for one in [*hostile.values(), mute]:
        one.service.down()
        one.service.instead = None
        one.service.on(one.path, answer(201))
        one.service.up()
    expected = {f"mail {number}" for number in range(count)}
    for name, one in [*hostile.items(), ("mute", mute)]:
        what = f"all pushes of {name}"
        # The longer it was bad, the longer it is left alone.
        one.service.wait(lambda: expected <= set(one.subjects()), what, patience=900)
        assert one.stored()["validated"] is True


# An answer without a length is an answer: that the rest of it never ends is no harm.
ANSWERED = {"endless body", "endless chunks", "drip the body", "hang in the body"}


@pytest.mark.parametrize("name", [*HOSTILE, "mute", "babble"])
def test_END_4_a_hostile_service_at_registration(make_server, make_service, log, name):
    log.expect(COMPLAINTS)
    settings = (("coi_push_register_timeout", "2 s"), NO_THROTTLE)
    server = make_server(push=settings)
    service = make_service(tls=None)
    one = Subscriber(server, server.new_user(), service)
    if name == "mute":
        service.mute()
    elif name == "babble":
        service.babble(b"SSH-2.0-OpenSSH\r\n" * 1000)
    else:
        service.on(one.path, HOSTILE[name])
    # Registrations by others go on meanwhile.
    responses = []
    thread = threading.Thread(target=lambda: responses.append(one.set()))
    thread.start()
    service.wait(lambda: service.connections, "a connection")
    Subscriber(server, server.new_user(), make_service()).subscribe()
    thread.join()
    (response,) = responses
    if name not in ANSWERED:
        assert response.status == "NO"
        assert "unreachable" in response.text or "refused" in response.text
        assert one.stored() is None


FLOODS = {
    "body": b"HTTP/1.1 201 Created\r\n\r\n",
    "length": b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999\r\n\r\n",
    "error": b"HTTP/1.1 503 No\r\n\r\n",
    "header": b"HTTP/1.1 201 Created\r\nX: ",
    "chunk": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    "gzip": b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("name", FLOODS)
def test_END_4_a_flood_is_cut_off(make_server, make_service, log, name):
    """What is read of an answer is bounded by its size, not by time alone."""
    log.expect(COMPLAINTS)
    server = make_server(push=(NO_THROTTLE,))
    service = make_service(tls=None)
    one = Subscriber(server, server.new_user(), service).subscribe()
    sent = []

    def flood(exchange):
        exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        count = 0
        try:
            exchange.send(FLOODS[name])
            # Far more than anybody has a use for; then it waits to be cut off.
            while count < 64 * 1024 * 1024:
                count += exchange.sock.send(b"x" * 65536)
        finally:
            sent.append(count)

    service.on(one.path, flood)
    server.deliver("lmtp", one.user, mail("flood"))
    service.wait_for(one.path, 2)
    eventually(lambda: sent, "the flood is cut off")
    assert sent[0] < 16 * 1024 * 1024


def test_END_4_many_pushes_to_one_hanging_service(make_server, make_service, log):
    """It gets a bounded number of connections."""
    log.expect(COMPLAINTS)
    server = make_server(push=(NO_THROTTLE,))
    service, other = make_service(tls=None), make_service()
    service.default = HOSTILE["hang"]
    users = [server.new_user() for _ in range(10)]
    for user in users:
        for _ in range(4):
            one = Subscriber(server, user, service)
            service.on(one.path, answer(201), HOSTILE["hang"])
            one.subscribe()
    good = [Subscriber(server, user, other).subscribe() for user in users]
    before = service.connections
    for number in range(5):
        for user in users:
            server.deliver("lmtp", user, mail(f"mail {number}"))
    for one in good:
        assert sorted(one.subjects(5)) == [f"mail {number}" for number in range(5)]
    assert service.connections - before <= 40, "200 pushes wait"


def test_END_4_the_service_survives_all_of_it(make_server, make_service, log):
    """No answer ends coi-push."""
    log.expect(COMPLAINTS)
    server = make_server(push=(NO_THROTTLE,))
    (before,) = eventually(lambda: service_pids(server), "the service runs")
    user = server.new_user()
    service = make_service()
    one = Subscriber(server, user, service).subscribe()
    for name in ("garbage", "half an answer", "reset", "close", "bad chunk", "two lengths"):
        service.on(one.path, HOSTILE[name], answer(201))
        server.deliver("lmtp", user, mail(name))
        service.wait(lambda: one.subjects().count(name) >= 2, f"a second try after {name}")
    assert service_pids(server) == [before]


# -- END-5 --


def test_END_5_a_port_scanner_learns_nothing(server, service, make_service):
    """Open, closed, or another protocol: told apart by nothing but what SUB-12 allows."""
    closed, talking = make_service(), make_service()
    closed.down()
    talking.babble(b"220 mail.example.org ESMTP CANARY\r\n")
    texts = {}
    for name, one in (("closed", closed), ("talking", talking)):
        texts[name] = register(server, service, f"{one.origin}/x").reason
    assert texts["closed"] == texts["talking"]
    assert "CANARY" not in texts["talking"]
