"""Tables of images: delimiters, columns, splits, what is missing; the lists of ImageNet; the batches of CIFAR."""

import pickle

import numpy as np
import pytest

from mignon.data.examples import paint
from mignon.data.sources import scan
from mignon.data.tables import by_tables
from mignon.errors import DataError

IMAGES = [f"{i}.jpg" for i in range(6)]


def chosen(text, images=IMAGES, name="labels.csv", image="", label=""):
    layout = by_tables([*images, name], {name: text}, image, label, "photos")
    return {path: (kind, split) for path, kind, split in layout.chosen}


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n" + "".join(f"{i}.jpg,{'ab'[i % 2]}\n" for i in range(6)),
        "".join(f"{i}.jpg {'ab'[i % 2]}\n" for i in range(6)),
        "\ufeffid;breed\r\n" + "".join(f"{i};{'ab'[i % 2]}\r\n" for i in range(6)),
        "".join(f"photos/{i}.jpg\t{'ab'[i % 2]}\n" for i in range(6)),
        "width,label,name\n" + "".join(f"9,{'ab'[i % 2]},./{i}.jpg\n" for i in range(6)),
        "image,a,b\n" + "".join(f"{i},{1 - i % 2}.0,{i % 2}.0\n" for i in range(6)),
    ],
)
def test_usual_tables_are_understood(text):
    assert chosen(text) == {f"{i}.jpg": ("ab"[i % 2], None) for i in range(6)}


def test_splits_come_from_a_column_the_name_or_the_folder():
    column = "file,label,split\n" + "".join(f"{i}.jpg,a,{['train', 'val', 'test'][i % 3]}\n" for i in range(6))
    assert [split for _, split in chosen(column).values()] == ["train", "validation", "test"] * 2
    assert {split for _, split in chosen("0.jpg,a\n1.jpg,b\n", name="train_labels.csv").values()} == {"train"}
    images = [f"{split}/{i}.jpg" for split in ("train", "test") for i in range(3)]
    text = "".join(f"{name} a\n" for name in images)
    assert [split for _, split in chosen(text, images).values()] == ["test"] * 3 + ["train"] * 3
    layout = by_tables([*images, "train.csv"], {"train.csv": "0,a\n1,b\n2,a\n"}, "", "", "photos")
    assert [name for name, _, _ in layout.chosen] == ["train/0.jpg", "train/1.jpg", "train/2.jpg"]


def test_what_a_table_does_not_say_is_counted():
    text = "0.jpg,a\n1.jpg,b\n1.jpg,a\n2.jpg,b\n9.jpg,a\n"
    layout = by_tables([*IMAGES, "labels.csv"], {"labels.csv": text}, "", "", "photos")
    assert [name for name, _, _ in layout.chosen] == ["0.jpg", "2.jpg"]
    assert layout.left["images with two labels or splits in the tables"] == ["1.jpg"]
    assert layout.left["images without a line in a table"] == ["3.jpg", "4.jpg", "5.jpg"]
    assert "1 lines of labels.csv name no image that is there" in layout.remarks[0]


def test_a_line_never_takes_the_picture_of_another_folder():
    text = "cat/0.jpg,cat\ndog/1.jpg,dog\ncat/1.jpg,cat\n"
    found = chosen(text, ["cat/0.jpg", "dog/1.jpg"])
    assert found == {"cat/0.jpg": ("cat", None), "dog/1.jpg": ("dog", None)}


def test_a_label_column_that_is_not_clear_is_asked_for(tmp_path):
    for i in range(20):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "t.csv").write_text("id,age,place\n" + "".join(f"{i},{i % 2},{'xy'[i % 2]}\n" for i in range(20)))
    with pytest.raises(DataError, match="which column is the label") as caught:
        scan(str(tmp_path))
    assert ",label=COLUMN" in caught.value.instead
    assert scan(f"{tmp_path},label=place").classes == ("x", "y")
    with pytest.raises(DataError, match="no column 'nothing'"):
        scan(f"{tmp_path},label=nothing")


