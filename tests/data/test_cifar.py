"""CIFAR as its authors publish it: an archive, or the folder in it."""

import os
from pathlib import Path

import pytest
from fetching import check_small, fetch, flip, refusal
from small_cifar import SmallCifar, pickled

from gradflow.data import cifar


def test_cifar_of_an_archive(small: SmallCifar, out: Path, mine: Path) -> None:
    small.write_archive(mine)
    check_small(small, *fetch(small.dataset, out, mine))
    assert [path.name for path in mine.iterdir()] == [small.files.archive]


@pytest.mark.parametrize("named", ["the parent", "itself"])
def test_cifar_of_an_extracted_folder(named: str, small: SmallCifar, out: Path, mine: Path) -> None:
    small.write_folder(mine / small.files.folder)
    check_small(
        small,
        *fetch(small.dataset, out, mine if named == "the parent" else mine / small.files.folder),
    )


@pytest.mark.parametrize(
    "change", [lambda path: flip(path, 100), lambda path: path.write_bytes(b"\x1f\x8b")]
)
def test_a_damaged_archive_is_a_sentence(change, small: SmallCifar, out: Path, mine: Path) -> None:
    path = small.write_archive(mine)
    change(path)
    message = refusal(small.dataset, out, mine)
    assert str(path) in message and "has md5" in message and "is expected; replace it" in message


def test_a_damaged_or_missing_batch_is_a_sentence(small: SmallCifar, out: Path, mine: Path) -> None:
    (batch,) = small.files.test_md5
    small.write_folder(mine / small.files.folder)
    flip(mine / small.files.folder / batch, 100)
    assert f"{batch} in" in (message := refusal(small.dataset, out, mine)) and "has md5" in message
    (mine / small.files.folder / batch).unlink()
    assert f"lacks {batch}" in refusal(small.dataset, out, mine)


def test_members_outside_the_archives_folder_are_never_written(
    small: SmallCifar, out: Path, mine: Path
) -> None:
    small.write_archive(mine, {"../evil": b"evil", f"{mine.parent}/evil": b"evil"})
    before = set(mine.parent.rglob("*"))
    fetch(small.dataset, out, mine)
    assert {
        path for path in mine.parent.rglob("*") if out.parent not in (path, *path.parents)
    } == before

    (batch,) = small.files.test_md5
    small.write_archive(mine, {f"../{batch}": small.batches.pop(batch)})
    assert f"lacks {batch}" in refusal(small.dataset, out.parent / "again", mine)


@pytest.mark.parametrize(
    "attack", [b"cos\nsystem\n(S'touch %s'\ntR.", b'cbuiltins\nexec\n(S\'open("%s", "w")\'\ntR.']
)
def test_a_malicious_pickle_is_refused(
    attack: bytes, small: SmallCifar, out: Path, mine: Path
) -> None:
    target = mine.parent / "owned"
    (batch,) = small.files.test_md5
    small.batches[batch] = attack % os.fsencode(target)
    path = small.write_archive(mine)
    assert "is refused as a pickle (it asks for" in refusal(small.dataset, out, mine)
    assert not target.exists()

    flip(path, 100)  # and nothing at all is unpickled when the checksum is wrong
    small.monkeypatch.setattr(
        cifar, "_unpickle", lambda *_: pytest.fail("unpickled before verification")
    )
    assert "has md5" in refusal(small.dataset, out, mine)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda small: small.batch(10, 13),
            "3 test images and 3 labels where 4 of each are expected",
        ),
        (lambda small: pickled({b"data": small.images[10:]}), "is not laid out as"),
        (lambda small: pickled([1, 2]), "is not laid out as"),
        (
            lambda small: pickled(
                {b"data": small.images[10:], small.files.labels_key: [0, 1, 2, 200]}
            ),
            "label 200",
        ),
        (
            lambda small: pickled(
                {b"data": small.images[10:], small.files.labels_key: [0, 1, 2, 300]}
            ),
            "not laid out",
        ),
        (lambda small: small.batch(10, 14)[:-20], "is refused as a pickle"),
    ],
)
def test_batches_of_other_content_are_a_sentence(
    content, said: str, small: SmallCifar, out: Path, mine: Path
) -> None:
    (batch,) = small.files.test_md5
    small.batches[batch] = content(small)
    small.write_archive(mine)
    assert said in refusal(small.dataset, out, mine)
