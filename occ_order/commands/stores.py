"""Images that lie elsewhere than in files of their own: at addresses, in tar and Parquet files.

An address is whatever fsspec opens (s3://, gs://, https:// ...), of an image, a folder, a tar or a
Parquet file. A tar file is read as WebDataset has it: its images in their order, everything else in
it left alone; nothing is unpacked, and nothing in it is run. A row of a Parquet file has an image
in one column: its bytes, {"bytes", "path"} as Hugging Face writes them, or the path of a file.

fsspec and PyArrow are imported where there is such an input.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from occ_order.files import IMAGE_ENDINGS, DataError, join_path, show

SHARDS = (".tar", ".parquet")
"""Endings of files that hold many images."""

COLUMNS = ("image", "bytes", "content", "jpg", "jpeg", "png", "webp", "path", "file_name")
"""Names of the column with the images where none is named, the first that is there."""

NAMES = ("file_name", "path", "name", "__key__", "key")
"""Names of the column with the names of the images, the first that is there and has text."""


@dataclass(frozen=True)
class Place:
    """Where an image lies.

    Attributes:
        source: address or path of the file.
        size: bytes of the image, or of the whole file where that is what is known.
        member: of a tar file (offset, bytes), of a Parquet file (row group, row in it); None: the
            file is the image.
        column: of a Parquet file.
    """

    source: str
    size: int
    member: tuple[int, int] | None = None
    column: str = ""

    @property
    def unit(self) -> tuple[Any, ...]:
        """What is opened once for all that lies in it."""
        if self.column:
            return self.source, self.column, self.member[0]
        return (self.source, "") if self.member else (self.source,)


def is_address(text: str) -> bool:
    """Return whether a text is an address, and no path."""
    return "://" in text


def plain_name(name: str) -> str:
    """Return a name that another file gives to an image, relative; else its last part.

    It is written into results, and files are named after it.
    """
    name = name.replace("\\", "/")
    plain = posixpath.normpath(name)
    outside = plain.startswith(("/", "..")) or is_address(name)
    return posixpath.basename(plain) if outside else plain


def listed(source: str, column: str = "") -> Iterator[tuple[str, Place | str]]:
    """Yield the images of an address, a tar or a Parquet file, in their order.

    Args:
        source: address, or path of a tar or Parquet file.
        column: of a Parquet file; "" = the first of `COLUMNS` that it has.

    Yields:
        Name, and where it lies; a path where a Parquet file of this machine names one.

    Raises:
        ImportError: fsspec or PyArrow is missing.
        FileNotFoundError: there is nothing at the address.
        OSError: it cannot be reached.
        ValueError: the file is damaged, has no such column, or names a file elsewhere.
    """
    if source.lower().endswith(".tar"):
        yield from _members(source)
    elif source.lower().endswith(".parquet"):
        yield from _table_rows(source, column)
    else:
        for name, place in _found(source):
            if name.lower().endswith(SHARDS):
                yield from listed(place.source, column)
            else:
                yield name, place


def read(places: Sequence[Place]) -> Iterator[bytes | ValueError]:
    """Yield the bytes of images of one `unit`, or why an image has none.

    Raises:
        ImportError, OSError, ValueError: as `listed`.
    """
    first = places[0]
    with _opened(first.source) as file:
        if first.column:
            table = _parquet(file, first.source).read_row_group(first.member[0], [first.column])
            values = _only_column(table)
            for place in places:
                content = values[place.member[1]].as_py()
                missing = f"{place.source}: row {place.member[1]} has no image"
                yield ValueError(missing) if content is None else content
        elif first.member is None:
            yield file.read()
        else:
            for place in places:
                file.seek(place.member[0])
                content = file.read(place.size)
                short = f"{place.source}: ends within an image, of {place.size} bytes"
                yield content if len(content) == place.size else ValueError(short)


# --- addresses


@contextmanager
def _reached(source: str) -> Iterator[None]:
    """Any error of what opens addresses becomes an OSError that names it."""
    try:
        yield
    except (ImportError, ValueError, OSError):
        raise
    except Exception as error:  # each store has errors of its own
        raise OSError(f"{source}: {type(error).__name__}: {error}") from None


def _file_system(source: str) -> tuple[Any, str]:
    """Return the file system of an address or a path, and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ImportError(f'{source}: addresses need fsspec: pip install "occ_order[ray]"') from (
            error
        )
    return fsspec.core.url_to_fs(source)


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """Open a file at an address, or at a path, to read it."""
    if not is_address(source):
        with open(source, "rb") as file:
            yield file
        return
    with _reached(source):
        system, path = _file_system(source)
        with system.open(path, "rb") as file:
            yield file


