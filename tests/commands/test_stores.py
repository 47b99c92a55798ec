"""Images in lists, tar and Parquet files and at addresses: the results of the same images as files.

Each collection holds the four images that the folder holds, under the same names.
"""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import occ_order
from occ_order.cli import main
from occ_order.commands.inputs import find_inputs, images_of
from occ_order.commands.stores import listed

ROOT = Path(occ_order.__file__).parents[1]
AREA = ["--config-file", str(ROOT / "configs/InstaOrder/scenes/area.yaml")]
NAMES = ("a.png", "b.jpg", "x/a.png", "y.png")


@pytest.fixture
def folder(tmp_path):
    """Four images in a folder, one turned by its EXIF orientation, and their label maps."""
    (tmp_path / "images" / "x").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for k, name in enumerate(NAMES):
        image = Image.new("RGB", (32, 48) if k == 1 else (48, 32), (50 * k, 90, 200))
        exif = Image.Exif()
        exif[0x0112] = 6 if k == 1 else 1
        image.save(tmp_path / "images" / name, exif=exif)
    for name in ("a", "b", "y"):
        labels = np.zeros((32, 48), np.uint8)
        labels[4:20, 4:16], labels[12:30, 10:40] = 1, 2
        Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def contents(folder):
    return [(name, (folder / "images" / name).read_bytes()) for name in NAMES]


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def make_table(path, columns, **more):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), path, row_group_size=3, **more)
    return str(path)


def in_list(folder):
    (folder / "list.txt").write_text("\n".join(["images", ""]))
    return str(folder / "list.txt")


def in_tar(folder):
    """As WebDataset has it: other files beside the images, of which a pickle would run code."""
    members = [("a.json", b"{}"), ("a.pkl", b"cos\nsystem\n(S'false'\ntR."), ("._a.png", b"x")]
    return make_tar(folder / "shard.tar", [*members, *contents(folder)])


def in_shards(folder):
    """A folder of tar files, which count in the order of their names."""
    (folder / "shards").mkdir()
    made = contents(folder)
    make_tar(folder / "shards" / "01.tar", made[2:])
    make_tar(folder / "shards" / "00.tar", made[:2])
    return str(folder / "shards")


def in_table(folder):
    made = contents(folder)
    columns = {"caption": [""] * 4, "bytes": [c for _, c in made], "file_name": list(NAMES)}
    return make_table(folder / "t.parquet", columns)


def in_structs(folder):
    """As Hugging Face's datasets write images."""
    column = [{"bytes": content, "path": name} for name, content in contents(folder)]
    return make_table(folder / "t.parquet", {"image": column, "file_name": ["wrong"] * 4})


def in_paths(folder):
    return make_table(folder / "images" / "t.parquet", {"path": list(NAMES)})


def at_address(folder):
    pytest.importorskip("fsspec")
    return f"file://{folder}/images"


def tar_at_address(folder):
    pytest.importorskip("fsspec")
    return f"file://{in_tar(folder)}"


def table_at_address(folder):
    pytest.importorskip("fsspec")
    return f"file://{in_structs(folder)}"


def in_memory(folder):
    """An object store that fsspec brings along."""
    fsspec = pytest.importorskip("fsspec")
    for name, content in contents(folder):
        fsspec.filesystem("memory").pipe(f"/bucket/images/{name}", content)
    fsspec.filesystem("memory").pipe("/bucket/images/.hidden.png", b"x")
    return "memory://bucket/images"


KINDS = (in_list, in_tar, in_shards, in_table, in_structs, in_paths, at_address, in_memory)
KINDS += (tar_at_address, table_at_address)


