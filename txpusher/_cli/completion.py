# -*- test-case-name: tests.integration.test_cli_completion -*-
"""
``txpusher completion``: prints what makes a shell complete commands and options.

The text is made from the parser itself, so that it knows every option there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from txpusher._cli.codes import DONE
from txpusher._cli.parser import Parser, add_command

_DESCRIPTION = """\
Print what makes a shell complete the commands and options of txpusher.

  bash   txpusher completion bash \\
           >~/.local/share/bash-completion/completions/txpusher
  zsh    txpusher completion zsh >"${fpath[1]}/_txpusher"
  fish   txpusher completion fish >~/.config/fish/completions/txpusher.fish"""


def add_parser(commands: Any, make_parser: Callable[[], Parser]) -> None:
    """
    Add the command to the commands of a parser.

    :param make_parser: Makes the parser whose commands are completed.
    """

    def complete(arguments: argparse.Namespace) -> int:
        from txpusher._cli.write import write_line

        write_line(SHELLS[arguments.shell](commands_of(make_parser())).rstrip("\n"))
        return DONE

    parser = add_command(
        commands,
        "completion",
        complete,
        summary="print the completions of a shell",
        description=_DESCRIPTION,
    )
    parser.add_argument(
        "shell", choices=sorted(SHELLS), metavar="SHELL", help="bash, fish, zsh"
    )


@attrs.frozen
class Option:
    """
    One option of a command.

    :ivar value: The name of its value, empty where it has none.
    """

    names: tuple[str, ...]
    value: str
    help: str

    @property
    def takes_file(self) -> bool:
        """Whether the value is the name of a file."""
        return self.value == "FILE"


@attrs.frozen
class Command:
    """One command, such as ``channels``, or ``webhook verify``, in words."""

    words: tuple[str, ...]
    summary: str
    options: tuple[Option, ...]


def commands_of(parser: Any, words: tuple[str, ...] = ()) -> list[Command]:
    """Return the command that *parser* is of, and those below it."""
    found: list[Command] = [Command(words, parser.summary, tuple(_options(parser)))]
    for name, below in parser.commands.items():
        found += commands_of(below, (*words, name))
    return found


def _options(parser: Any) -> Iterator[Option]:
    for action in parser._actions:  # noqa: SLF001
        if action.option_strings:
            value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
            text = str(action.help or "").replace("%(default)s", str(action.default))
            yield Option(tuple(action.option_strings), value, text)


def _below(commands: list[Command], words: tuple[str, ...]) -> list[Command]:
    return [
        command
        for command in commands
        if len(command.words) == len(words) + 1 and command.words[: len(words)] == words
    ]


def bash(commands: list[Command]) -> str:
    """Return the completions for bash."""
    cases = []
    for command in commands:
        names = [name for option in command.options for name in option.names]
        names += [below.words[-1] for below in _below(commands, command.words)]
        if command.words == ("completion",):
            names += sorted(SHELLS)
        cases.append(f'        "{" ".join(command.words)}") words="{" ".join(names)}" ;;')
    parents = {command.words[:-1] for command in commands if len(command.words) > 1}
    nested = "|".join(" ".join(words) for words in sorted(parents) if words)
    firsts = "|".join(command.words[0] for command in _below(commands, ()))
    files = "|".join(
        sorted({n for c in commands for o in c.options if o.takes_file for n in o.names})
    )
    before = 'before="${COMP_WORDS[COMP_CWORD-1]}"'
    return "\n".join(
        [
            "# bash completion for txpusher",
            "_txpusher() {",
            f'    local current="${{COMP_WORDS[COMP_CWORD]}}" {before}',
            '    local command="" word words=""',
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '        case "$command" in',
            f'            "") case "$word" in {firsts}) command="$word" ;; esac ;;',
            f'            {nested}) case "$word" in',
            '                -*) ;; *) command="$command $word" ;;',
            "            esac ;;",
            "        esac",
            "    done",
            f'    case "$before" in {files})',
            '        COMPREPLY=($(compgen -f -- "$current")); return ;;',
            "    esac",
            '    case "$command" in',
            *cases,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -F _txpusher txpusher",
        ]
    )


def zsh(commands: list[Command]) -> str:
    """Return the completions for zsh."""
    cases = []
    for command in commands:
        specs = [_zsh_option(option) for option in command.options]
        below = _below(commands, command.words)
        choices = [f"{_plain(one.words[-1])}:{_plain(one.summary)}" for one in below]
        if command.words == ("completion",):
            choices = sorted(SHELLS)
        cases.append(f"        {_single(' '.join(command.words))})")
        if choices:
            listed = " ".join(map(_single, choices))
            cases.append(f"            local -a choices=({listed})")
            cases.append("            _describe 'command' choices")
        cases.append(f"            options=({' '.join(map(_single, specs))}) ;;")
    nested = "|".join(sorted({_single(c.words[0]) for c in commands if len(c.words) > 1}))
    firsts = "|".join(command.words[0] for command in _below(commands, ()))
    return "\n".join(
        [
            "#compdef txpusher",
            "_txpusher() {",
            '    local command="" word',
            "    local -a options",
            '    for word in "${(@)words[2,CURRENT-1]}"; do',
            '        case "$command" in',
            f'            "") case "$word" in ({firsts}) command="$word" ;; esac ;;',
            f'            ({nested}) case "$word" in',
            '                (-*) ;; (*) command="$command $word" ;;',
            "            esac ;;",
            "        esac",
            "    done",
            '    case "$command" in',
            *cases,
            "    esac",
            '    _arguments "${options[@]}" "*: : "',
            "}",
            'if [ "$funcstack[1]" = _txpusher ]; then _txpusher "$@"',
            "else compdef _txpusher txpusher; fi",
        ]
    )


def _zsh_option(option: Option) -> str:
    name = option.names[-1]
    spec = f"{name}[{_plain(option.help)}]"
    if option.value:
        spec += f":{option.value.lower()}:{'_files' if option.takes_file else ''}"
    return spec


def _plain(text: str) -> str:
    # What zsh would take for a part of its own notation.
    return text.replace("\\", "").replace("[", "(").replace("]", ")").replace(":", " -")


def fish(commands: list[Command]) -> str:
    """Return the completions for fish."""
    lines = ["# fish completion for txpusher", "complete -c txpusher -f"]
    for command in commands:
        if command.words:
            condition = "; and ".join(
                f"__fish_seen_subcommand_from {word}" for word in command.words
            )
        else:
            condition = "__fish_use_subcommand"
        below = _below(commands, command.words)
        names = " ".join(one.words[-1] for one in below)
        for one in below:
            when = condition
            if command.words:
                when = f"{condition}; and not __fish_seen_subcommand_from {names}"
            lines.append(
                f"complete -c txpusher -n {_single(when)} -a {one.words[-1]} "
                f"-d {_single(one.summary)}"
            )
        if command.words == ("completion",):
            lines.append(
                f"complete -c txpusher -n {_single(condition)} -a '{' '.join(sorted(SHELLS))}'"
            )
        lines += [_fish_option(option, condition) for option in command.options]
    return "\n".join(lines)


def _fish_option(option: Option, condition: str) -> str:
    parts = [f"complete -c txpusher -n {_single(condition)}"]
    for name in option.names:
        parts.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
    if option.value:
        parts.append("-r -F" if option.takes_file else "-x")
    parts.append(f"-d {_single(option.help)}")
    return " ".join(parts)


def _single(text: str) -> str:
    """Return *text* in single quotes, as bash, zsh and fish read it."""
    if "'" not in text and "\\" not in text:
        return f"'{text}'"
    return "'" + text.replace("\\", "").replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") + "'"


#: What makes the completions of each shell.
SHELLS: dict[str, Callable[[list[Command]], str]] = {"bash": bash, "fish": fish, "zsh": zsh}