def _found(source: str) -> list[tuple[str, Place]]:
    """Return the image at an address; of a folder or a glob (*) all images, else tar and Parquet.

    Raises:
        FileNotFoundError: there is none.
    """
    with _reached(source):
        system, root = _file_system(source)
        base = ""
        if "*" in source:
            details = system.glob(root, detail=True)
        elif not source.lower().endswith(IMAGE_ENDINGS) and system.isdir(root):
            details = system.find(root, detail=True)
            base = root.rstrip("/") + "/"
        else:
            size = system.info(root)["size"] or 0
            return [(posixpath.basename(root), Place(system.unstrip_protocol(root), size))]
    names = {
        path: path.removeprefix(base) if base else posixpath.basename(path)
        for path, detail in sorted(details.items())
        if detail["type"] == "file"
    }
    shown = {p: n for p, n in names.items() if not any(w.startswith(".") for w in n.split("/"))}
    for endings in (IMAGE_ENDINGS, SHARDS):
        found = [path for path, name in shown.items() if name.lower().endswith(endings)]
        if found:
            return [
                (shown[path], Place(system.unstrip_protocol(path), details[path]["size"] or 0))
                for path in found
            ]
    raise FileNotFoundError(f"{source}: no image there, and no {' or '.join(SHARDS)} file")


# --- tar files


def _members(source: str) -> Iterator[tuple[str, Place]]:
    """Yield the images of a tar file that is not compressed."""
    count = 0
    with _opened(source) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    name = plain_name(member.name)
                    hidden = PurePosixPath(name).name.startswith(".")
                    if hidden or not name.lower().endswith(IMAGE_ENDINGS):
                        continue
                    if not member.isreg() or member.issparse():
                        continue
                    count += 1
                    at = (member.offset_data, member.size)
                    yield name, Place(source, member.size, at)
        except tarfile.TarError as error:
            raise DataError(f"{source}: not a tar file that can be read ({error})") from None
    if not count:
        raise DataError(f"{source}: there is no image in it")


# --- Parquet files


def _parquet(file: BinaryIO, source: str) -> Any:
    """Return the open Parquet file.

    Raises:
        ImportError: PyArrow is missing.
        ValueError: it is none.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise ImportError(f'{source}: Parquet needs PyArrow: pip install "occ_order[ray]"') from (
            error
        )
    try:
        return ParquetFile(file)
    except pyarrow.ArrowException as error:
        raise DataError(f"{source}: not a Parquet file that can be read ({error})") from None


def _only_column(table: Any) -> Any:
    """Return the column of a table that was read of one column, or of one field of a column."""
    import pyarrow.types as kinds

    while kinds.is_struct(table.schema.field(0).type):
        table = table.flatten()
    return table.column(0)


def _table_rows(source: str, column: str) -> Iterator[tuple[str, Place | str]]:
    """Yield the rows of a Parquet file; only the names are read."""
    with _opened(source) as file:
        table = _parquet(file, source)
        images, names, paths = _columns(table.schema_arrow, column, source)
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            said = [None] * count
            if names:
                said = _only_column(table.read_row_group(group, [names])).to_pylist()
            first = sum(table.metadata.row_group(k).num_rows for k in range(group))
            for row, name in enumerate(said):
                if paths:
                    yield name, _beside(source, name)
                    continue
                size = table.metadata.row_group(group).total_byte_size
                name = name or f"{PurePosixPath(source).stem}_{first + row:06d}"
                yield plain_name(name), Place(source, size, (group, row), images)


def _columns(schema: Any, wanted: str, source: str) -> tuple[str, str, bool]:
    """Return the column of images, that of names or "", and whether images are paths.

    Raises:
        ValueError: there is none that holds images.
    """
    import pyarrow.types as kinds

    def text(name: str) -> bool:
        return name in schema.names and (
            kinds.is_string(schema.field(name).type)
            or kinds.is_large_string(schema.field(name).type)
        )

    names = next((name for name in NAMES if name != wanted and text(name)), "")
    for name in [wanted] if wanted else COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if kinds.is_binary(kind) or kinds.is_large_binary(kind):
            return name, names, False
        if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            inside = f"{name}.path" if kind.get_field_index("path") >= 0 else names
            return f"{name}.bytes", inside, False
        if text(name):
            return name, name, True
    raise DataError(
        f"{source}: no column {wanted or ' or '.join(COLUMNS)} of bytes or paths; it has "
        f"{show(list(schema.names))}: name one by --column"
    )


def _beside(source: str, name: str | None) -> Place | str:
    """Return where a file lies that a Parquet file names, in its own folder or below.

    Raises:
        ValueError: no name, an address, or a path that leads out of the folder.
    """
    if name is None or is_address(name):
        raise DataError(
            f"{source}: names {show(name)}; a Parquet file names files in its own folder alone, a "
            "list (.txt) may hold addresses"
        )
    try:
        if is_address(source):
            return Place(posixpath.join(posixpath.dirname(source), join_path("", name)), 0)
        return join_path(posixpath.dirname(source) or ".", name)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from None
