"""The archive of a release: the project, what it keeps in results/reference and all that is drawn
of it, in one zip file with checksums, ready for a repository such as Zenodo.

The same files give the same bytes, whenever and by whomever they are packed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

from gradflow.files import replacing

CHECKSUMS, ENVIRONMENT = "SHA256SUMS", "environment.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say
_READABLE, _PROGRAM = 0o100644, 0o100755


def project_files(project: Path) -> list[Path]:
    """The project's own files: those below its visible folders, results and caches apart."""
    return sorted(_below(project, without={"results"}))


def write_archive(target: Path, project: Path, files: Iterable[Path]) -> None:
    """Pack files into a zip file, and write its checksum beside it.

    In it is one folder, called as the zip file is. It has the files at their places, the versions
    of all packages of this environment, and the checksums of everything, as
    `sha256sum --check SHA256SUMS` reads them.

    Args:
        target: the zip file; `TARGET.sha256` appears beside it.
        project: the folder that files of the project are named from. Others have the name that they
            are given by, results/... of the current folder.
        files: what to pack.
    """
    contents = {_name(path, project): path for path in files}
    sums: dict[str, str] = {}
    with replacing(target) as aside:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:

            def add(name: str, content: bytes, mode: int = _READABLE) -> None:
                sums[name] = hashlib.sha256(content).hexdigest()
                info = zipfile.ZipInfo(f"{target.stem}/{name}", _EPOCH)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
                zipped.writestr(info, content)

            for name in sorted(contents):
                path = contents[name]
                add(name, path.read_bytes(), _PROGRAM if path.stat().st_mode & 0o100 else _READABLE)
            add(ENVIRONMENT, _environment().encode())
            add(CHECKSUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode())
        digest = hashlib.sha256(aside.read_bytes()).hexdigest()
    with replacing(target.with_name(f"{target.name}.sha256")) as aside:
        aside.write_text(f"{digest}  {target.name}\n")


def _below(folder: Path, without: Iterable[str] = ()) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__" or path.name in without:
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _name(path: Path, project: Path) -> str:
    """A file's place in the archive."""
    inside = path.resolve().is_relative_to(project.resolve())
    return (path.resolve().relative_to(project.resolve()) if inside else path).as_posix()


def _environment() -> str:
    """Python and every package of this environment, as JSON."""
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    said = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
    return json.dumps(said, indent=1) + "\n"
