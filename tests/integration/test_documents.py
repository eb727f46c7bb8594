# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What README.md and docs/ name is there, and what is there they name."""

import re
import subprocess
import textwrap
from pathlib import Path

import pytest
from harness import instruments
from harness.config import by_dialect, dialect

pytestmark = pytest.mark.private

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
FOR_ADMINS = [TOP / "README.md", TOP / "plugin/doveadm/doveadm-coi.1"] + [
    DOCS / f"{name}.md"
    for name in ("clients", "configure", "debug", "install", "operate", "push-services", "security")
]
SHIPPED = sorted(TOP.glob("conf.d/*/*.conf"))
# How a table begins whose first column has log lines.
LOG_TABLE = "| line | what happened |"


def source(*patterns):
    """With literals that are in more than one piece made one."""
    files = sorted(file for pattern in patterns for file in TOP.glob(pattern))
    return re.sub(r'"\s*\n\s*"', "", "\n".join(file.read_text() for file in files))


def known_settings():
    (info,) = TOP.glob("plugin/compat/coi-settings-info.c")
    names = set(re.findall(r"DEF\([A-Z_]+, (\w+)\)", info.read_text()))
    return names | {"coi_attribute"}


def first_column(file, begin="| "):
    """Of the rows of its tables: what is in backticks there."""
    rows = (line.split(" | ")[0] for line in file.read_text().splitlines())
    return [name for row in rows if row.startswith(begin) for name in re.findall("`([^`]+)`", row)]


def test_every_setting_has_a_row():
    rows = {
        name.split()[0]
        for name in first_column(DOCS / "configure.md")
        if re.fullmatch(r"(coi|webpush)(_\w+)?( { dict … })?", name)
    }
    assert rows - events() == known_settings()


def events():
    return set(re.findall(r'set_name\("(coi_\w+)"\)', source("plugin/**/*.c")))


def test_every_event_has_a_row_with_its_fields():
    table = (DOCS / "configure.md").read_text().partition("\n## Events\n")[2]
    rows = {row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `")}
    assert rows.keys() == events()
    fields = set(re.findall(r'add_(?:str|int)\(\s*"(\w+)"', source("plugin/**/*.c")))
    assert fields
    missing = [name for name in fields if f"`{name}`" not in "".join(rows.values())]
    assert missing == []


@pytest.mark.parametrize("file", FOR_ADMINS + SHIPPED, ids=lambda file: file.name)
def test_no_setting_is_named_that_there_is_not(file):
    text = file.read_text()
    metrics = set(re.findall(r"metric (\w+) {", text))
    # one that is cut off stands for more than one
    named = set(re.findall(r"\b((?:coi|webpush)_[a-z_]*[a-z])\b(?!_?…)", text))
    assert named - metrics - events() - known_settings() == set()


def logged():
    """The beginning of each line that may be logged, or what is fixed of it."""
    calls = re.findall(
        r"\b(?:e_error|e_warning|e_info|i_fatal|set_critical)\((.*?)\);"
        # of those that are limited, behind the name of the limit and the interval
        r"|COI_RELAY_LOG_(?:ERROR|WARNING|INFO),(?:(?:(?!;\n).)*?\bk\w+,)?(.*?);\n",
        source("plugin/**/*.c", "src/relay/*.cc"),
        re.DOTALL,
    )
    for call in calls:
        literals = re.findall(r'"((?:[^"\\]|\\.)*)"', "".join(call))
        parts = [
            part.strip(" :.()")
            for literal in literals
            # "chmod(%s) failed: %m" says enough
            if not re.match(r"(coi: )?\w+\(", literal)
            for part in re.split(r"%\w+|\. |, ", literal.removeprefix("coi: "))
        ]
        yield from [part for part in parts if len(part) > 4][:1]


def test_every_log_line_is_explained():
    text = (DOCS / "debug.md").read_text()
    beginnings = {" ".join(line.split()[:6]) for line in logged()}
    assert len(beginnings) > 40
    assert [line for line in sorted(beginnings) if line not in text] == []


def test_no_log_line_is_explained_that_there_is_not():
    tables = (DOCS / "debug.md").read_text().split("\n\n")
    rows = [
        row.split(" | ")[0]
        for table in tables
        if table.startswith(LOG_TABLE)
        for row in table.splitlines()[2:]
    ]
    assert len(rows) > 40
    literals = source("plugin/**/*.c", "src/relay/*.cc")
    for row in rows:
        for line in re.findall(r"(?<![`\w])`((?:[^`]|`sub`)+)`(?!\w)", row):
            pieces = [piece.strip(" :.;)") for piece in line.split("…")]
            words = [piece.split() for piece in pieces if piece]
            ends = [end for piece in words for end in (piece[:2], piece[-2:])]
            assert any(" ".join(end) in literals for end in ends), line


def blocks(file):
    """Its indented examples."""
    block = []
    for line in [*file.read_text().splitlines(), "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            yield textwrap.dedent("\n".join(block)).strip()
            block = []


# How an example begins, of which Dovecot, and what it needs around it. One that says
# nothing else is for both.
EXAMPLES = {
    "dict {": ("2.3", "{}"),
    "connect = host=": ("2.3", None),  # it's a file of another kind
    "dict_server {": ("2.4", "{}"),
    "sql_driver = pgsql": ("2.4", "dict_server {{\n  dict metadata {{\n{}\n  }}\n}}\n"),
    "metric coi_chats {\n  filter = event=coi_chat_delivered\n  group_by = ": ("2.3", "{}"),
    "metric coi_chats {\n  filter = event=coi_chat_delivered\n  group_by filter": ("2.4", "{}"),
    "metric coi_pushes {": ("2.4", "{}"),
    "protocol lmtp {": ("2.4", "{}"),
    "service ": ("2.3 2.4", "{}"),
    "coi_push_": ("2.3 2.4", by_dialect(v2_3="plugin {{\n{}\n}}\n", v2_4="{}")),
}
# What is configuration of something else, or none.
OTHERS = ("mailbox_", "@{run}", "/usr/lib/dovecot/coi-push", "[Service]")


def kinds(block):
    return [kind for begin, kind in EXAMPLES.items() if block.startswith(begin)]


def is_for_another(block):
    return block.startswith(OTHERS) or any(
        dialect() not in versions.split() or around is None for versions, around in kinds(block)
    )


def examples():
    for file in FOR_ADMINS:
        for number, block in enumerate(blocks(file)):
            if (
                re.search(r"^\S+( \S+)* (=|{)( |$)", block, re.MULTILINE)
                and not re.match("C: |S: |sudo |cmake ", block)
                and not is_for_another(block)
            ):
                yield pytest.param(block, id=f"{file.name}-{number}")


@pytest.mark.parametrize("block", list(examples()))
def test_Dovecot_takes_each_example(make_server, tmp_path, block):
    ((_, around),) = kinds(block)
    for driver in re.findall(r"sql_driver = (\w+)", block):
        if not list(Path("/usr/lib/dovecot/modules").glob(f"**/libdriver_{driver}.so")):
            pytest.skip(f"dovecot-{driver} isn't here")
    server = make_server()
    conf = tmp_path / "dovecot.conf"
    conf.write_text(server.conf.read_text() + around.format(block) + "\n")
    command = ["doveconf", "-n", "-c", conf]
    done = subprocess.run(command, capture_output=True, text=True, env=instruments.environment())
    assert (done.returncode, done.stderr) == (0, "")