def test_class_folders_with_a_list_beside_them_stay_class_folders(tmp_path):
    for i in range(20):
        paint(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    (tmp_path / "all.txt").write_text("".join(f"{'ab'[i % 2]}/{i}.png {i % 2}\n" for i in range(20)))
    (tmp_path / "readme.txt").write_text("two classes, a and b\n")
    listing = scan(str(tmp_path))
    assert listing.classes == ("a", "b") and "2 files that are no images" in listing.notes[0]


def test_imagenet_as_kaggle_and_caffe_list_it(tmp_path):
    for i in range(24):
        paint(tmp_path / "ILSVRC/Data/CLS-LOC/train" / f"n0000000{i % 2}" / f"{i}.JPEG", i)
    for i in range(6):
        paint(tmp_path / "ILSVRC/Data/CLS-LOC/val" / f"ILSVRC2012_val_{i:08d}.JPEG", 50 + i)
    lines = [f"ILSVRC2012_val_{i:08d},n0000000{i % 2} 1 2 3 4" for i in range(6)]
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(lines))
    (tmp_path / "LOC_synset_mapping.txt").write_text("n00000000 tench, Tinca tinca\nn00000001 goldfish\n")
    kaggle = scan(str(tmp_path))
    assert kaggle.classes == ("n00000000", "n00000001") and kaggle.given.count("validation") == 6
    assert kaggle.names[-1].endswith("val/ILSVRC2012_val_00000005.JPEG") and kaggle.labels[-6:].tolist() == [0, 1] * 3
    assert not kaggle.warnings or "everything lies in" in kaggle.warnings[0]
    assert scan(f"{tmp_path},words=true").classes == ("goldfish", "tench")
    (tmp_path / "LOC_val_solution.csv").unlink()
    (tmp_path / "val.txt").write_text("".join(f"ILSVRC2012_val_{i:08d}.JPEG {i % 2}\n" for i in range(6)))
    assert (scan(str(tmp_path)).labels == kaggle.labels).all()


def test_tiny_imagenet_in_its_original_layout(shared_data, tmp_path):
    import tarfile

    with tarfile.open(shared_data / "tiny-imagenet-10.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    listing = scan(str(next(tmp_path.iterdir())))
    assert len(listing.classes) == 10 and listing.given.count("train") == 5000
    assert listing.given.count("validation") == 500 and not listing.warnings
    held = [label for label, split in zip(listing.labels.tolist(), listing.given) if split == "validation"]
    assert np.bincount(held).tolist() == [50] * 10


def python_batches(folder, protocol=2, **more):
    dice = np.random.default_rng(0)
    for name, count in (("data_batch_1", 20), ("data_batch_2", 20), ("test_batch", 10)):
        data = dice.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [i % 2 for i in range(count)]
        with (folder / name).open("wb") as file:
            pickle.dump({b"data": data, b"labels": labels, **more}, file, protocol)
    with (folder / "batches.meta").open("wb") as file:
        pickle.dump({b"label_names": [b"airplane", b"automobile"]}, file, protocol)
    return data


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_python_batches_of_cifar_are_read(tmp_path, protocol):
    data = python_batches(tmp_path, protocol)
    listing = scan(str(tmp_path))
    assert listing.classes == ("airplane", "automobile") and listing.given.count("train") == 40
    assert (listing.open(49) == data[9].reshape(3, 32, 32).transpose(1, 2, 0)).all()


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_runs_nothing(tmp_path, capsys):
    python_batches(tmp_path, x=Evil())
    with pytest.raises(DataError, match=r"builtins.print is not read|__builtin__.print is not read"):
        scan(str(tmp_path))
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda b: b[:500], lambda b: b"", lambda b: b"x" + b, lambda b: pickle.dumps([1])])
def test_damaged_batches_are_refused(tmp_path, damage):
    python_batches(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(damage((tmp_path / "data_batch_2").read_bytes()))
    with pytest.raises(DataError, match="data_batch_2 is no CIFAR batch"):
        scan(str(tmp_path))


def test_cut_pickles_never_fail_otherwise(tmp_path):
    python_batches(tmp_path)
    good = (tmp_path / "test_batch").read_bytes()
    dice = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(4):
            data[int(dice.integers(0, min(len(data), 400)))] = int(dice.integers(0, 256))
        (tmp_path / "test_batch").write_bytes(data)
        try:
            scan(str(tmp_path))
        except DataError as error:
            assert "\n" not in error.what and len(error.what) < 300


def test_binary_batches_with_two_labels_are_cifar_100(tmp_path):
    for name, count in (("train.bin", 20), ("test.bin", 6)):
        rows = [bytes([7, i % 2]) + bytes([i]) * 3072 for i in range(count)]
        (tmp_path / name).write_bytes(b"".join(rows))
    (tmp_path / "fine_label_names.txt").write_text("apple\nbear\n")
    listing = scan(str(tmp_path))
    assert listing.classes == ("apple", "bear") and listing.labels[:3].tolist() == [0, 1, 0]
    assert (listing.open(3) == 3).all()
    (tmp_path / "train.bin").write_bytes(bytes(5000))
    with pytest.raises(DataError, match="no number of images"):
        scan(str(tmp_path))
