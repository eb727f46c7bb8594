# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The relay of coi-push without Dovecot (relay_run.cc): what a push costs its one thread."""

import itertools
import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness.push import Device, b64
from harness.push_service import Authority

from . import homes
from .sink import Sink
from .summary import median_interval, quantile

TARGET = 0.7
PUSHES = 5000
MAX_ROUNDS = 10
QUEUED = (1000, 100000)
PUSHES_OF_USER = 100
KEYS = 64
# Connections at once.
WINDOW = 64
PATIENCE = 3600
SPEED_SECONDS = 1

ESCAPES = str.maketrans({"\1": "\0011", "\t": "\1t", "\n": "\1n", "\r": "\1r", "\0": "\0010"})


def new_sink(options, mode="ok", port=0):
    return Sink(options, mode, port, options.authority.certificate("127.0.0.1"))


class Requests:
    """Hand-offs of one mail of 2 KiB, each with one subscription."""

    def __init__(self, port):
        now = int(time.time())
        head, _, body = homes.CHAT.decode().replace("\r\n", "\n").partition("\n\n")
        self.mail = [
            "chat=1",
            "uid=17",
            "uidvalidity=1700000000",
            "folder=COI/Chats",
            f"from-email={homes.FRIEND}",
            "from-name=Sender",
            "subject=a mail like any other",
            "date=1735984800 0",
            "msg-id=<4f5c2a1e-mail-1@example.org>",
            "content-type=text/plain; charset=utf-8",
            f"body={body}",
        ]
        self.subscriptions = []
        for _ in range(KEYS):
            device = Device()
            keys = {"p256dh": device.p256dh, "auth": b64(device.auth)}
            stored = {
                "client": "Client",
                "device": "Device",
                "msgtype": "all",
                "resource": {"endpoint": f"https://127.0.0.1:{port}/p/1", "keys": keys},
                "created": now,
                "validated": True,
            }
            self.subscriptions.append(json.dumps(stored))

    def lines(self, count):
        return map(self.line, range(count))

    def line(self, number):
        user = number // PUSHES_OF_USER
        fields = [
            "1",
            "deliver",
            f"id={number:016x}{os.urandom(8).hex()}",
            f"user=user{user}@example.org",
            f"sub.device-000001={self.subscriptions[user % KEYS]}",
            *self.mail,
        ]
        return ("\t".join(field.translate(ESCAPES) for field in fields) + "\n").encode()


class Relay:
    """A running coi-relay-run."""

    def __init__(self, options, directory, **settings):
        self.socket = directory / "socket"
        words = [f"--{name}={value}" for name, value in settings.items()]
        start = time.monotonic()
        self.process = subprocess.Popen(
            [
                f"{options.build}/tests/coi-relay-run",
                "--log=2",
                f"--ssl_ca_file={options.authority.ca}",
                "--networks_allowed=127.0.0.0/8",
                *words,
                self.socket,
                *(directory / name for name in ("keys", "queue", "spool")),
            ],
            stdout=subprocess.PIPE,
        )
        line = self.process.stdout.readline()
        assert line == b"ready\n", line
        self.start_ms = (time.monotonic() - start) * 1e3

    def cpu_us(self):
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e3

    def memory_kib(self, field="VmRSS"):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M).group(1))

    def feed(self, lines):
        """Has it take in these hand-offs, each by a connection of its own."""
        lines = iter(lines)
        poll = select.poll()
        waiting = {}
        while True:
            for line in itertools.islice(lines, WINDOW - len(waiting)):
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(str(self.socket))
                sock.sendall(line)
                waiting[sock.fileno()] = sock
                poll.register(sock, select.POLLIN)
            if not waiting:
                return
            for descriptor, _ in poll.poll():
                sock = waiting.pop(descriptor)
                answer = sock.recv(1000)
                assert answer == b"+\tqueued\n", answer
                poll.unregister(sock)
                sock.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()


def measure_web_push(options, number):
    """Pushes a CPU second of npm's web-push, which signs a token for each, as it does."""
    sink = new_sink(options)
    devices = [Device() for _ in range(KEYS)]
    config = Path(options.work) / f"web-push{number}.json"
    config.write_text(
        json.dumps(
            {
                "endpoint": f"https://127.0.0.1:{sink.port}/p/1",
                "ca": str(options.authority.ca),
                "pushes": PUSHES,
                "window": WINDOW,
                "payload": len(homes.CHAT),
                "keys": [{"p256dh": d.p256dh, "auth": b64(d.auth)} for d in devices],
            }
        )
    )
    program = Path(__file__).parent.parent / "web_push_speed.js"
    text = subprocess.run(
        ["node", program, config],
        check=True,
        capture_output=True,
        env={**os.environ, "NODE_PATH": options.web_push},
    ).stdout
    sink.stop()
    return PUSHES / json.loads(text)["cpu_us"] * 1e6


