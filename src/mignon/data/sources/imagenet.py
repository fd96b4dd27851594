"""ImageNet and Tiny ImageNet as they are given out: train/WNID folders, and a list of the validation images."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from mignon.data.examples import paint
from mignon.data.layout import by_folders, split_of
from mignon.data.sources import Listing
from mignon.data.tables import numbered
from mignon.data.tree import Tree, listing_of, walk
from mignon.registry import SOURCES

LISTS = ("val/val_annotations.txt", "LOC_val_solution.csv", "val.txt")  # Tiny; Kaggle; Caffe, by number of the class
WORDS = ("words.txt", "LOC_synset_mapping.txt")
READ = {*LISTS, *WORDS, "wnids.txt"}
TRAIN = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")


@SOURCES.register("imagenet")
@dataclass(frozen=True)
class ImageNet:
    """Classes are the WordNet numbers of the train folders (`words=true`: their first word)."""

    words: bool = False

    summary = "ImageNet or Tiny ImageNet in their original layout (words=true: names instead of WordNet numbers)"

    def sure(self, place: str) -> float:
        """Where train folders are WordNet numbers and a list of the validation images is there."""
        root = Path(place).expanduser()
        listed = any((root / name).is_file() for name in LISTS)
        return 0.9 if listed and any([*(root / name).glob("n[0-9]*")] for name in TRAIN) else 0.0

    def scan(self, place: str) -> Listing:
        """List the images; those of the validation list as if they lay in class folders too."""
        tree = walk(Path(place).expanduser().resolve())
        moved = _moved(tree)
        emptied = {name.rpartition("/")[0] for name in moved}
        folders = [name for name in tree.folders if name not in emptied]
        layout = by_folders([moved.get(name, name) for name in tree.files if name not in READ], folders, place)
        back = {new: old for old, new in moved.items()}
        names = _words(tree) if self.words else {}
        chosen = [(back.get(name, name), names.get(label, label), split) for name, label, split in layout.chosen]
        return listing_of(tree, replace(layout, chosen=sorted(chosen, key=lambda row: row[0].split("/"))))

    @classmethod
    def example(cls, folder: Path) -> str:
        """Tiny ImageNet's layout with two classes."""
        lines = []
        for i in range(30):
            wnid = f"n0000000{i % 2}"
            if i < 24:
                paint(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", i)
            else:
                paint(folder / "val" / "images" / f"val_{i}.JPEG", i)
                lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t7\t7\n")
        (folder / "val" / "val_annotations.txt").write_text("".join(lines))
        return str(folder)


def _text(tree: Tree, names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in tree.files), None)
    return (tree.root / found).read_bytes().decode("utf-8", "replace") if found else ""


def _moved(tree: Tree) -> dict[str, str]:
    """{path of a validation image: its path if it lay in a class folder}."""
    listed = numbered(_text(tree, LISTS))
    trained = sorted({name.rpartition("/")[2] for name in tree.folders if name.rpartition("/")[0] in TRAIN})
    moved = {}
    for name in tree.files:
        *parents, file = name.split("/")
        label = listed.get(file) or listed.get(file.rpartition(".")[0])
        places = [i for i, parent in enumerate(parents) if split_of(parent) == "validation"]
        if label and places and parents[-1] not in trained:
            number = int(label) if label.isdecimal() and len(label) < 6 else len(trained)
            label = trained[number] if number < len(trained) else label
            moved[name] = "/".join([*parents[: places[0] + 1], label, file])
    return moved


def _words(tree: Tree) -> dict[str, str]:
    """{WordNet number: its first word}, with the number behind it where two share a word."""
    lines = (line.replace("\t", " ").partition(" ") for line in _text(tree, WORDS).splitlines())
    words = {number: text.partition(",")[0].strip() for number, _, text in lines}
    used = {name.rpartition("/")[2] for name in tree.folders}
    count = Counter(word for number, word in words.items() if number in used)
    return {number: word if count[word] == 1 else f"{word} ({number})" for number, word in words.items() if word}
