"""`keyturn completion`: a static script for bash, zsh or fish, written from the parsers themselves.

It completes verbs, acts and options; names of users and keys are not looked up, for that would call out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

from keyturn.cli import terminal

_EXAMPLES = """examples:
  keyturn completion bash > ~/.local/share/bash-completion/completions/keyturn
  keyturn completion zsh > ~/.zfunc/_keyturn
  keyturn completion fish > ~/.config/fish/completions/keyturn.fish
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    from keyturn.cli.main import VERBS, parser_for

    words: dict[str, Sequence[str]] = {"": [*VERBS, "--help", "--version"]}
    for verb in VERBS:
        words |= dict(_words(parser_for(verb), verb))
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    terminal.result(script(words))
    return terminal.OK


def _words(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, Sequence[str]]]:
    """What may follow `path`, and each of its acts."""
    options = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - argparse offers no other way
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            options += action.choices
            for name, child in action.choices.items():
                yield from _words(child, f"{path} {name}")
        elif not action.option_strings and action.choices:
            options += action.choices
    yield path, sorted(options)


def _cases(words: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f'    "{path}") words="{" ".join(known)}" ;;' for path, known in words.items() if path)


def _bash(words: Mapping[str, Sequence[str]]) -> str:
    return f"""_keyturn() {{
  local words="{" ".join(words[""])}"
  local verb="${{COMP_WORDS[1]}}" act="${{COMP_WORDS[2]}}"
  if (( COMP_CWORD > 1 )); then
    words=""
    case "$verb" in
{_cases({path: known for path, known in words.items() if " " not in path})}
    esac
  fi
  if (( COMP_CWORD > 2 )); then
    case "$verb $act" in
{_cases({path: known for path, known in words.items() if " " in path})}
    esac
  fi
  COMPREPLY=( $(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}") )
}}
complete -o default -F _keyturn keyturn"""


def _zsh(words: Mapping[str, Sequence[str]]) -> str:
    return f"#compdef keyturn\nautoload -U +X bashcompinit && bashcompinit\n{_bash(words)}"


def _fish(words: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for path, known in words.items():
        seen = " and ".join(f"__fish_seen_subcommand_from {word}" for word in path.split())
        condition = seen.replace(" and ", "; and ") or "__fish_use_subcommand"
        lines.append(f"complete -c keyturn -n '{condition}' -a '{' '.join(known)}'")
    return "\n".join(lines)
