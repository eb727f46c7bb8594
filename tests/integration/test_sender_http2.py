# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""END-4: push services that speak HTTP/2, well and badly. The sender runs without Dovecot."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

import h2.errors
import h2.settings
import pytest
from harness.h2server import Behaviour, push_service

pytestmark = pytest.mark.private
# How often libcurl tries a request again that a connection's end has cut off.
TRIES = 6
CONNECTIONS = 4


@pytest.fixture
def certificate(authority):
    return authority.certificate("localhost")


@pytest.fixture
def send(authority):
    def send(*urls, **options):
        words = [f"{name.replace('_', '-')}={value}" for name, value in options.items()]
        program = Path(os.environ["COI_TEST_BUILD"]) / "tests/coi-sender-run"
        output = subprocess.run(
            [program, f"ca={authority.ca}", *words, *urls],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout
        results = [json.loads(line) for line in output.splitlines()]
        summary = results.pop()
        assert summary["requests"] == len(results)
        assert summary["requests"] == len({result["id"] for result in results})
        return results

    return send


def count(results, **wanted):
    return sum(wanted.items() <= result.items() for result in results)


def test_one_connection_takes_all(certificate, send):
    class Settings(Behaviour):
        def on_headers(self, stream):
            assert not self.connection.remote_settings.enable_push

    with push_service(certificate, Settings) as service:
        results = send(service.url, count=300)
    assert count(results, http=201) == 300
    assert service.connections == 1
    assert len(service.requests) == 300


def test_header_fields(certificate, send):
    with push_service(certificate) as service:
        send(service.url)
    (request,) = service.requests
    authorization = request.pop("authorization")
    assert authorization.startswith("vapid t=")
    assert request == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": f"localhost:{service.port}",
        ":path": "/push",
        "user-agent": "dovecot-coi",
        "content-type": "application/octet-stream",
        "content-encoding": "aes128gcm",
        "content-length": "3000",
        "ttl": "86400",
        "urgency": "normal",
    }


def test_http_1_over_tls(certificate, send):
    class Http1(Behaviour):
        alpn = ("http/1.1",)
        # Or one might be fast enough for all of them.
        connections_wanted = 2

    with push_service(certificate, Http1) as service:
        results = send(service.url, count=100)
    assert count(results, http=201) == 100
    assert 1 < service.connections <= CONNECTIONS


def test_END_4_not_all_connections_speak_http_2(certificate, send):
    """As behind a balancer. Those of HTTP/1.1 have one request at a time, so that no push
    gets the answer to another one."""

    class Mixed(Behaviour):
        alpn_first = ("http/1.1",)
        connections_wanted = 2
        hesitates = 0.5

    with push_service(certificate, Mixed) as service:
        results = send(service.url, count=30, timeout=60000)
    assert count(results, http=201) == 30
    assert len(service.requests) == 30
    assert service.early == 0
    assert service.connections <= CONNECTIONS


def test_END_4_takes_no_body(certificate, send):
    """After the first one. Nobody is busy with waiting for it."""

    class Shut(Behaviour):
        def on_request(self, stream):
            self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            self.answer(stream)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with push_service(certificate, Shut) as service:
        results = send(service.url, count=2, in_flight=1, timeout=8000)
    assert count(results, http=201) == 1
    assert count(results, status="unreachable") == 1
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime < before.ru_utime + before.ru_stime + 1


def test_END_4_takes_a_body_bit_by_bit(certificate, send):
    """After the first one: until it has heard of the small window, a client may send more."""

    class Slow(Behaviour):
        def on_headers(self, stream):
            for _ in range(30):
                self.connection.increment_flow_control_window(100, stream)

        def on_request(self, stream):
            self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
            self.answer(stream)

    with push_service(certificate, Slow) as service:
        results = send(service.url, count=50, in_flight=1)
    assert count(results, http=201) == 50


def test_retry_after(certificate, send):
    class Busy(Behaviour):
        def on_request(self, stream):
            self.answer(stream, 429, [("retry-after", "17")])

    with push_service(certificate, Busy) as service:
        assert count(send(service.url, count=5), http=429, retry_after=17) == 5


def test_few_streams_at_once(certificate, send):
    class Narrow(Behaviour):
        streams_max = 10

    with push_service(certificate, Narrow) as service:
        results = send(service.url, count=100, in_flight=10, timeout=60000)
        assert count(results, http=201) == 100
        assert service.connections == 1
        # libcurl 7.88 does not always heed it. Then the service closes a connection, there
        # is another one, and the rest is tried again later.
        results = send(service.url, count=100, in_flight=100, timeout=60000)
    assert count(results, http=201) >= 10
    assert count(results, http=201) + count(results, status="unreachable") == 100
    # The one of before may not be closed yet.
    assert service.open_max <= 1 + CONNECTIONS


def test_goes_away_after_some(certificate, send):
    """As services do that want their connections renewed: nothing is lost."""

    class Leaver(Behaviour):
        def on_request(self, stream):
            self.answer(stream)
            if self.requests >= 20:
                self.connection.close_connection(last_stream_id=stream)
                self.is_over = True

    with push_service(certificate, Leaver) as service:
        results = send(service.url, count=100, in_flight=10, timeout=60000)
    assert count(results, status="answered", http=201) >= 80
    assert count(results, http=201) + count(results, status="unreachable") == 100


