import dataclasses
import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain import make_job
from small_cifar import SmallCifar, pickled

from gradflow.data import cifar, sources
from gradflow.data import store as data
from gradflow.data.store import DataError, ImageData, fetch_dataset, load_dataset
from gradflow.study.datasets import SHAPES
from gradflow.training.train_job import load_job_data

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_dataset.py"


def fetch(dataset: str, out: Path, folder: Path | None = None) -> tuple[Path, dict]:
    output, manifest = out / f"{dataset}.safetensors", out / f"{dataset}.json"
    fetch_dataset(dataset, output, manifest, folder)
    assert sorted(out.iterdir()) == [manifest, output]
    return output, json.loads(manifest.read_text())


def refusal(dataset: str, out: Path, folder: Path | None = None) -> str:
    """Fetch, which must fail; return the sentence after checking that nothing was left behind."""
    with pytest.raises(DataError) as caught:
        fetch_dataset(dataset, out / f"{dataset}.safetensors", out / f"{dataset}.json", folder)
    message = str(caught.value)
    assert message and "\n" not in message
    assert not out.exists() or not list(out.iterdir())
    return message


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "data"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dataset: str, folder: Path) -> str:
        (folder / "half-written").write_bytes(b"half")
        raise DataError("the download from http://example.invalid failed (no route to host)")

    monkeypatch.setattr(data, "download", fail)


# --- digits ---------------------------------------------------------------------------------------


def test_digits_are_split_by_class_and_always_alike(out: Path) -> None:
    path, manifest = fetch("digits", out)
    first = path.read_bytes()
    fetch("digits", out)
    assert path.read_bytes() == first
    assert manifest["sha256"] == hashlib.sha256(first).hexdigest()
    assert manifest["counts"] == {"train": 1437, "test": 360}
    assert manifest["arrays"]["train_images"] == {"dtype": "uint8", "shape": [1437, 1, 8, 8]}

    digits = load_dataset(path)
    assert (digits.name, digits.classes) == ("digits", 10)
    assert digits.train_images.dtype == torch.uint8 and digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_labels.dtype == torch.int64 and digits.test_images.shape == (360, 1, 8, 8)
    assert int(digits.train_images.max()) == 16
    shares = torch.bincount(digits.test_labels) / torch.bincount(
        torch.cat([digits.train_labels, digits.test_labels])
    )
    assert (shares - 360 / 1797).abs().max() < 0.005
    pixels = digits.train_images.double()
    torch.testing.assert_close(digits.mean, pixels.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        digits.std, pixels.std((0, 2, 3), unbiased=False), rtol=1e-12, atol=0
    )


def test_digits_split_otherwise_are_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(SHAPES["digits"], sha256="0" * 64)
    monkeypatch.setitem(SHAPES, "digits", other)
    assert "scikit-learn" in refusal("digits", out)


# --- Fashion-MNIST --------------------------------------------------------------------------------


