"""Members by name: sources, models, steps, coders, schedules, optimizers, augmentations,
importers (and the rules that steps use).

A member is one file in its kind's package; importing the file registers it. Other packages register through
the entry point group `mignon.<kind>s`.
"""

import functools
import importlib
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from mignon.errors import DataError, FormatError, MignonError, ModelError, RecipeError


class Registry:
    """The members of one kind. `package` (its files, or one module) and entry points are imported at first look-up.

    needs: what every member must say of itself. closed: members come from this package alone.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        error: type[MignonError],
        needs: tuple[str, ...] = (),
        closed: bool = False,
    ):
        self.kind = kind
        self.package = package
        self.error = error
        self.needs = needs
        self.closed = closed
        self._members: dict[str, Any] = {}
        self._makers: list[tuple[str, Callable[..., Any]]] = []
        self._loaded = False

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that adds a member; a name can be taken only once."""

        def add(member: Any) -> Any:
            known = self._members.get(name)
            if known is not None and known is not member:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {known!r} and {member!r}")
            lacking = [need for need in self.needs if not hasattr(member, need)]
            if lacking:
                raise ValueError(f"{self.kind} {name!r} does not say its {lacking[0]}")
            self._members[name] = member
            member.name = name
            return member

        return add

    def register_names(self, pattern: str, *listed: tuple[int, ...]) -> Callable[[Any], Any]:
        """Decorator for a function that makes a member of whole numbers: it is there under every name of a pattern like
        `resnet{}-cifar`, and listed for those given. The function raises `error` for numbers that make none."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            self._makers.append((pattern, make))
            for numbers in listed:
                self.register(pattern.format(*numbers))(make(*numbers))
            return make

        return add

    def _maker(self, name: str) -> Callable[[], Any] | None:
        """What makes the member of a name that a pattern matches; None where none does."""
        for pattern, make in self._makers:
            match = re.fullmatch(re.escape(pattern).replace(r"\{\}", r"([1-9]\d{0,3})"), name)
            if match is not None:
                return functools.partial(make, *map(int, match.groups()))
        return None

    def remove(self, name: str) -> None:
        """Forget a member (for tests that register toys)."""
        self._members.pop(name, None)

    @property
    def untouched(self) -> bool:
        """Whether nothing was imported or registered yet."""
        return not (self._loaded or self._members)

    def plugins(self) -> list[Any]:
        """Entry points of other packages, in the order of their names."""
        from importlib.metadata import entry_points  # 40 ms

        return [] if self.closed else sorted(entry_points(group=f"mignon.{self.kind}s"), key=lambda entry: entry.name)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
            importlib.import_module(module.name)
        for entry in self.plugins():
            try:
                entry.load()
            except Exception as error:  # of somebody else's package: the rest goes on without it
                warnings.warn(f"the {self.kind} {entry.name} ({entry.value}) cannot be used: {error!r}", stacklevel=2)

    def __getitem__(self, name: str) -> Any:
        self._load()
        if name in self._members:
            return self._members[name]
        maker = self._maker(name)
        if maker is None:
            begun = [known for known in sorted(self._members) if known.startswith(name)] if name else []
            near = begun or get_close_matches(name, self._members, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise self.error(
                f"there is no {self.kind} {name!r}",
                f"{hint}known: {', '.join(sorted(self._members))} (mignon ls {self.kind}s)",
            )
        member = maker()
        member.name = name
        return member

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._members or self._maker(name) is not None

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._members))


SOURCES = Registry("source", "mignon.data.sources", DataError)
MODELS = Registry("model", "mignon.models", ModelError, ("summary", "pixels", "example", "units"))
STEPS = Registry("step", "mignon.steps", RecipeError, ("summary", "version", "examples", "leaves", "cannot_follow"))
IMPORTERS = Registry("importer", "mignon.importing", ModelError, ("summary", "takes", "read", "example"))
CODERS = Registry("coder", "mignon.coding", RecipeError, ("summary", "cost"))
AUGMENTATIONS = Registry("augmentation", "mignon.data.augment", RecipeError, ("summary", "change"))
SCHEDULES = Registry("schedule", "mignon.training.schedule", RecipeError, ())
OPTIMIZERS = Registry(
    "optimizer", "mignon.training.optimizers", RecipeError, ("make", "fresh", "given", "decay", "states")
)
RULES = Registry("rule", "mignon.rules", FormatError, ("examples",), closed=True)
