"""Images made smaller, and subsets of a data set."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradflow.data.store import ImageData, fetch_dataset, load_dataset

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
