"""The rows of the mission, each seen or not, with the figure that shows it."""

ROWS = {
    1: "/etc /home /root /usr/local /var saved, what is left out left out",
    2: "two storage servers, independent of each other",
    3: "ssh with an own key, a fixed command, nothing else allowed",
    4: "encrypted here; passphrase and key file needed, and enough",
    5: "a passphrase of seven words",
    6: "keys are safe, or the user knows",
    7: "MariaDB while it runs, by the hooks and natively",
    8: "package sources, packages, pip packages, a plan from them",
    9: "four times a day, also caught up",
    10: "24 hours, 7 days, 4 weeks, 6 months, 2 years",
    11: "consistency checks on their own rhythm",
    12: "mail when something fails",
    13: "a file, a directory, a database, the whole machine restored",
    14: "two configurations like one with two destinations",
}


class Table:
    """What was seen for each row."""

    def __init__(self):
        self.seen = {number: [] for number in ROWS}
        self.missed = {number: [] for number in ROWS}

    def note(self, number, figure):
        """Something of this row was seen."""
        self.seen[number].append(figure)

    def miss(self, numbers, reason):
        """What should show these rows failed."""
        for number in numbers:
            self.missed[number].append(reason)

    def complete(self):
        """Whether every row was seen and none was missed."""
        return all(self.seen[number] and not self.missed[number] for number in ROWS)

    def __str__(self):
        lines = []
        for number, title in ROWS.items():
            state = "MISSED" if self.missed[number] else "seen" if self.seen[number] else "not seen"
            lines.append(f"{number:3}  {state:8}  {title}")
            lines += [f"{'':15}{text}" for text in self.missed[number] + self.seen[number]]
        return "\n".join(lines)