@pytest.mark.skipif(
    not sources.DEBIAN_FASHION_MNIST.is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_of_the_debian_package(out: Path) -> None:
    path, manifest = fetch("fashion_mnist", out)
    assert "dataset-fashion-mnist" in manifest["source"]
    assert manifest["source_sha256"] == sources.FASHION_MNIST_SHA256
    fashion = load_dataset(path)
    assert fashion.train_images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(fashion.train_labels).tolist() == [6_000] * 10
    assert torch.bincount(fashion.test_labels).tolist() == [1_000] * 10
    # The values that everybody uses for this data set.
    assert float(fashion.mean) / 255 == pytest.approx(0.2860, abs=5e-5)
    assert float(fashion.std) / 255 == pytest.approx(0.3530, abs=5e-5)


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Take away the Debian package; make a Fashion-MNIST of 20 + 10 images the true one; return its
    IDX files.
    """
    shape = dataclasses.replace(SHAPES["fashion_mnist"], train_images=20, test_images=10, sha256="")
    monkeypatch.setitem(SHAPES, "fashion_mnist", shape)
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "no-package")
    random = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        files[f"{prefix}-images-idx3-ubyte"] = header + random.bytes(count * 784)
        header = np.array([2049, count], ">i4").tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = header + bytes(i % 10 for i in range(count))
    for name, content in files.items():
        monkeypatch.setitem(sources.FASHION_MNIST_SHA256, name, hashlib.sha256(content).hexdigest())
    return files


def write_gz(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


@pytest.mark.parametrize("layout", ["fashion-mnist", "FashionMNIST/raw", "."])
def test_fashion_mnist_of_the_users_folder(
    layout: str, out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    write_gz(tmp_path / "mine" / layout, small_fashion)
    path, manifest = fetch("fashion_mnist", out, tmp_path / "mine")
    assert str(tmp_path / "mine") in manifest["source"]
    fashion = load_dataset(path)
    assert fashion.train_images.numpy().tobytes() == small_fashion["train-images-idx3-ubyte"][16:]
    assert fashion.test_labels.tolist() == list(range(10))


def test_fashion_mnist_uncompressed(
    out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    for name, content in small_fashion.items():
        (tmp_path / name).write_bytes(content)
    fetch("fashion_mnist", out, tmp_path)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


NAME = "t10k-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, content: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
        (
            lambda path, content: path.write_bytes(b""),
            "holds 0 bytes of content where 7856 are expected",
        ),
        (lambda path, content: path.write_bytes(b"no gzip"), "cannot be read"),
        (
            lambda path, content: flip(path, 200),
            "cannot be read",
        ),  # gzip's own checksum, or its structure
        (lambda path, content: path.write_bytes(gzip.compress(content[:-1] + b"\0")), "has sha256"),
        (lambda path, content: path.write_bytes(gzip.compress(content[:-784])), "holds 7072 bytes"),
        (
            lambda path, content: path.write_bytes(gzip.compress(content + b"\0")),
            "more than 7856 bytes",
        ),
        (lambda path, content: path.unlink(), "lacks"),
    ],
)
def test_a_damaged_fashion_mnist_is_a_sentence(
    damage, said: str, out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    write_gz(tmp_path / "mine", small_fashion)
    damage(tmp_path / "mine" / f"{NAME}.gz", small_fashion[NAME])
    message = refusal("fashion_mnist", out, tmp_path / "mine")
    assert said in message and f"{NAME}.gz" in message and "GRADFLOW_DATA" in message


def test_a_missing_data_set_names_every_place_tried(
    out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    message = refusal("fashion_mnist", out, tmp_path)
    for place in (
        str(tmp_path),
        "no-package",
        "http://example.invalid",
        "set GRADFLOW_DATA",
        "dataset-fashion-mnist",
    ):
        assert place in message
    assert "does not exist" in refusal("fashion_mnist", out, tmp_path / "misspelt")


# --- CIFAR ----------------------------------------------------------------------------------------


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    return SmallCifar(request.param, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def check_small(small: SmallCifar, path: Path, manifest: dict) -> None:
    loaded = load_dataset(path)
    pixels = np.concatenate([loaded.train_images.numpy(), loaded.test_images.numpy()])
    images, labels = small.stored
    assert images.tolist() != small.images.tolist()  # the source has another order
    assert np.array_equal(pixels.reshape(14, 3072), images)
    assert loaded.train_labels.tolist() + loaded.test_labels.tolist() == labels
    assert manifest["arrays_sha256"] == loaded.sha256
    assert loaded.mean.shape == loaded.std.shape == (3,)
    assert manifest["class_names"][:2] == ["class 0", "class 1"]
    assert set(manifest["source_sha256"]) == set(small.batches)


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


# --- download -------------------------------------------------------------------------------------


def test_a_download_is_read_and_its_folder_removed(
    small: SmallCifar, out: Path, mine: Path
) -> None:
    archive = small.write_archive(mine).read_bytes()

    def download(dataset: str, folder: Path) -> str:
        (folder / small.files.archive).write_bytes(archive)
        return "http://example.org"

    small.monkeypatch.setattr(data, "download", download)
    path, manifest = fetch(small.dataset, out)
    assert manifest["source"] == "downloaded from http://example.org"
    check_small(small, path, manifest)


@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar10", "cifar100"])
def test_torchvision_is_asked_for_files_with_our_checksums(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from torchvision.datasets import utils

    asked = []

    def record(url: str, root: str, md5: str) -> None:
        asked.append((url.rsplit("/", 1)[1], md5))
        assert socket.getdefaulttimeout() == data.STALL_SECONDS

    monkeypatch.undo()  # of `no_network`
    monkeypatch.setattr(utils, "download_url", record)
    data.download(dataset, tmp_path)
    if dataset == "fashion_mnist":
        assert [name for name, _ in asked] == [
            f"{name}.gz" for name in sources.FASHION_MNIST_SHA256
        ]
    else:
        assert asked == [(cifar.CIFAR[dataset].archive, cifar.CIFAR[dataset].archive_md5)]
    assert socket.getdefaulttimeout() is None

    def fail(url: str, root: str, md5: str) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(utils, "download_url", fail)
    with pytest.raises(DataError, match=r"^the download from http.* failed \(timed out\)$"):
        data.download(dataset, tmp_path)


# --- reading and the script -----------------------------------------------------------------------


def test_flipped_bits_and_lost_files_are_named_on_reading(
    small: SmallCifar, out: Path, mine: Path
) -> None:
    small.write_archive(mine)
    path, _ = fetch(small.dataset, out, mine)
    flip(path, -10)
    with pytest.raises(DataError, match=rf"{path} has sha256 .* run the same command again"):
        load_dataset(path)
    path.unlink()
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        load_dataset(path)
    path.with_suffix(".json").write_text('{"dataset": ')
    with pytest.raises(DataError, match="is no manifest of a data set"):
        load_dataset(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(path)


def test_a_result_that_cannot_be_written_is_a_sentence(
    small: SmallCifar, tmp_path: Path, mine: Path
) -> None:
    small.write_archive(mine)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be read or written"):
        fetch(small.dataset, tmp_path / "file", mine)


def test_the_script_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"truncated")
    command = [
        sys.executable,
        SCRIPT,
        "cifar10",
        "--output",
        tmp_path / "o.safetensors",
        "--manifest",
        tmp_path / "o.json",
    ]
    environment = os.environ | {
        "GRADFLOW_DATA": str(tmp_path),
        "PYTHONPATH": str(SCRIPT.parents[1] / "src"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "c58f30108f718f92721af3b95e74349a" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def test_the_script_writes_both_files(small: SmallCifar, out: Path, mine: Path) -> None:
    small.write_archive(mine)
    specification = importlib.util.spec_from_file_location("fetch_dataset", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    path = out / f"{small.dataset}.safetensors"
    arguments = [
        small.dataset,
        "--output",
        path,
        "--manifest",
        path.with_suffix(".json"),
        "--folder",
        mine,
    ]
    assert script.main([str(argument) for argument in arguments]) == 0
    assert load_dataset(path).name == small.dataset


def test_fetching_needs_no_torch() -> None:
    code = "import sys, gradflow.data.store; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1] / "src")}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


# --- a subset -------------------------------------------------------------------------------------


def test_a_subset_has_each_classs_share_and_the_data_sets_statistics(out: Path) -> None:
    out = out.with_name("digits.safetensors")
    fetch_dataset("digits", out, out.with_suffix(".json"))
    whole = load_dataset(out)
    some, more = whole.subset(400), whole.subset(1000)
    assert len(some.train_images) == len(some.train_labels) == 400
    shares = torch.bincount(whole.train_labels) * 400 / len(whole.train_labels)
    assert (torch.bincount(some.train_labels, minlength=10) - shares).abs().max() <= 1
    # images with their labels, in their order, each once, and the smaller within the larger
    keys = rows(whole)
    places = [keys.index(row) for row in rows(some)]
    assert places == sorted(set(places))
    assert set(rows(some)) <= set(rows(more))
    assert places != list(range(400))
    assert rows(whole.subset(400)) == rows(some) and rows(whole.subset(1437)) == keys
    for name in ("test_images", "test_labels", "mean", "std"):
        assert getattr(some, name) is getattr(whole, name)
    with pytest.raises(
        ValueError, match="train_images is 1438, but digits has 1437 training images"
    ):
        whole.subset(1438)


def rows(data: ImageData) -> list[tuple[bytes, int]]:
    """The training images with their labels."""
    return [
        (image.numpy().tobytes(), int(label))
        for image, label in zip(data.train_images, data.train_labels, strict=True)
    ]


def test_a_balanced_data_set_has_balanced_subsets(out: Path) -> None:
    labels = torch.arange(600) % 10
    images = torch.arange(600).to(torch.uint8).view(-1, 1, 1, 1)
    data = ImageData(
        "fashion_mnist", 10, images, labels, images, labels, torch.zeros(1), torch.ones(1)
    )
    assert torch.bincount(data.subset(100).train_labels).tolist() == [10] * 10


# --- smaller images -------------------------------------------------------------------------------


def random_images(side: int, channels: int = 3) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    train, test = (
        torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
        for count in (1030, 5)
    )
    labels = torch.zeros(len(train), dtype=torch.int64)
    nothing = torch.zeros(channels, dtype=torch.float64)
    return ImageData("mine", 1, train, labels, test, labels[:5], nothing, nothing, "abc")


@pytest.mark.parametrize(
    ("side", "smaller"), [(28, 14), (32, 8), (32, 16), (8, 8), (28, 8), (32, 5)]
)
def test_images_are_averaged_down(side: int, smaller: int) -> None:
    whole = random_images(side)
    small = whole.averaged(smaller)
    for before, after in (
        (whole.train_images, small.train_images),
        (whole.test_images, small.test_images),
    ):
        assert after.dtype == torch.uint8
        assert after.shape == (len(before), 3, smaller, smaller)
        # every pixel as smaller x smaller points, of which each averaged pixel takes side x side
        some = [*range(5), *range(1020, len(before))]  # images are averaged 1,024 at a time
        points = before[some].double().repeat_interleave(smaller, -1)
        exact = F.avg_pool2d(points.repeat_interleave(smaller, -2), side)
        assert (after[some] - exact).abs().max() <= 0.5 + 1e-9
    pixels = small.train_images.double()
    torch.testing.assert_close(small.mean, pixels.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(small.std, pixels.std((0, 2, 3), correction=0), rtol=1e-9, atol=0)
    assert (small.name, small.sha256, small.train_labels) == ("mine", "abc", whole.train_labels)


def test_halves_are_rounded_up() -> None:
    whole = random_images(2, channels=1)
    whole.train_images[0, 0] = torch.tensor([[1, 2], [2, 1]])
    whole.train_images[1, 0] = torch.tensor([[255, 255], [254, 254]])
    whole.train_images[2, 0] = torch.tensor([[1, 1], [1, 2]])
    assert whole.averaged(1).train_images[:3].flatten().tolist() == [2, 255, 1]
    with pytest.raises(
        ValueError, match="image_side is 3, but mine has images of 2x2 pixels of type uint8"
    ):
        whole.averaged(3)


def test_other_data_do_not_pass_for_the_named(tmp_path: Path) -> None:
    path = tmp_path / "data" / "digits.safetensors"
    fetch_dataset("digits", path, path.with_suffix(".json"))
    job = make_job("sgd", image_side=4, train_images=100)
    named = dataclasses.replace(job, data=SHAPES["digits"].sha256)
    data = load_job_data(named, tmp_path)
    assert data.train_images.shape == (100, 1, 4, 4) and data.test_images.shape == (360, 1, 4, 4)
    assert torch.equal(data.mean, load_dataset(path).averaged(4).mean)
    other = dataclasses.replace(job, data="0" * 64)
    with pytest.raises(DataError, match=r"holds arrays of sha256 28d636f2.* where 0000.*again"):
        load_job_data(other, tmp_path)
    assert not path.exists()
