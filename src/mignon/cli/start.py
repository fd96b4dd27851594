"""The entry point: settings that must be in place before torch loads, exit codes, no traceback."""

import os
import sys
import warnings
from typing import Any


def main() -> None:
    """`mignon ...`; exits with the code of the design."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads can make a step ten times slower
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    sys.exit(run(sys.argv[1:]))


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
    except MemoryError:
        if debug:
            raise
        print("mignon: out of memory\nuse a smaller --batch or --image", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
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
