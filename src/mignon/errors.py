"""Everything that input can do wrong, as one line for the user and one line of what to do instead."""

LONGEST = 400  # characters of a line


def printable(text: object) -> str:
    """Text from anywhere without what a terminal would act on: control characters are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def one_line(text: object, longest: int = LONGEST) -> str:
    """Text from anywhere as one printable line: white space folded, control characters spelled out, the middle cut."""
    line = printable(" ".join(str(text).split()))
    half = (longest - 3) // 2
    return line if len(line) <= longest else f"{line[:half]}...{line[-half:]}"


class MignonError(Exception):
    """A request that cannot be met. `what` is wrong, `instead` says what to type; `exit_code` as in the design."""

    exit_code = 2

    def __init__(self, what: str, instead: str = ""):
        self.what = one_line(what)
        self.instead = one_line(instead)
        super().__init__(f"{self.what}\n{self.instead}" if instead else self.what)


class DataError(MignonError):
    """A folder of images that cannot be used as it is."""


class ModelError(MignonError):
    """Weights, a network family or its options that do not fit."""


class RecipeError(MignonError):
    """A step, a setting or an order of steps that makes no sense."""


class FormatError(MignonError):
    """A file that is not a whole, valid `.mgn`."""


class RunError(MignonError):
    """A run folder that is not there, not a run, or of another command."""


class MachineError(MignonError):
    """The machine could not do it: disk full, read-only folder, out of memory."""

    exit_code = 1
