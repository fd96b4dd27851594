"""How the whole numbers of the file are written."""

from dataclasses import dataclass, replace
from typing import ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import CODERS, STEPS
from mignon.steps import Context, Step


@STEPS.register("code")
@dataclass(frozen=True)
class Code(Step):
    """`code=range`: the name of a coder (mignon ls coders)."""

    coder: str

    summary: ClassVar[str] = "entropy-code the file: code=huffman or code=range"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("code=range", "code=huffman", "code=packed")
    leaves: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.coder not in CODERS:
            raise RecipeError(f"there is no coder {self.coder!r}", f"use one of: {', '.join(CODERS)}")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The same numbers, another way of writing them."""
        return replace(classifier, coder=self.coder)