def predicted(folder, source, output, *more):
    words = ["predict", source, "--masks", str(folder / "labels"), *AREA, "--json-only"]
    assert main([*words, "--output", str(folder / output), *more]) == 0
    return (folder / output / "order_results.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_collection_gives_what_the_folder_gives(folder, kind):
    pytest.importorskip("detectron2")
    expected = predicted(folder, str(folder / "images"), "expected")
    source = kind(folder)
    assert predicted(folder, source, "out") == expected
    shard = ["--shard", "0/1", "--part-size", "3"]
    assert predicted(folder, source, "parts", *shard) == expected


def test_only_what_is_asked_for_is_read_of_a_table(folder):
    """Rows of the second row group, which are its first."""
    inputs = find_inputs([in_table(folder)])
    (last,) = images_of(inputs[3:])
    assert last.content == contents(folder)[3][1] and last.place.member == (1, 0)


def test_a_named_column_and_names_that_are_missing(folder):
    column = [content for _, content in contents(folder)]
    source = make_table(folder / "t.parquet", {"bytes": [b"x"] * 4, "photo": column})
    inputs = list(images_of(find_inputs([source], "photo")))
    assert [one.name for one in inputs] == [f"t_{k:06d}" for k in range(4)]
    assert [one.content for one in inputs] == column


def test_a_row_without_an_image_stops_no_other(folder):
    column = [content for _, content in contents(folder)]
    source = make_table(folder / "t.parquet", {"bytes": [column[0], None, column[2]]})
    inputs = list(images_of(find_inputs([source])))
    assert "row 1 has no image" in str(inputs[1].error)
    assert [one.content for one in inputs] == [column[0], None, column[2]]


def test_names_that_lead_out_are_cut(folder):
    content = contents(folder)[0][1]
    names = ["../../a.png", "/etc/b.png", "x/../c.png", "..\\d.png"]
    source = make_tar(folder / "t.tar", [(name, content) for name in names])
    assert [name for name, _ in listed(source)] == ["a.png", "b.png", "c.png", "d.png"]


def test_a_link_in_a_tar_file_is_no_image(folder):
    with tarfile.open(folder / "t.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ValueError, match="there is no image in it"):
        find_inputs([str(folder / "t.tar")])


def test_a_tar_file_that_ends_early_loses_what_is_behind(folder):
    source = in_tar(folder)
    inputs = find_inputs([source])
    content = Path(source).read_bytes()
    Path(source).write_bytes(content[: sum(inputs[2].place.member) - 1])
    found = list(images_of(inputs))
    assert [one.error is None for one in found] == [True, True, False, False]
    assert "ends within an image" in str(found[2].error)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tar", b"no tar file" * 100, "a.tar: not a tar file that can be read"),
        ("a.parquet", b"PAR1 no PAR1", "a.parquet: not a Parquet file that can be read"),
        ("a.txt", b"nobody.png\n", "nobody.png: no such file"),
        ("a.txt", b"\xff\xfe\xff", "a.txt: not text in UTF-8"),
    ],
)
def test_damaged_collections_are_named(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_inputs([str(tmp_path / name)])


def test_a_compressed_tar_file_is_refused(folder):
    source = make_tar(folder / "a.tar", contents(folder), "w:gz")
    with pytest.raises(ValueError, match="not a tar file that can be read"):
        find_inputs([source])


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        ({"path": ["http://127.0.0.1:9/a.png"]}, "", "names 'http://127.0.0.1:9/a.png'; a Parquet"),
        ({"path": ["../a.png"]}, "", "must stay inside"),
        ({"path": ["/etc/a.png"]}, "", "must stay inside"),
        ({"path": [None, "a.png"]}, "", "names None"),
        ({"number": [1]}, "", "t.parquet: no column image or .*; it has .'number'.: choose one"),
        ({"bytes": [b"x"], "number": [1]}, "number", "no column number of bytes or paths"),
    ],
)
def test_tables_without_images_or_with_files_elsewhere(tmp_path, columns, wanted, message):
    source = make_table(tmp_path / "t.parquet", columns)
    with pytest.raises(ValueError, match=message):
        find_inputs([source], wanted)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.*g", ["a.png", "b.jpg", "y.png"]), ("**/a*", ["a.png", "a.png"]), ("y.png", ["y.png"])],
)
def test_globs_and_files_at_addresses(folder, pattern, expected):
    source = f"{in_memory(folder)}/{pattern}"
    assert [one.file_name for one in find_inputs([source])] == expected


def test_an_address_with_nothing_is_named():
    pytest.importorskip("fsspec")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_inputs(["memory://nowhere/images"])


def test_an_address_of_no_known_kind_is_named():
    pytest.importorskip("fsspec")
    with pytest.raises(ValueError, match="nosuch"):
        find_inputs(["nosuch://bucket/images"])
