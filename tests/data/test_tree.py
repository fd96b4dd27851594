"""What lies in a folder: links, circles, pipes, hidden things; each is used once or counted."""

import os
import socket

import pytest
from helpers import make_pictures

from mignon.data.cache import open_images
from mignon.data.look import neutral_spec
from mignon.data.sources import scan
from mignon.data.tree import walk


def told(listing):
    return "\n".join([*listing.notes, *listing.warnings])


def test_a_linked_folder_inside_a_class_is_followed(tmp_path):
    root = make_pictures(tmp_path / "p", {"a": 20, "b": 20})
    make_pictures(tmp_path / "q", {"more": 30}, seed=1)
    (root / "a" / "more").symlink_to(tmp_path / "q" / "more")
    listing = scan(str(root))
    assert len(listing.names) == 70 and not told(listing)


def test_links_count_once(tmp_path):
    root = make_pictures(tmp_path / "p", {"a": 20, "b": 20})
    (root / "c").symlink_to("a")  # a linked class
    (root / "b" / "again.png").symlink_to("0000.png")
    (root / "b" / "other").symlink_to("../a")
    listing = scan(str(root))
    assert listing.classes == ("a", "b") and len(listing.names) == 40
    assert "41 links to an image that is there already" in told(listing)


def test_splits_of_links_into_a_pool_are_used(tmp_path):
    pool = make_pictures(tmp_path / "pool", {"a": 20, "b": 20})
    for split, numbers in (("train", range(15)), ("test", range(15, 20))):
        for name in "ab":
            (tmp_path / "p" / split / name).mkdir(parents=True)
            for i in numbers:
                (tmp_path / "p" / split / name / f"{i}.png").symlink_to(pool / name / f"{i:04d}.png")
    listing = scan(str(tmp_path / "p"))
    assert listing.given.count("train") == 30 and listing.given.count("test") == 10 and not told(listing)


def test_circles_pipes_and_dangling_links_are_counted_and_never_fatal(tmp_path):
    root = make_pictures(tmp_path / "p", {"a": 20, "b": 20})
    (root / "a" / "x.jpg").symlink_to("x.jpg")  # a link to itself
    (root / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "a" / "up").symlink_to("..")
    (root / "b" / "here").symlink_to(".")
    (root / "self").symlink_to(".")
    os.mkfifo(root / "b" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(root / "b")  # the path of a socket is short
        server.bind("s.png")
        images = open_images(str(root), neutral_spec(16, 3))
    assert sum(map(len, images.splits)) == 40
    notes = "\n".join(images.card["notes"])
    assert "2 links that lead nowhere" in notes and "2 pipes, sockets and devices" in notes
    assert "3 links to a folder that is there already" in notes and not images.card["warnings"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_counted(tmp_path):
    root = make_pictures(tmp_path, {"a": 20, "b": 20, "c": 3})
    (root / "c").chmod(0)
    assert "folders that cannot be read" in told(scan(str(root)))
    (root / "c").chmod(0o755)


def test_many_links_across_folders_end(tmp_path):
    for i in range(12):
        (tmp_path / f"f{i}").mkdir()
        for j in range(12):
            (tmp_path / f"f{i}" / f"to{j}").symlink_to(f"../f{j}")
    assert len(walk(tmp_path).folders) < 12 * 12 * 13


def test_hidden_folders_and_those_of_archives_are_no_classes(tmp_path):
    root = make_pictures(tmp_path, {"a": 20, "b": 20, "__MACOSX": 5, ".cache": 5})
    listing = scan(str(root))
    assert listing.classes == ("a", "b") and "2 hidden files and folders" in told(listing)


def test_train_beside_an_archive_folder_is_train(tmp_path):
    make_pictures(tmp_path / "train", {"a": 20, "b": 20})
    make_pictures(tmp_path / "__MACOSX" / "train", {"a": 2})
    assert scan(str(tmp_path)).classes == ("a", "b")
