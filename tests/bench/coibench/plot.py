# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The plot: each case's ratio to stock with its interval, noise and target."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

from .cases import BY_NAME  # noqa: E402

OURS, NOISE, ROUNDS, TARGET = "#1f5fa8", "#b0b0b0", "#e4e4e4", "#c0392b"


def label(row):
    where = row["format"]
    if row["connections"]:
        where += f", {row['connections']} conn."
    return f"{BY_NAME[row['case']].title}: {where}"


def draw(axes, rows, title, relative_noise):
    """A line for each row, the first one on top."""
    for line, row in enumerate(reversed(rows)):
        noise, result = row["noise"], row["result"]
        if relative_noise:
            for low, high, color in (
                (noise["rounds_low"], noise["rounds_high"], ROUNDS),
                (noise["low"], noise["high"], NOISE),
            ):
                axes.barh(line, high - low, left=low, color=color)
        axes.errorbar(
            result["median"],
            line,
            xerr=[
                [max(result["median"] - result["low"], 0)],
                [max(result["high"] - result["median"], 0)],
            ],
            fmt="o",
            color=OURS,
            capsize=3,
        )
        if row["target"] is not None:
            axes.plot([row["target"]] * 2, [line - 0.4, line + 0.4], color=TARGET)
    axes.set_yticks(range(len(rows)), [label(row) for row in reversed(rows)], fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.margins(y=0.03)


def plot(path, rows, facts):
    rows = [row for row in rows if row["format"] != "all"]
    kinds = {row["case"]: BY_NAME[row["case"]] for row in rows}
    panels = []
    for wanted, title, relative in (
        (("deliver",), "Deliveries: messages a second, ratio to stock (more is better)", True),
        (("store", "move"), "Time, ratio to stock (less is better)", True),
        (("idle", "notify"), "LMTP 250 to EXISTS in IDLE, and to STATUS by NOTIFY, ms", False),
        (("memory",), "Memory of an idle imap session over stock, KiB", True),
        (("bad",), "DATA to 250, ratio to users without subscription (less is better)", True),
        (("latency",), "LMTP to push, ms", False),
    ):
        chosen = [row for row in rows if kinds[row["case"]].kind in wanted]
        if chosen:
            panels.append((chosen, title, relative))

    sizes = [len(chosen) + 2 for chosen, _, _ in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        squeeze=False,
        figsize=(10, 0.28 * sum(sizes) + 1.2),
        gridspec_kw={"height_ratios": sizes},
    )
    for (chosen, title, relative), single in zip(panels, axes[:, 0]):
        draw(single, chosen, title, relative)
    figure.suptitle(
        f"Dovecot {facts['dovecot'].split()[0]}, revision {facts['revision']}, "
        f"{facts['rounds']} rounds. Blue: ours, 95 %. Grey: stock against stock, 95 %, and\n"
        "90 % of the single rounds (light). Red: target.",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