def bare_openssl(options):
    """Operations a CPU second."""
    program = f"{options.build}/tests/bench/coi-crypto-speed"
    command = [program, str(SPEED_SECONDS)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"^bare OpenSSL\s+(\d+)", text, re.M).group(1))


def new_directory(options, name):
    directory = Path(options.work) / f"relay-{name}"
    directory.mkdir()
    return directory


def measure_speed(options, number):
    """One round: pushes a CPU second, pushes a second, and OpenSSL before and after."""
    sink = new_sink(options)
    relay = Relay(options, new_directory(options, f"speed{number}"))
    requests = Requests(sink.port)
    before = bare_openssl(options)
    # Connections, keys and tables are there.
    relay.feed(requests.lines(WINDOW))
    sink.wait(WINDOW)
    time.sleep(0.05)
    # Made before: it is to be the relay that is waited for.
    lines = list(requests.lines(PUSHES))
    start, cpu = time.monotonic_ns(), relay.cpu_us()
    relay.feed(lines)
    last = sink.wait(WINDOW + PUSHES)
    # The answer, and what it does then.
    time.sleep(0.05)
    cpu = relay.cpu_us() - cpu
    after = bare_openssl(options)
    relay.stop()
    sink.stop()
    return PUSHES / cpu * 1e6, PUSHES / (last - start) * 1e9, before, after


def measure_queue(options, count):
    """What many pushes cost that wait for a push service."""
    directory = new_directory(options, f"queue{count}")
    settings = {"queue_limit": 2 * count, "request_timeout_msecs": PATIENCE * 1000}
    sink = new_sink(options, "hang")
    relay = Relay(options, directory, **settings)
    empty, cpu = relay.memory_kib(), relay.cpu_us()
    relay.feed(Requests(sink.port).lines(count))
    time.sleep(0.05)
    found = {
        "queued": count,
        "rss_empty_kib": empty,
        "enqueue_cpu_us": (relay.cpu_us() - cpu) / count,
        "rss_queued_kib": relay.memory_kib(),
    }
    relay.stop()
    # What was under way is sent again, so a new one that has seen none of it.
    sink.stop()
    sink = new_sink(options, "hang", sink.port)
    relay = Relay(options, directory, **settings)
    found["start_ms"] = relay.start_ms
    found["start_cpu_us"] = relay.cpu_us() / count
    found["rss_started_kib"] = relay.memory_kib()
    cpu, start = relay.cpu_us(), time.monotonic_ns()
    sink.become_ok()
    last = sink.wait(count, PATIENCE)
    time.sleep(0.05)
    found["send_cpu_us"] = (relay.cpu_us() - cpu) / count
    found["sent_per_second"] = count / (last - start) * 1e9
    found["rss_peak_kib"] = relay.memory_kib("VmHWM")
    relay.stop()
    sink.stop()
    print(f"relay: {found}", file=sys.stderr)
    return found


def measure(options):
    options.authority = Authority(Path(options.work) / "relay-authority")
    rounds = min(options.rounds, MAX_ROUNDS)
    samples = []
    for number in range(rounds):
        samples.append(measure_speed(options, number))
        told = " ".join(f"{value:.0f}" for value in samples[-1])
        print(f"relay, round {number + 1} of {rounds}: {told}", file=sys.stderr)
    per_cpu, per_second, before, after = zip(*samples)
    noise = [second / first for first, second in zip(before, after)]
    ratios = [
        push / ((first + second) / 2) for push, first, second in zip(per_cpu, before, after)
    ]
    web_push = [measure_web_push(options, number) for number in range(rounds) if options.web_push]
    return {
        "web_push": statistics.median(web_push) if web_push else None,
        "target": TARGET,
        "pushes": PUSHES,
        "samples": samples,
        "per_cpu_second": statistics.median(per_cpu),
        "per_second": statistics.median(per_second),
        "bare": statistics.median(before + after),
        "ratio": median_interval(ratios),
        "noise_low": quantile(noise, 0.05),
        "noise_high": quantile(noise, 0.95),
        "sizes": [measure_queue(options, count) for count in options.queued or QUEUED],
    }
