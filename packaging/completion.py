"""Write the completion of the command tsfm for bash, zsh and fish, from its own parser: completion.py FOLDER."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from tsfm import card  # noqa: E402  (found by the line above)
from tsfm.cli import main as command_line  # noqa: E402

FILE, FOLDER = "file", "folder"
_KINDS = {"source": FILE, "path": FILE, "output": FILE, "to": FILE, "folder": FOLDER, "model_folder": FOLDER}


@dataclass(frozen=True)
class Option:
    """An option or an argument.

    Attributes:
        names: empty for an argument.
        takes: FILE, FOLDER, "" for a value that cannot be completed, the words to choose from, or None for a switch.
    """

    names: Sequence[str]
    takes: str | tuple[str, ...] | None
    help: str


def commands() -> dict[str, tuple[str, list[Option]]]:
    """The summary and the options of each subcommand, help included."""
    found = {}
    for name, stem in command_line.commands().items():
        module = command_line.load(stem)
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        found[name] = ((module.__doc__ or "").strip().splitlines()[0], [_option(one) for one in parser._actions])
    return found


def _option(action: argparse.Action) -> Option:
    words: str | tuple[str, ...] | None = _KINDS.get(action.dest, "")
    if action.choices:
        words = tuple(map(str, action.choices))
    elif action.dest == "family":
        every = ["all"] if str(action.metavar).endswith("|all") else []
        words = (*card.names(packaged_only=True), *every)
    elif action.nargs == 0:
        words = None
    return Option(action.option_strings, words, " ".join((action.help or "").split()))


def bash() -> str:
    lines = ["# Completion of tsfm for bash; made by packaging/completion.py.", "_tsfm() {"]
    lines += ["    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}", "    COMPREPLY=()"]
    lines += [
        "    if ((COMP_CWORD == 1)); then",
        f"        {_words([*commands(), '--help', '--version'])}",
        "        return",
    ]
    lines += ["    fi", "    case ${COMP_WORDS[1]}:$before in"]
    for name, (_, options) in commands().items():
        for option in options:
            if option.names and option.takes is not None:
                lines += [f"    {'|'.join(f'{name}:{one}' for one in option.names)})"]
                lines += [f"        {_values(option.takes)}", "        return", "        ;;"]
    lines += ["    esac", "    case ${COMP_WORDS[1]}:$word in"]
    for name, (_, options) in commands().items():
        names = [one for option in options for one in option.names]
        lines += [f"    {name}:-*)", f"        {_words(names)}", "        ;;"]
        for option in [one for one in options if not one.names and one.takes]:
            lines += [f"    {name}:*)", f"        {_values(option.takes)}", "        ;;"]
            break  # of several arguments the first that can be completed
    return "\n".join([*lines, "    esac", "}", "complete -F _tsfm tsfm", ""])


def _words(words: Sequence[str]) -> str:
    return f'mapfile -t COMPREPLY < <(compgen -W "{" ".join(words)}" -- "$word")'


def _values(takes: str | tuple[str, ...] | None) -> str:
    if isinstance(takes, tuple):
        return _words(takes)
    letter = {FILE: "f", FOLDER: "d"}.get(takes or "")
    if letter is None:
        return ":"
    return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -{letter} -- "$word")'


def zsh() -> str:
    lines = [
        "#compdef tsfm",
        "# Made by packaging/completion.py.",
        "_tsfm() {",
        "    local state line curcontext=$curcontext",
    ]
    lines += ["    _arguments -C '1:command:->command' '*::argument:->argument'", "    case $state in", "    command)"]
    lines += ["        local -a known=("]
    lines += [f"            {_quoted(f'{name}:{summary}')}" for name, (summary, _) in commands().items()]
    lines += [
        "        )",
        "        _describe command known",
        "        ;;",
        "    argument)",
        "        case $words[1] in",
    ]
    for name, (_, options) in commands().items():
        lines += [f"        {name})", "            _arguments \\"]
        lines += [f"                {spec} \\" for option in options for spec in _zsh(option)]
        lines[-1] = lines[-1].removesuffix(" \\")
        lines += ["            ;;"]
    return "\n".join([*lines, "        esac", "        ;;", "    esac", "}", '_tsfm "$@"', ""])


def _zsh(option: Option) -> list[str]:
    action = {FILE: "_files", FOLDER: "_files -/", "": " "}.get(option.takes) if isinstance(option.takes, str) else ""
    if isinstance(option.takes, tuple):
        action = f"({' '.join(option.takes)})"
    text = option.help
    for letter in "\\[]:":
        text = text.replace(letter, f"\\{letter}")
    if not option.names:
        return [_quoted(f"*:{text}:{action}")]
    value = "" if option.takes is None else f":value:{action}"
    return [_quoted(f"{name}[{text}]{value}") for name in option.names]


def fish() -> str:
    lines = ["# Completion of tsfm for fish; made by packaging/completion.py.", "complete -c tsfm -f"]
    for name, (summary, options) in commands().items():
        lines.append(f"complete -c tsfm -n __fish_use_subcommand -a {name} -d {_quoted(summary)}")
        for option in options:
            prefix = f"complete -c tsfm -n '__fish_seen_subcommand_from {name}'"
            names = " ".join(f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in option.names)
            if option.names or option.takes:
                lines.append(" ".join(filter(None, (prefix, names, _fish(option), f"-d {_quoted(option.help)}"))))
    return "\n".join([*lines, ""])


def _fish(option: Option) -> str:
    if isinstance(option.takes, tuple):
        return f"{'-x ' if option.names else ''}-a {_quoted(' '.join(option.takes))}"
    if option.takes == FOLDER:
        return "-x -a '(__fish_complete_directories)'"
    if option.takes == FILE:
        return "-r -F" if option.names else "-F"
    return "" if option.takes is None else "-x"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "’") + "'"


FILES: dict[str, Callable[[], str]] = {"tsfm": bash, "_tsfm": zsh, "tsfm.fish": fish}
"""The name that each shell looks for."""


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
