"""The one console command, `pixassay`.

Each sub-command lives in its own module, imported only when it is called: `pixassay --help`
stays instant, and the commands that need torch cost nothing to those who do not have it.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from models.bundle import BundleError
from models.errors import ModelError
from stream.errors import ConfigError, PixassayError

USAGE, FAILURE = 2, 1


@dataclass(frozen=True, slots=True)
class Command:
    """Where a sub-command's code is; `attribute` is a function or a Typer group."""

    module: str
    attribute: str
    help: str
    extra: str | None = None  # the optional install that it needs


COMMANDS = {
    "demo": Command(
        "stream.commands.demo", "demo", "Run the whole path on embedded parts and real pictures."
    ),
    "worker": Command("stream.commands.worker", "worker", "Judge uploads from Kafka until stopped."),
    "upload": Command("stream.commands.worker", "upload", "Put pictures in the store and announce them."),
    "score": Command(
        "stream.commands.score", "score", "Judge files and folders, without Kafka or a database."
    ),
    "review": Command("stream.commands.review", "app", "Look at the review queue and decide."),
    "audit": Command("stream.commands.audit", "audit", "Prove that every record has an outcome."),
    "dead": Command("stream.commands.dead", "app", "Look at dead letters, send them in again, drop them."),
    "db": Command("stream.commands.db", "app", "Upgrade the database, make partitions, erase."),
    "what-if": Command("stream.commands.what_if", "what_if", "Judge a period again with other thresholds."),
    "bench": Command("stream.commands.bench", "bench", "Measure the lane against its limit on this machine."),
    "doctor": Command("stream.commands.doctor", "doctor", "Check settings, bundle, engine and connections."),
    "model": Command("trt_build.cli", "model", "Train, evaluate and look at detectors.", extra="train"),
    "engine": Command("trt_build.cli", "app", "Build and verify engines.", extra="train"),
}


def build(wanted: str | None) -> typer.Typer:
    """The command tree with only the wanted sub-command imported; the others are names with a help line."""
    app = typer.Typer(
        help="Tells a platform which of the images uploaded to it are synthetic.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, command in COMMANDS.items():
        target = _placeholder
        if name == wanted:
            target = getattr(importlib.import_module(command.module), command.attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=command.help)
        else:
            app.command(name, help=command.help)(target)
    return app


def _placeholder() -> None:
    """Stands for a command that was not called, so that the help can list it."""


def _without_extra(name: str | None, error: ModuleNotFoundError) -> ConfigError | None:
    """What to install, where a command misses a package of its extra: at its import or once it runs."""
    command = COMMANDS.get(name or "")
    ours = (error.name or "").partition(".")[0] in {"stream", "models", "trt_build"}
    if ours or command is None or command.extra is None:
        return None
    return ConfigError(
        f"`pixassay {name}` needs {error.name}, which is in the `{command.extra}` extra: "
        f"install requirements/{command.extra}.txt, or run `make dev` and use .venv-dev/bin/pixassay"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command. Exit status: 0 done, 1 failed, 2 wrong usage or settings."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    try:
        build(wanted)(arguments, prog_name="pixassay")
    except (ConfigError, BundleError) as error:
        _complain(error)
        sys.exit(USAGE)
    except (PixassayError, ModelError) as error:
        _complain(error)
        sys.exit(FAILURE)
    except ModuleNotFoundError as error:
        missing = _without_extra(wanted, error)
        if missing is None:
            raise
        _complain(missing)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(error: Exception) -> None:
    sys.stderr.write(f"pixassay: {error}\n")


if __name__ == "__main__":
    main()
