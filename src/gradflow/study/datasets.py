"""What is known of each data set without opening it. Free of torch, because Snakemake imports
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradflow.study import own


@dataclass(frozen=True)
class DatasetShape:
    """Counts and shapes of a data set; `side` in pixels, or (height, width) where they differ.

    `sha256` is that of the stored arrays, see `data.store`. The data sets of the paper are what
    they are, so it is known before anything is fetched. Empty: nobody vouches for the content.
    """

    channels: int
    side: int | tuple[int, int]
    classes: int
    train_images: int
    test_images: int
    sha256: str = ""

    @property
    def inputs(self) -> int:
        """Length n of a flattened image; the paper's maximum width is n + 4."""
        return self.channels * self.height * self.width

    @property
    def height(self) -> int:
        """Of an image, in pixels."""
        return self.side if isinstance(self.side, int) else self.side[0]

    @property
    def width(self) -> int:
        """Of an image, in pixels."""
        return self.side if isinstance(self.side, int) else self.side[1]

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        return (self.channels, self.height, self.width)

    def at_side(self, side: int | str) -> DatasetShape:
        """The shape once images are averaged down to `side`, or as they are at `original`."""
        return self if isinstance(side, str) else replace(self, side=side)


SHAPES: dict[str, DatasetShape] = {
    "digits": DatasetShape(
        channels=1,
        side=8,
        classes=10,
        train_images=1437,
        test_images=360,
        sha256="28d636f2f47ec885bab6c1d883c883cd3f85cb5f6d0f1457558c6b672cc71adf",
    ),
    "fashion_mnist": DatasetShape(
        channels=1,
        side=28,
        classes=10,
        train_images=60_000,
        test_images=10_000,
        sha256="ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
    ),
    "cifar10": DatasetShape(
        channels=3,
        side=32,
        classes=10,
        train_images=50_000,
        test_images=10_000,
        sha256="5cad5176207579951acfe6484c30cc79cfd04a5390b3c9add051b1bb2c0f00be",
    ),
    "cifar100": DatasetShape(
        channels=3,
        side=32,
        classes=100,
        train_images=50_000,
        test_images=10_000,
        sha256="c9f1c1c726f3f10cf2f28b85223484e7ba139b7c6d3733bcb96be5480c4455e9",
    ),
}

# after the class, which the files import
SHAPES |= {
    name: own.load("datasets", name, "SHAPE", "read").SHAPE for name in own.names("datasets")
}
