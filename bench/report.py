"""Tables of measured rows, on the terminal and in RESULTS.md.

A row in RESULTS.md is known by its first four columns; recording it again replaces the figures and keeps
the last column, where a person has written what limits it. Everything around the table stays.
"""

from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
HEADER = (
    "| repository on | mode | corpus | workload | Borg wall s | CPU s | MiB | ours wall s | CPU s | MiB "
    "| wall × | CPU × | RSS × | floor wall s | ours / floor | others: wall / CPU s, MiB | what limits it |"
)
RULE = "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|"
NAMES = ["on", "mode", "corpus", "workload", "borg s", "cpu", "MiB", "ours s", "cpu", "MiB"]
NAMES += ["wall x", "cpu x", "rss x", "floor s", "/floor", "others: wall / CPU s, MiB"]


def cells(row):
    """Returns the columns of a row but the last, as text."""
    borg, ours, floor = row["programs"].get("borg"), row["programs"].get("fastness"), row.get("floor")

    def figures(result):
        return [f"{result['wall']:.3g}", f"{result['cpu']:.3g}", f"{result['rss']:.0f}"] if result else ["", "", ""]

    def ratio(key):
        return f"{borg[key] / ours[key]:.2f}" if borg and ours and ours[key] else ""

    others = [
        f"{name} {result['wall']:.3g} / {result['cpu']:.3g}, {result['rss']:.0f}"
        for name, result in row["programs"].items()
        if name not in ("borg", "fastness")
    ]
    return [
        *row["key"],
        *figures(borg),
        *figures(ours),
        *map(ratio, ("wall", "cpu", "rss")),
        f"{floor['wall']:.2f}" if floor else "",
        f"{ours['wall'] / floor['wall']:.1f}" if floor and ours else "",
        "; ".join(others),
    ]


def show(rows):
    """Prints the rows as an aligned table."""
    table = [NAMES] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(NAMES))]
    for line in table:
        aligned = [
            text.rjust(width) if 3 < column < 15 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths))
        ]
        print("  ".join(aligned).rstrip())


def record(rows):
    """Puts the rows into RESULTS.md."""
    lines = RESULTS.read_text().splitlines()
    if HEADER not in lines:
        lines += ["", HEADER, RULE]
    start = lines.index(HEADER) + 2
    end = start
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    known = {}
    for line in lines[start:end]:
        columns = [column.strip() for column in line.strip("|").split("|")]
        known[tuple(columns[:4])] = columns
    for row in rows:
        key = tuple(row["key"])
        remark = known[key][-1] if key in known else ""
        known[key] = [*cells(row), remark]
    lines[start:end] = ["| " + " | ".join(columns) + " |" for columns in known.values()]
    RESULTS.write_text("\n".join(lines) + "\n")
