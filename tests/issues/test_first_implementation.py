# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes that the first implementation of COI made, each as it showed there.

The rules themselves are tested in tests/integration; here stands what once
went wrong, so that it never does again.
"""

import json
import re
import threading
import time

import pytest
from harness.config import by_dialect, plugins, quota
from harness.contacts import block
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.push import Subscriber, eventually, read_vapid, subscriptions, vapid_key
from harness.push_service import HOSTILE, answer
from harness.server import ROOT

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"
SEEN = "\\Seen"


def test_crash_message_filter_NIL_killed_the_session(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        for _ in range(2):
            assert client.setmetadata({FILTER: None}).ok
        client.must("NOOP")


def test_wrong_people_the_second_recipients_copy_was_marked_too(server):
    with_coi, without = server.coi_user("active"), server.new_user()
    for number, recipients in enumerate([(with_coi, without), (without, with_coi)]):
        server.lmtp(*recipients, mail=chat(f"chat {number}"))
    assert {flags == set() for _, flags in server.where(without).values()} == {True}


@pytest.mark.private
def test_quota_a_full_mailbox_was_a_451_for_days(make_server, log):
    server = make_server(before=quota())
    user = server.coi_user("active")
    log.expect("[Qq]uota")
    (reply,) = server.lmtp(user, mail=chat("chat", body="0123456789\n" * 1000))
    assert reply.startswith("552")


@pytest.mark.private
def test_no_dict_every_chat_mail_was_a_451(make_server, log):
    server = make_server(coi=False, before=plugins("coi"))
    user = server.new_user()
    log.expect("coi: ")
    (reply,) = server.lmtp(user, mail=chat("chat"))
    assert reply.startswith("250")


def test_stale_a_running_session_did_not_see_a_changed_filter(server):
    user = server.coi_user("none")
    with server.imap(user) as reader, server.imap(user) as changer, Lmtp(
        server.lmtp_address
    ) as lmtp:
        lmtp.deliver([user], chat("1 in INBOX"))
        reader.must("SELECT INBOX")
        assert changer.setmetadata({FILTER: "seen"}).ok
        reader.store("1", "+FLAGS", SEEN)
        assert changer.setmetadata({FILTER: "active"}).ok
        lmtp.deliver([user], chat("2 straight to Chats"))
        assert changer.setmetadata({ENABLED: None}).ok
        lmtp.deliver([user], chat("3 as without COI"))
    folders = [folder for _, (folder, _) in sorted(server.where(user).items())]
    assert folders == [server.chats, server.chats, "INBOX"]


@pytest.mark.private
def test_half_done_a_rename_that_failed_had_disabled_COI(make_server):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must("CREATE Trash/Chats")
        assert not client.command(f'RENAME "{server.chats}" Trash/Chats').ok
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}


def test_half_done_a_rename_of_the_parent_slipped_past(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert not client.command(f'RENAME "{server.folder("COI")}" Elsewhere').ok
        assert server.chats in client.folders()


def test_half_done_a_created_Chats_was_not_subscribed(server):
    with server.imap(server.new_user()) as client:
        client.must(f'CREATE "{server.chats}"')
        assert client.folders("LSUB") == [server.chats]


def test_doubled_mail_each_client_made_a_copy(server):
    count, clients = 40, 4
    user = server.coi_user("seen")
    for number in range(count):
        server.deliver("lmtp", user, chat(f"chat {number:02}"))
    barrier, failures = threading.Barrier(clients), []

    def read_all():
        try:
            with server.imap(user) as client:
                client.must("SELECT INBOX")
                barrier.wait()
                client.command("STORE 1:* +FLAGS (\\Seen)")
        except Exception as error:  # a thread has no other way to tell
            failures.append(error)

    threads = [threading.Thread(target=read_all) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with server.imap(user) as client:
        assert client.subjects(server.chats) == [f"chat {number:02}" for number in range(count)]


def test_flags_a_replacement_lost_Chat_on_the_way(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "FLAGS", SEEN)
    assert server.where(user)["chat"] == (server.chats, {"$Chat", SEEN})


def test_flags_Chat_and_Seen_in_one_command_did_not_move(server):
    user = server.coi_user("seen")
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store("1", "+FLAGS", "$Chat \\Seen")
    assert server.where(user)["mail"] == (server.chats, {"$Chat", SEEN})


@pytest.mark.private
def test_Sieve_active_skipped_the_users_script(make_server):
    server = make_server(sieve=True)
    user = server.coi_user("active")
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag "\\\\Flagged";')
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == (server.chats, {"$Chat", "\\Flagged"})


@pytest.mark.private
def test_Sieve_active_skipped_the_detail_of_an_address(make_server):
    detail = "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"
    server = make_server(before=detail + "lda_mailbox_autocreate = yes\n")
    user = server.coi_user("active")
    server.lmtp(f"{user}+Work", mail=chat("chat"))
    assert server.where(user)["chat"][0] == "Work"


# -- Web Push: the first implementation --


@pytest.fixture
def push_server(make_server, log):
    log.expect("coi-push")
    return make_server()


def subscribed(server, service, count=1, user=None, **kwargs):
    user = user or server.new_user()
    return [Subscriber(server, user, service, **kwargs).subscribe() for _ in range(count)]


@pytest.mark.private
def test_endless_loop_the_admin_lowers_the_limit(fresh_server, service):
    """More validated subscriptions than the limit: LMTP spun for ever."""
    server = fresh_server()
    everybody = subscribed(server, service, 6)
    changed = type(server.settings)(push=(("webpush_subscription_limit", 2),))
    server.restart(changed)
    server.deliver("lmtp", everybody[0].user, mail("mail"))
    # As many as the admin wants get a push, whichever these are.
    service.wait(lambda: sum(len(one.requests()) for one in everybody) >= 2, "two pushes")
    shown = [stored for stored in (one.stored() for one in everybody) if stored]
    assert len(shown) == 2 and all(stored["validated"] for stored in shown)
    # Old ones may be removed, and no new ones made.
    assert Subscriber(server, everybody[0].user, service).set().status == "NO"
    assert all(one.remove().ok for one in everybody)
    Subscriber(server, everybody[0].user, service).subscribe()


@pytest.mark.private
@pytest.mark.parametrize("behaviour", ["hang", "drip", "endless body"])
def test_blocking_a_push_was_sent_inside_the_delivery(push_server, make_service, behaviour):
    """All answers end only when the test lets them."""
    service = make_service(tls=None)
    everybody = subscribed(push_server, service, 10)
    for one in everybody:
        service.on(one.path, HOSTILE[behaviour])
    began = time.monotonic()
    for way in ("lmtp", "lda"):
        push_server.deliver(way, everybody[0].user, mail(f"mail by {way}"))
    # It took 40 s each.
    assert time.monotonic() - began < 30
    with push_server.imap(everybody[0].user) as client:
        assert client.subjects("INBOX") == ["mail by lda", "mail by lmtp"]


@pytest.mark.uninstrumented
@pytest.mark.private
def test_leak_LMTP_grew_with_each_mail(fresh_server, service):
    """5.8 KB a mail; so much that 1000 mails show it over all else."""
    once = by_dialect(v2_3="service_count = 0", v2_4="restart_request_count = unlimited")
    server = fresh_server(after=f"service lmtp {{\n  process_limit = 1\n  {once}\n}}\n")
    (one,) = subscribed(server, service)
    with server.imap(one.user) as client:
        assert client.setmetadata({ENABLED: "yes"}).ok
    block(server, one.user, "other@example.org")
    with Lmtp(server.lmtp_address) as client:

        def deliver(count):
            for _ in range(count):
                client.deliver([one.user], mail("mail"))
            (pid,) = server.children("lmtp")
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1))

        before = deliver(300)
        grown = deliver(1000) - before
    # The old one would have 5800 kB.
    assert grown < 2500, f"{grown} kB for 1000 mails"


@pytest.mark.private
def test_SSRF_any_user_could_have_the_server_post_to_itself(make_server, service, make_service):
    """And read banner and status of what is there in the answer."""
    server = make_server(push=(("coi_push_networks", None), ("coi_push_hosts_http", None)))
    banner = make_service(tls=None)
    banner.babble(b"220 CANARY ESMTP\r\n")
    for at in (service, banner):
        for host in ("127.0.0.1", "0.0.0.0", "2130706433", "[::1]", "[::ffff:127.0.0.1]"):
            one = Subscriber(server, server.new_user(), at)
            keys = one.value["resource"]["keys"]
            scheme = at.origin.partition(":")[0]
            endpoint = f"{scheme}://{host}:{at.port}/"
            one.extra = {"resource": {"endpoint": endpoint, "keys": keys}}
            response = one.set()
            assert response.status == "NO"
            assert "not allowed" in response.text and "CANARY" not in response.text
            assert one.stored() is None
    assert service.connections == banner.connections == 0


@pytest.mark.private
def test_injection_CR_LF_of_an_endpoint_came_back_raw(push_server, service):
    one = Subscriber(push_server, push_server.new_user(), service)
    keys = one.value["resource"]["keys"]
    endpoint = service.origin + "/\r\n* 5 EXISTS\r\n"
    with push_server.imap(one.user) as client:
        value = {**one.value, "resource": {"endpoint": endpoint, "keys": keys}}
        response = client.setmetadata({one.entry: json.dumps(value)})
        assert response.status == "NO" and response.untagged == []
        client.must("NOOP")


@pytest.mark.private
@pytest.mark.parametrize("status", [200, 202, 413, 401])
def test_lost_subscription_an_answer_deleted_it(push_server, service, status):
    (one,) = subscribed(push_server, service)
    service.on(one.path, answer(status), answer(status), answer(201))
    for number in range(2):
        push_server.deliver("lmtp", one.user, mail(f"mail {number}"))
    one.pushes(2)
    push_server.deliver("lmtp", one.user, mail("last"))
    one.until("last")
    assert one.stored()["validated"] is True


@pytest.mark.private
def test_lost_subscription_one_refused_connection_deleted_it(push_server, service):
    (one,) = subscribed(push_server, service)
    service.down()
    push_server.deliver("lmtp", one.user, mail("mail"))
    assert one.stored()["validated"] is True
    service.up()
    assert one.until("mail") == ["mail"]


@pytest.mark.private
def test_lost_subscription_a_bad_key_deleted_the_working_one(push_server, service):
    (one,) = subscribed(push_server, service)
    before = one.stored()
    value = json.loads(json.dumps(one.value))
    value["resource"]["keys"]["p256dh"] = "B" + "A" * 86
    assert one.set(value).status == "NO"
    assert one.stored() == before


@pytest.mark.private
def test_VAPID_as_no_service_wants_it(push_server, service):
    """aud without the port; no sub; exp in 30 s; TTL 30; no Urgency, no Content-Type."""
    (one,) = subscribed(push_server, service)
    push_server.deliver("lmtp", one.user, mail("mail"))
    (push,) = one.pushes(1)
    request = push.request
    claims = read_vapid(request.header("Authorization"), vapid_key(push_server, one.user)).claims
    assert claims["aud"] == f"https://127.0.0.1:{service.port}"
    assert claims["sub"].startswith("mailto:")
    assert claims["exp"] - time.time() > 600
    assert int(request.header("TTL")) > 600
    assert request.header("Urgency") == "normal"
    assert request.header("Content-Type") == "application/octet-stream"


@pytest.mark.private
def test_spec_no_header_told_a_validation_message(push_server, service):
    (one,) = subscribed(push_server, service)
    first, *_ = service.of(one.path)
    assert first.header("WebPush-Validation") is not None


@pytest.mark.private
def test_spec_no_WEBPUSH_was_listed(push_server):
    with push_server.imap(push_server.new_user()) as client:
        assert "WEBPUSH" in client.capabilities()


@pytest.mark.private
@pytest.mark.parametrize("msgtype", ["all", "mail", "chat", "any", "email"])
def test_spec_msgtypes_were_refused(push_server, service, msgtype):
    subscribed(push_server, service, msgtype=msgtype)


@pytest.mark.private
def test_spec_payloads_of_the_first_implementation(push_server, service):
    """The address as it stood there, 1970 for no date, and large disposition notifications."""
    (one,) = subscribed(push_server, service)
    report = "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n"
    texts = (
        f"Subject: report\n{report}\n--b\n\n{'text ' * 2000}\n--b--\n",
        "From: UPPER@Example.ORG\nSubject: dateless\n\nbody\n",
    )
    for text in texts:
        push_server.deliver("lmtp", one.user, text.encode())
    (push,) = one.pushes(1)
    assert push.payload["from-email"] == "upper@example.org"
    assert "date" not in push.payload


# -- Web Push: peers --


@pytest.mark.private
def test_peer_the_body_was_base64(push_server, service):
    (one,) = subscribed(push_server, service)
    for request in service.of(one.path):
        assert len(request.body) > 86 and request.body[16:21] == b"\0\0\x10\0\x41"


@pytest.mark.private
def test_peer_unpadded_keys_were_refused(push_server, service):
    (one,) = subscribed(push_server, service)
    keys = one.value["resource"]["keys"]
    assert not any("=" in value for value in keys.values())


@pytest.mark.private
def test_peer_a_stale_unverified_subscription_blocked_a_new_one(push_server, service):
    one = Subscriber(push_server, push_server.new_user(), service)
    one.register()
    one.subscribe()
    new = Subscriber(push_server, one.user, service, id=one.id)
    new.subscribe()
    push_server.deliver("lmtp", one.user, mail("mail"))
    assert new.until("mail") == ["mail"]
    assert one.requests() == []


@pytest.mark.private
@pytest.mark.parametrize("status", [400, 403, 408, 413, 421, 422, 429])
def test_peer_any_4xx_dropped_the_token(push_server, service, status):
    (one,) = subscribed(push_server, service)
    service.on(one.path, answer(status, "Retry-After: 1"), answer(201))
    push_server.deliver("lmtp", one.user, mail("first"))
    one.pushes(1)
    push_server.deliver("lmtp", one.user, mail("second"))
    one.until("second")
    assert one.stored()["validated"] is True


@pytest.mark.private
def test_peer_a_client_shared_by_users_was_used_after_free(push_server, service):
    """Users come and go in one process while pushes are under way."""
    everybody = [subscribed(push_server, service)[0] for _ in range(4)]
    with Lmtp(push_server.lmtp_address) as client:
        for number in range(20):
            for one in everybody:
                (reply,) = client.deliver([one.user], mail(f"mail {number}"))
                assert reply.startswith("250")
    for one in everybody:
        assert len(set(one.subjects(20))) == 20


@pytest.mark.private
@pytest.mark.parametrize(
    "name, value",
    [
        ("coi_push_networks", "not a network"),
        ("coi_push_vapid_subject", "nobody"),
        ("coi_push_hosts", "https://not.a.host/"),
        ("coi_push_ssl_ca_file", "/nowhere/ca.pem"),
        ("coi_push_spool_dir", "/proc/nowhere"),
        ("coi_push_key_dir", "/proc/nowhere"),
    ],
)
def test_peer_a_bad_setting_ended_every_login(fresh_server, log, name, value):
    """Logins and deliveries go on, whatever is set."""
    log.expect("coi")
    server = fresh_server(push=((name, value),))
    user = server.new_user()
    with server.imap(user) as client:
        client.must("SELECT INBOX")
    for way in ("lmtp", "lda"):
        server.deliver(way, user, mail(f"mail by {way}"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["mail by lda", "mail by lmtp"]


@pytest.mark.private
def test_peer_dead_subscriptions_piled_up(push_server, service):
    """At the limit, all gone, and there is room again."""
    everybody = subscribed(push_server, service, 10)
    user = everybody[0].user
    for one in everybody:
        service.on(one.path, answer(410))
    push_server.deliver("lmtp", user, mail("to the dead"))
    for one in everybody:
        one.pushes(1)

    def all_removed():
        push_server.deliver("lmtp", user, mail("another"))
        return not subscriptions(push_server, user)

    eventually(all_removed, "all that are gone are removed")
    subscribed(push_server, service, 1, user)
