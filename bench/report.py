"""Tables of measured rows, on the terminal and in RESULTS.md.

A row in RESULTS.md is known by its first columns; recording it again replaces the figures and keeps the
last column, where a person has written what limits it. Everything around the tables stays.
"""

from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def figures(result, *keys):
    """Returns the named figures of a result as text, empty if there is none."""
    return [(f"{result[key]:.0f}" if key in WHOLE else f"{result[key]:.3g}") if result else "" for key in keys]


WHOLE = ("rss", "turns")


def ratio(borg, ours, key):
    return f"{borg[key] / ours[key]:.2f}" if borg and ours and ours[key] else ""


def local_cells(row):
    """Returns the columns of a row but the last, as text."""
    borg, ours, floor = row["programs"].get("borg"), row["programs"].get("fastness"), row.get("floor")
    others = [
        f"{name} {result['wall']:.3g} / {result['cpu']:.3g}, {result['rss']:.0f}"
        for name, result in row["programs"].items()
        if name not in ("borg", "fastness")
    ]
    return [
        *row["key"],
        *figures(borg, "wall", "cpu", "rss"),
        *figures(ours, "wall", "cpu", "rss"),
        *(ratio(borg, ours, key) for key in ("wall", "cpu", "rss")),
        f"{floor['wall']:.2f}" if floor else "",
        f"{ours['wall'] / floor['wall']:.1f}" if floor and ours else "",
        "; ".join(others),
    ]


def ssh_cells(row):
    """As `local_cells`, of a row over ssh."""
    borg, ours, floor = row["programs"].get("borg"), row["programs"].get("fastness"), row["floor"]
    base = row["base"].get("fastness")
    keys = ("wall", "cpu", "server", "turns")
    return [
        *row["key"],
        *figures(borg, *keys),
        *figures(ours, *keys),
        *(ratio(borg, ours, key) for key in ("wall", "cpu", "server")),
        f"{floor:.2f}" if floor else "",
        f"{ours['wall'] / floor:.1f}" if floor and ours else "",
        f"{ours['wall'] / base['wall'] * 100 - 100:+.0f} %" if base and ours else "",
    ]


class Table:
    """One kind of rows: how many columns name them, the heads of the columns, what is in them."""

    def __init__(self, keys, columns, last, cells):
        self.keys, self.cells = keys, cells
        self.columns = columns
        self.header = "| " + " | ".join([*columns, last]) + " |"
        words = [column in ("others: wall / CPU s, MiB",) or number < keys for number, column in enumerate(columns)]
        self.words = words
        self.rule = "|" + "|".join("---" if word else "--:" for word in words) + "|---|"

    def show(self, rows):
        """Prints the rows as an aligned table."""
        table = [self.columns] + [self.cells(row) for row in rows]
        widths = [max(len(line[column]) for line in table) for column in range(len(self.columns))]
        for line in table:
            aligned = [
                text.ljust(width) if word else text.rjust(width) for text, width, word in zip(line, widths, self.words)
            ]
            print("  ".join(aligned).rstrip())

    def record(self, rows):
        """Puts the rows into RESULTS.md."""
        lines = RESULTS.read_text().splitlines()
        if self.header not in lines:
            lines += ["", self.header, self.rule]
        start = lines.index(self.header) + 2
        end = start
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        known = {}
        for line in lines[start:end]:
            columns = [column.strip() for column in line.strip("|").split("|")]
            known[tuple(columns[: self.keys])] = columns
        for row in rows:
            key = tuple(row["key"])
            remark = known[key][-1] if key in known else ""
            known[key] = [*self.cells(row), remark]
        lines[start:end] = ["| " + " | ".join(columns) + " |" for columns in known.values()]
        RESULTS.write_text("\n".join(lines) + "\n")


FIGURES = ["Borg wall s", "CPU s", "MiB", "ours wall s", "CPU s", "MiB", "wall ×", "CPU ×", "RSS ×"]
LOCAL = Table(
    4,
    ["repository on", "mode", "corpus", "workload", *FIGURES, "floor wall s", "ours / floor", "others: wall / CPU s, MiB"],
    "what limits it",
    local_cells,
)
SSH_FIGURES = ["Borg wall s", "CPU s", "server CPU s", "turns", "ours wall s", "CPU s", "server CPU s", "turns"]
OVER_SSH = Table(
    3,
    ["mode", "corpus", "way", *SSH_FIGURES, "wall ×", "CPU ×", "server CPU ×", "floor wall s", "ours / floor", "by the delay"],
    "what limits it",
    ssh_cells,
)