@pytest.mark.parametrize("code", ["NO_ERROR", "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR"])
def test_goes_away_for_ever(certificate, send, code):
    class Away(Behaviour):
        def on_headers(self, stream):
            self.connection.close_connection(h2.errors.ErrorCodes[code], last_stream_id=0)
            self.is_over = True

    with push_service(certificate, Away) as service:
        results = send(service.url, count=50)
    assert count(results, status="unreachable") == 50
    assert service.connections <= 50 * TRIES


@pytest.mark.parametrize("code", ["REFUSED_STREAM", "CANCEL", "INTERNAL_ERROR", "PROTOCOL_ERROR"])
def test_resets_every_stream(certificate, send, code):
    class Resets(Behaviour):
        def on_request(self, stream):
            self.connection.reset_stream(stream, h2.errors.ErrorCodes[code])

    with push_service(certificate, Resets) as service:
        results = send(service.url, count=50)
    assert count(results, status="unreachable") == 50
    assert len(service.requests) <= 50 * TRIES
    assert service.connections <= 50 * TRIES


def test_hangs_for_some_streams(certificate, send):
    """They fail alone, and none of the others waits for them."""

    class Hangs(Behaviour):
        def on_request(self, stream):
            time.sleep(0.01)
            if stream % 50 != 1:
                self.answer(stream)

    with push_service(certificate, Hangs) as service:
        # Long enough for a machine that has much else to do.
        results = send(service.url, count=400, in_flight=8, timeout=2000)
    assert count(results, status="unreachable") == 16
    assert count(results, http=201) == 384
    assert service.connections == 1


def test_END_4_hangs_for_the_first_streams(certificate, send):
    """As many as are sent before there is an answer. Others don't wait for them."""

    class Hangs(Behaviour):
        def on_request(self, stream):
            if stream >= 16:
                self.answer(stream)

    with push_service(certificate, Hangs) as service:
        results = send(service.url, count=50, in_flight=50, timeout=15000)
    assert count(results, status="unreachable") == 8
    assert count(results, http=201) == 42
    assert service.connections == 1


def test_resets_some_streams(certificate, send):
    """They fail alone."""

    class Resets(Behaviour):
        def on_request(self, stream):
            if stream % 4 == 1:
                self.connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            else:
                self.answer(stream)

    with push_service(certificate, Resets) as service:
        results = send(service.url, count=100)
    assert count(results, http=201) == 50
    assert count(results, status="unreachable") == 50
    assert service.connections == 1


def test_a_dead_connection_is_given_up(certificate, send):
    """Nothing comes from the first one, and those that use it time out. The next ones don't."""

    class Dead(Behaviour):
        def on_request(self, stream):
            if self.number > 0:
                self.answer(stream)

    with push_service(certificate, Dead) as service:
        results = send(service.url, count=50, in_flight=10, timeout=2000)
    assert count(results, status="unreachable") >= 10
    assert count(results, http=201) >= 30
    assert 2 <= service.connections <= 3


def test_others_are_served_meanwhile(certificate, send):
    class Hangs(Behaviour):
        def on_request(self, stream):
            pass

    class Resets(Behaviour):
        def on_request(self, stream):
            self.connection.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    with push_service(certificate, Hangs) as hangs, push_service(
        certificate, Resets
    ) as resets, push_service(certificate) as healthy:
        urls = [hangs.url, resets.url, healthy.url]
        results = send(*urls, count=50, in_flight=150, timeout=10000)
    assert count(results[:100], http=201) == 50
    assert healthy.connections == 1


def test_the_status_counts_whatever_the_body(certificate, send):
    class Body(Behaviour):
        def on_request(self, stream):
            self.connection.send_headers(stream, [(":status", "410")])
            self.connection.send_data(stream, b"x" * 16000)
            self.connection.send_data(stream, b"x" * 8000)

    class NoEnd(Behaviour):
        def on_request(self, stream):
            self.connection.send_headers(stream, [(":status", "410")])

    for behaviour in (Body, NoEnd):
        with push_service(certificate, behaviour) as service:
            results = send(service.url, count=2, timeout=60000)
        assert count(results, http=410) == 2


@pytest.mark.parametrize("what", ["interim", "header"])
def test_what_is_too_much(certificate, send, what):
    class TooMuch(Behaviour):
        def on_request(self, stream):
            if what == "interim":
                for _ in range(100):
                    self.connection.send_headers(stream, [(":status", "103"), ("link", "</x>")])
                self.answer(stream)
            else:
                self.answer(stream, fields=[(f"x-{n}", "y" * 1000) for n in range(100)])

    with push_service(certificate, TooMuch) as service:
        results = send(service.url, count=3, timeout=2000)
    assert count(results, status="unreachable") == 3


def test_floods(certificate, send):
    """Of frames that ask for an answer, or change nothing."""

    class Floods(Behaviour):
        def on_request(self, stream):
            for n in range(5000):
                self.connection.ping(n.to_bytes(8, "big"))
            for _ in range(500):
                self.connection.update_settings({})
            self.answer(stream)

    with push_service(certificate, Floods) as service:
        results = send(service.url, count=3)
    assert count(results, status="answered") + count(results, status="unreachable") == 3


def test_garbage_instead_of_frames(certificate, send):
    class Garbage(Behaviour):
        def on_request(self, stream):
            self.connection.data_to_send()
            self.connection._data_to_send += b"garbage " * 1000

    with push_service(certificate, Garbage) as service:
        results = send(service.url, count=10)
    assert count(results, status="unreachable") == 10
    assert service.connections <= 10 * TRIES
