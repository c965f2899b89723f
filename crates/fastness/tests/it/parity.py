"""Tells what the command line of this Borg is: commands, arguments, options, variables, as JSON."""
import argparse
import json
import pathlib
import re

import borg
from borg.archiver import Archiver


def describe(parser, words, found):
    options, places, groups = [], 0, []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            groups.append(action)
        elif action.option_strings:
            options.append({"names": action.option_strings, "takes_value": action.nargs != 0})
        else:
            places += 1
    help_text = parser.format_help()
    shown = set(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", help_text.split("\n\n", 1)[0]))
    if not groups:
        found.append({"words": words, "options": options, "places": places, "shown": sorted(shown)})
    for group in groups:
        for name, child in group.choices.items():
            describe(child, words + [name], found)


commands = []
describe(Archiver(prog="borg").build_parser(), [], commands)
variables = set()
for path in pathlib.Path(borg.__file__).parent.rglob("*.py"):
    if "testsuite" not in path.parts:
        text = path.read_text()
        variables.update(re.findall(r"(?<!b)['\"](BORG_[A-Z_]+)['\"]", text))
# Begins key files.
variables.discard("BORG_KEY")
print(json.dumps({"commands": commands, "variables": sorted(variables)}))
