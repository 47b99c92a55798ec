"""Images in remote storage and in tar and Parquet files.

A URL is anything that fsspec supports (s3://, gs://, https:// ...): an image, a folder, a tar or a
Parquet file. A tar file is read in WebDataset format: its images in order, ignoring all other
files; nothing is unpacked or executed. A row of a Parquet file has an image in one column: its
bytes, {"bytes", "path"} as written by Hugging Face, or the path of a file.

fsspec and PyArrow are imported only for such inputs.
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
"""Extensions of files that contain many images."""

COLUMNS = ("image", "bytes", "content", "jpg", "jpeg", "png", "webp", "path", "file_name")
"""Default names of the image column; the first existing one is used."""

NAMES = ("file_name", "path", "name", "__key__", "key")
"""Names of the column of image names; the first existing one with text is used."""


@dataclass(frozen=True)
class Place:
    """Location of an image.

    Attributes:
        source: URL or path of the file.
        size: size of the image in bytes, or of the whole file if only that is known.
        member: in a tar file (offset, bytes), in a Parquet file (row group, row in it); None: the
            file is the image.
        column: image column of a Parquet file.
    """

    source: str
    size: int
    member: tuple[int, int] | None = None
    column: str = ""

    @property
    def unit(self) -> tuple[Any, ...]:
        """Key of the file that is opened once for all of its images."""
        if self.member is None:
            return (self.source,)
        return (self.source, self.column, self.member[0]) if self.column else (self.source, "")


def is_address(text: str) -> bool:
    """Return whether a text is a URL instead of a path."""
    return "://" in text


def plain_name(name: str) -> str:
    """Return an image name from another file if it is relative, else its last part.

    The name is written to results and used as a file name.
    """
    name = name.replace("\\", "/")
    plain = posixpath.normpath(name)
    outside = plain.startswith(("/", "..")) or is_address(name)
    return posixpath.basename(plain) if outside else plain


def listed(source: str, column: str = "") -> Iterator[tuple[str, Place | str]]:
    """Yield the images of a URL, a tar or a Parquet file, in order.

    Args:
        source: URL, or path of a tar or Parquet file.
        column: image column of a Parquet file; "" = the first existing one of `COLUMNS`.

    Yields:
        Name and place; a path if a local Parquet file contains paths.

    Raises:
        ImportError: fsspec or PyArrow is not installed.
        FileNotFoundError: the URL does not exist.
        OSError: the URL cannot be read.
        ValueError: the file is damaged, has no such column, or refers to a file elsewhere.
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
    """Yield the bytes of images with the same `unit`, or an error for an image.

    Raises:
        ImportError, OSError, ValueError: see `listed`.
    """
    source, column = places[0].source, places[0].column
    members = [place.member for place in places if place.member is not None]
    with _opened(source) as file:
        if not members:
            yield file.read()
        elif column:
            values = _only_column(_parquet(file, source).read_row_group(members[0][0], [column]))
            for _, row in members:
                content = values[row].as_py()
                missing = f"{source}: row {row} has no image"
                yield ValueError(missing) if content is None else content
        else:
            for offset, size in members:
                file.seek(offset)
                content = file.read(size)
                short = f"{source}: ends within an image, of {size} bytes"
                yield content if len(content) == size else ValueError(short)


# --- URLs


@contextmanager
def _reached(source: str) -> Iterator[None]:
    """Convert any error of a remote file system to an OSError that names the URL."""
    try:
        yield
    except (ImportError, ValueError, OSError):
        raise
    except Exception as error:  # file systems raise their own errors
        raise OSError(f"{source}: {type(error).__name__}: {error}") from None


def _file_system(source: str) -> tuple[Any, str]:
    """Return the file system of a URL or a path, and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ImportError(f'{source}: URLs need fsspec: pip install "occ_order[ray]"') from (error)
    return fsspec.core.url_to_fs(source)


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """Open a file at a URL or path for reading."""
    if not is_address(source):
        with open(source, "rb") as file:
            yield file
        return
    with _reached(source):
        system, path = _file_system(source)
        with system.open(path, "rb") as file:
            yield file


def _found(source: str) -> list[tuple[str, Place]]:
    """Return the image at a URL, or all images of a folder or glob, else its tar and Parquet files.

    Raises:
        FileNotFoundError: there are none.
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
    """Yield the images of an uncompressed tar file."""
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
    """Open a Parquet file.

    Raises:
        ImportError: PyArrow is not installed.
        ValueError: it is not a Parquet file.
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
    """Return the only column of a table, or the only field of its column."""
    import pyarrow.types as kinds

    while kinds.is_struct(table.schema.field(0).type):
        table = table.flatten()
    return table.column(0)


def _table_rows(source: str, column: str) -> Iterator[tuple[str, Place | str]]:
    """Yield the rows of a Parquet file; reads only the names."""
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
                    yield _beside(source, name)
                    continue
                size = table.metadata.row_group(group).total_byte_size
                name = name or f"{PurePosixPath(source).stem}_{first + row:06d}"
                yield plain_name(name), Place(source, size, (group, row), images)


def _columns(schema: Any, wanted: str, source: str) -> tuple[str, str, bool]:
    """Return the image column, the name column or "", and whether images are paths.

    Raises:
        ValueError: there is no image column.
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
        f"{show(list(schema.names))}: choose one with --column"
    )


def _beside(source: str, name: str | None) -> tuple[str, Place | str]:
    """Return name and place of a file that a Parquet file refers to, in its own folder or below.

    Raises:
        ValueError: no name, a URL, or a path to the outside of the folder.
    """
    if name is None or is_address(name):
        raise DataError(
            f"{source}: names {show(name)}; a Parquet file may only use files of its own folder, a "
            "list (.txt) may contain URLs"
        )
    try:
        if is_address(source):
            return name, Place(posixpath.join(posixpath.dirname(source), join_path("", name)), 0)
        return name, join_path(posixpath.dirname(source) or ".", name)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from None
