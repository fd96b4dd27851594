"""How the whole numbers of the file are written."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import CODERS, STEPS
from mignon.steps import Context


@STEPS.register("code")
@dataclass(frozen=True)
class Code:
    """`code=range`: the name of a coder (mignon ls coders)."""

    coder: str

    summary: ClassVar[str] = "entropy-code the file: code=huffman or code=range"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.coder not in CODERS:
            raise RecipeError(f"there is no coder {self.coder!r}", f"use one of: {', '.join(CODERS)}")

    def check(self, earlier: list[Any]) -> None:
        """It can follow anything; the last one counts."""

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The same numbers, another way of writing them."""
        return replace(classifier, coder=self.coder)
