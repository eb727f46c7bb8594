# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Fixtures. What a server logs as a problem fails the test that did not announce it."""

import os
import re
import subprocess
import weakref
from pathlib import Path

import pytest
from harness import instruments
from harness.config import Config
from harness.container import ContainerServer
from harness.gateway import Gateway
from harness.push import Subscriber
from harness.push_service import Authority, PushService
from harness.server import HARMLESS, PROBLEM, Pool, leftover_processes, new_user_number


class LogWatch:
    """Looks at what a test made its servers log."""

    # Of each server what was expected so far: processes log by way of another one, and
    # a line may come when its test is over.
    earlier = weakref.WeakKeyDictionary()

    def __init__(self):
        self.marks = {}
        self.expected = []
        self.first_user = new_user_number()

    def is_late(self, server, line):
        """It was expected, and is about a user of an earlier test."""
        users = [int(number) for number in re.findall(r"\buser(\d+)\b", line)]
        return (
            bool(users)
            and max(users) < self.first_user
            and any(pattern.search(line) for pattern in self.earlier.get(server, ()))
        )

    def close(self):
        for server in self.marks:
            self.earlier.setdefault(server, []).extend(self.expected)

    def add(self, server):
        self.marks.setdefault(server, len(server.log_text()))

    def expect(self, pattern):
        """A problem in the log that belongs to what the test does."""
        self.expected.append(re.compile(pattern))

    def lines(self, server):
        return server.log_text()[self.marks[server] :].splitlines()

    def count(self, server, pattern):
        return sum(bool(re.search(pattern, line)) for line in self.lines(server))

    def problems(self):
        return [
            line
            for server in self.marks
            for line in self.lines(server)
            if server.is_report(line)
            or PROBLEM.search(line)
            and not HARMLESS.search(line)
            and not instruments.is_too_slow(line)
            and not any(pattern.search(line) for pattern in self.expected)
            and not self.is_late(server, line)
        ]


def pytest_runtest_setup(item):
    if item.get_closest_marker("uninstrumented") and instruments.ENV:
        pytest.skip("sanitizers change what this is about")


def container_name():
    return os.environ.get("COI_TEST_CONTAINER")


def pytest_collection_modifyitems(config, items):
    """A container has the one configuration that it was built with."""
    if container_name():
        private = [item for item in items if item.get_closest_marker("private")]
        config.hook.pytest_deselected(items=private)
        items[:] = [item for item in items if item not in private]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failing test shows what its servers logged meanwhile."""
    outcome = yield
    report = outcome.get_result()
    watch = item.funcargs.get("log") if hasattr(item, "funcargs") else None
    if report.failed and watch:
        for server in watch.marks:
            try:
                text = "\n".join(watch.lines(server)[-200:])
            except FileNotFoundError:  # it is what failed to end well, after its last test
                continue
            report.sections.append((f"log of server {getattr(server, 'name', '')}", text))


@pytest.fixture(autouse=True)
def no_reports():
    """Valgrind, where it watches, has found nothing."""
    yield
    reports = instruments.take_reports()
    assert not reports, "\n".join(reports)


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory):
    """Below here all files are made. Mail processes must get through to it."""
    given = os.environ.get("COI_TEST_WORK")
    path = Path(given) if given else tmp_path_factory.mktemp("coi")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def shipped_conf():
    """The configuration file as it was installed, below the staging directory."""
    return os.environ["COI_TEST_STAGE"] + "/etc/dovecot/conf.d/*coi*.conf"


@pytest.fixture(scope="session")
def authority(work_dir):
    """Signs the certificates of push services; servers under test trust it."""
    return Authority(work_dir / "authority")


@pytest.fixture(scope="session")
def pool(work_dir, shipped_conf, authority):
    servers = Pool(work_dir, shipped_conf)
    yield servers
    servers.close()
    reports = instruments.take_reports()
    assert not reports, "\n".join(reports)
    # Without a process namespace of our own there may be somebody else's.
    if os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        assert not leftover_processes()


@pytest.fixture
def log():
    watch = LogWatch()
    yield watch
    watch.close()
    problems = watch.problems()
    assert not problems, "the log has what the test did not expect:\n" + "\n".join(problems)


@pytest.fixture(scope="session")
def container():
    return ContainerServer(container_name()) if container_name() else None


@pytest.fixture
def make_server(pool, log):
    """The server with a configuration, for tests marked private."""

    def make(**settings):
        server = pool.get(Config(**settings))
        log.add(server)
        return server

    return make


@pytest.fixture
def fresh_server(request, pool, log):
    """Like make_server, with processes that no other test has used."""
    servers = []

    def make(**settings):
        servers.append(pool.fresh(Config(keep_logins=False, **settings)))
        servers[-1].test = request.node.name
        log.add(servers[-1])
        return servers[-1]

    yield make
    problems = log.problems()
    for server in servers:
        del log.marks[server]
        pool.leave(server)
    assert not problems, "the log has what the test did not expect:\n" + "\n".join(problems)


@pytest.fixture
def own(fresh_server, log):
    """One whose coi-push is held up or killed, and that waits for it no longer than usual."""
    log.expect(r"coi-push|coi: ")
    return fresh_server(push=(("coi_push_handoff_timeout", None),))


@pytest.fixture
def server(request, container, log):
    """The server as an admin has it after installing: private here, or the container."""
    if container:
        log.add(container)
        return container
    return request.getfixturevalue("make_server")()


@pytest.fixture
def stock(make_server):
    """A server without the plugin."""
    return make_server(coi=False)


@pytest.fixture
def make_service(authority):
    """Push services: https on 127.0.0.1, or what they are told to be."""
    made = []

    def make(tls=True, **kwargs):
        if tls is True:
            tls = authority.certificate(kwargs.get("host", "127.0.0.1"), "*.push.test")
        made.append(PushService(tls or None, **kwargs))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service):
    return make_service()


@pytest.fixture
def gateway(service):
    """Delta Chat's, which may misbehave."""
    return Gateway(service)


@pytest.fixture
def subscriber(service):
    """Makes clients whose device is at the service."""

    def make(server, user, msgtype="all", service=service, **kwargs):
        return Subscriber(server, user, service, msgtype, **kwargs)

    return make


class Hosts:
    """Names that this machine knows, for the tests alone."""

    def __init__(self, path):
        self.path = path
        self.original = Path("/etc/hosts").read_text()
        self.names = {}
        self.write()
        subprocess.run(["mount", "--bind", path, "/etc/hosts"], check=True)

    def write(self):
        lines = [f"{address} {name}\n" for name, found in self.names.items() for address in found]
        # In place: it is mounted.
        self.path.write_text(self.original + "".join(lines))

    def set(self, name, *addresses):
        self.names[name] = addresses
        self.write()

    def remove(self, name):
        del self.names[name]
        self.write()


@pytest.fixture(scope="session")
def all_hosts(work_dir):
    if not os.environ.get("COI_TEST_MODULES_ARE_A_COPY"):
        pytest.skip("not to be tried with this machine's own /etc/hosts")
    return Hosts(work_dir / "hosts")


@pytest.fixture
def hosts(all_hosts):
    yield all_hosts
    for name in list(all_hosts.names):
        all_hosts.remove(name)
