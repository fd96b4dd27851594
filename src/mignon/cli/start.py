"""The entry point: settings that must be in place before torch loads, exit codes, no traceback."""

import os
import sys
import warnings
from typing import Any

# what torch's RuntimeErrors, the loader of its libraries, and extensions that die of it while they load say
NO_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory", "failed to map segment",
    "error return without exception set",
)  # fmt: skip


def main() -> None:
    """`mignon ...`; exits with the code of the design."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads can make a step ten times slower
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us: nothing may get its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        os.getcwd()
    except OSError:
        print("mignon: the working folder is not there any more\ngo to another one, then repeat", file=sys.stderr)
        sys.exit(1)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """One command; the exit code. Errors are one line what, one line what to type instead, on stderr."""
    from cyclopts import CycloptsError

    from mignon.cli.verbs import app
    from mignon.errors import MignonError
    from mignon.files import machine_error

    warnings.showwarning = _show_warning  # type: ignore[assignment]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        if debug:
            raise
        print(f"mignon: {' '.join(str(error).split())}\n{_help(arguments)}", file=sys.stderr)
        return 2
    except MignonError as error:
        if debug:
            raise
        print(f"mignon: {error.what}\n{error.instead or _help(arguments)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("mignon: interrupted; repeat the command to go on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
            print("mignon: out of memory\nuse a smaller --batch or --image", file=sys.stderr)
            return 1
        if isinstance(error, RuntimeError) and "home directory" in str(error):
            print("mignon: there is no home folder that ~ could stand for\nwrite the whole path", file=sys.stderr)
            return 2
        if isinstance(error, OSError) and error.errno is not None:
            machine = machine_error(error, error.filename or "a file")
            print(f"mignon: {machine.what}\n{machine.instead}", file=sys.stderr)
            return machine.exit_code
        print(
            f"mignon: this should not happen ({type(error).__name__}: {' '.join(str(error).split())[:300]})\n"
            "repeat the command with --debug and report what it prints",
            file=sys.stderr,
        )
        return 1


def _help(arguments: list[str]) -> str:
    from mignon.cli.verbs import app

    verb = f"{arguments[0]} " if arguments and arguments[0] in list(app) else ""
    return f"see: mignon {verb}--help"


def _show_warning(message: Any, *_: Any) -> None:
    from mignon.errors import one_line

    print(f"warning: {one_line(message)}", file=sys.stderr)
