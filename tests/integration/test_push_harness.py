# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What the tests of Web Push lean on is right itself."""

import http.client
import ssl
from pathlib import Path

import pytest
from harness.push import Device, b64, unb64
from harness.push_service import HOSTILE, Authority, PushService, answer

pytestmark = pytest.mark.private

# RFC 8291, Appendix A
UA_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
UA_PUBLIC = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAm"
    "S6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_"
    "Qulcy4a-fN"
)
TEXT = b"When I grow up, I want to be a watermelon"


def test_MSG_6_the_device_reads_the_example_of_RFC_8291():
    device = Device(unb64(UA_PRIVATE), unb64(AUTH))
    assert device.p256dh == UA_PUBLIC
    assert device.decrypt(unb64(BODY)) == TEXT


@pytest.mark.parametrize("text", [b"", b"\0\0", TEXT, b"x" * 3993])
def test_MSG_6_the_device_reads_what_http_ece_reads(text):
    device = Device()
    body = device.encrypt(text)
    assert device.decrypt(body) == text
    theirs = device.decrypt_by_http_ece(body)
    if theirs is None:
        pytest.skip("http_ece is not to be had here")
    assert theirs == text


@pytest.mark.parametrize("damage", [0, 17, 20, 30, 90, -1])
def test_a_damaged_message_is_noticed(damage):
    device = Device()
    body = bytearray(device.encrypt(TEXT))
    body[damage] ^= 1
    with pytest.raises(Exception):
        device.decrypt(bytes(body))
    assert unb64(b64(bytes(body))) == bytes(body)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "https"])
def service(request, authority):
    tls = authority.certificate("127.0.0.1") if request.param == "https" else None
    with PushService(tls) as service:
        yield service


def connect(service, authority):
    if service.context:
        context = ssl.create_default_context(cafile=authority.ca)
        return http.client.HTTPSConnection(service.host, service.port, timeout=60, context=context)
    return http.client.HTTPConnection(service.host, service.port, timeout=60)


def post(client, path, body=b"body"):
    client.request("POST", path, body, {"TTL": "5"})
    response = client.getresponse()
    response.read()
    return response.status


def test_the_service_answers_and_keeps_requests(service, authority):
    service.on("/a", answer(503, "Retry-After: 7"), answer(200))
    client = connect(service, authority)
    assert [post(client, path) for path in ("/a", "/a", "/a", "/b")] == [503, 200, 200, 201]
    assert [request.body for request in service.wait_for("/a", 3)] == [b"body"] * 3
    assert service.of("/b")[0].header("ttl") == "5"
    assert service.connections == 1


def test_the_service_goes_down_and_comes_back(service, authority):
    client = connect(service, authority)
    assert post(client, "/") == 201
    service.down()
    with pytest.raises((OSError, http.client.HTTPException)):
        post(client, "/")
    service.up()
    assert post(connect(service, authority), "/") == 201


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_services_do_not_hold_up_the_end(service, authority, name):
    service.on("/", HOSTILE[name])
    client = connect(service, authority)
    client.request("POST", "/", b"body")
    service.wait_for("/")


def test_a_mute_service_and_a_babbling_one(service):
    import socket

    for instead in (service.mute, lambda: service.babble(b"SSH-2.0-x\r\n")):
        instead()
        before = service.connections
        with socket.create_connection((service.host, service.port), 60):
            service.wait(lambda: service.connections > before, "a connection")


def test_certificates_that_are_no_good(authority):
    good = authority.certificate("127.0.0.1")
    bad = [
        authority.certificate("elsewhere.example"),
        authority.certificate("127.0.0.1", own=True),
        authority.certificate("127.0.0.1", days=-1),
    ]
    for tls in [good, *bad]:
        with PushService(Path(tls)) as service:
            client = connect(service, authority)
            if tls == good:
                assert post(client, "/") == 201
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    post(client, "/")
