# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The table, the machine-readable file and the plot of a run."""

import datetime
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from harness import config

from .cases import BY_NAME

HEAD = (
    "| case | where | stock | ours | to stock | 95 % | B/A, 95 % | cpu | target | |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def machine():
    def first(path, pattern):
        match = re.search(pattern, Path(path).read_text(), re.M)
        return match.group(1) if match else None

    return {
        "cpu": first("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_kib": int(first("/proc/meminfo", r"^MemTotal:\s*(\d+)")),
        "kernel": platform.release(),
        "load": os.getloadavg(),
    }


def revision(build):
    """The git revision of the source that was built; with + where files differ from it."""
    cache = (Path(build) / "CMakeCache.txt").read_text()
    source = re.search(r"^CMAKE_HOME_DIRECTORY:\w+=(.*)$", cache, re.M).group(1)

    def git(*args):
        command = ("git", "-C", source, "-c", f"safe.directory={source}", *args)
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    if not shutil.which("git"):
        return "unknown"
    head = git("rev-parse", "--short=12", "HEAD")
    return (head or "unknown") + ("+" if git("status", "--porcelain") else "")


def about(options):
    out = subprocess.run(["dovecot", "--version"], capture_output=True, text=True).stdout
    cache = (Path(options.build) / "CMakeCache.txt").read_text()
    build_type = re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache, re.M)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "dovecot": out.strip() or config.version(),
        "revision": revision(options.build),
        "build_type": build_type.group(1) if build_type else "",
        "rounds": options.rounds,
        "mails": options.mails,
        "seed": options.seed,
        "lmtp_processes": "distribution defaults" if options.defaults else "kept",
    }


def number(value):
    if abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def relation(row, value):
    """As it is compared: ×0.98, 1.3 ms or +40 KiB."""
    if row["compare"] == "ratio":
        return f"{value:.3f}"
    sign = "+" if row["compare"] == "difference" else ""
    return f"{value:{sign}.1f} {row['unit']}"


def target(case, row):
    if case.is_noise_target:
        return "the noise"
    if case.target is None:
        return ""
    return ("≥ " if case.more_is_better else "≤ ") + relation(row, case.target)


def table_line(row):
    case = BY_NAME[row["case"]]
    where = row["format"]
    if row["connections"]:
        where += f", {row['connections']}"
    result, noise, cpu = row["result"], row["noise"], row["cpu_ratio"]
    ratio_noise = dict(row, compare="ratio") if row["compare"] == "value" else row
    told_noise = (
        f"{relation(ratio_noise, noise['median'])}"
        f" ({relation(ratio_noise, noise['low'])} .. {relation(ratio_noise, noise['high'])})"
        if noise
        else ""
    )
    cells = (
        f"{case.title}" if row["format"] != "all" else f"**{case.title}**",
        where,
        f"{number(row['stock'])} {row['unit']}" if row["stock"] is not None else "",
        f"{number(row['ours'])} {row['unit']}",
        f"**{relation(row, result['median'])}**",
        f"{relation(row, result['low'])} .. {relation(row, result['high'])}",
        told_noise,
        f"{cpu['median']:.3f} ({cpu['low']:.3f} .. {cpu['high']:.3f})" if cpu else "",
        target(case, row),
        row["verdict"],
    )
    return "| " + " | ".join(cells) + " |\n"


def drain_table(rows):
    """How far the pushes lag behind the deliveries."""
    rows = [row for row in rows if "drain_ms" in row]
    lines = [
        f"| {BY_NAME[row['case']].title} | {row['format']}, {row['connections'] or 'all'} "
        f"| {row['drain_ms']:.0f} ms | {row['pushes_per_second']:.0f} |\n"
        for row in rows
    ]
    head = "\n| case | where | last 250 to last push | pushes/s |\n|---|---|---|---|\n"
    return head + "".join(lines) if lines else ""


def relay_table(found):
    """What relay.py has measured."""
    text = (
        f"\nPushes a CPU second, coi-push alone: {found['per_cpu_second']:.0f}; bare OpenSSL: "
        f"{found['bare']:.0f}, twice in a round {found['noise_low']:.3f} .. "
        f"{found['noise_high']:.3f}; ratio {found['ratio']['median']:.3f} "
        f"({found['ratio']['low']:.3f} .. {found['ratio']['high']:.3f}), target ≥ "
        f"{found['target']}; pushes a second: {found['per_second']:.0f}"
        + (
            f"; npm's web-push: {found['web_push']:.0f} a CPU second, "
            f"×{found['per_cpu_second'] / found['web_push']:.1f}"
            if found["web_push"]
            else ""
        )
        + "\n\n"
        "| queued | take in, CPU | start, CPU | start | send, CPU | RSS empty | RSS queued "
        "| RSS started | RSS at most |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    for size in found["sizes"]:
        text += (
            f"| {size['queued']:,} | {size['enqueue_cpu_us']:.0f} µs "
            f"| {size['start_cpu_us']:.2f} µs | {size['start_ms']:.0f} ms "
            f"| {size['send_cpu_us']:.0f} µs | {size['rss_empty_kib']:,} KiB "
            f"| {size['rss_queued_kib']:,} KiB | {size['rss_started_kib']:,} KiB "
            f"| {size['rss_peak_kib']:,} KiB |\n"
        )
    return text


def table(rows, facts, relay):
    host = facts["machine"]
    intro = (
        f"{facts['date']}, revision {facts['revision']} ({facts['build_type']}), "
        f"Dovecot {facts['dovecot']}, {host['cores']} × {host['cpu']}, {facts['rounds']} rounds, "
        f"{facts['mails']} mails a slice, LMTP processes: {facts['lmtp_processes']}\n\n"
    )
    overall = [row for row in rows if row["format"] == "all"]
    single = [row for row in rows if row["format"] != "all"]
    parts = [HEAD, *map(table_line, overall), "\n", HEAD, *map(table_line, single)]
    return "".join(
        (
            intro,
            *(parts if rows else []),
            drain_table(rows),
            relay_table(relay) if relay else "",
        )
    )


def write(directory, rows, facts, samples, relay):
    """Returns the table's text, and a word on what couldn't be written."""
    directory = Path(directory)
    content = {"about": facts, "summary": rows, "samples": samples.rows, "relay": relay}
    (directory / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    text = table(rows, facts, relay)
    (directory / "table.md").write_text(text)
    if not rows:
        return text, None
    try:
        from .plot import plot
    except ImportError as error:
        return text, f"no plot.png: {error} (install python3-matplotlib)"
    plot(directory / "plot.png", rows, facts)
    return text, None
