"""What is known of each data set without opening it. Free of torch, because Snakemake imports it."""

from dataclasses import dataclass

from gradflow import own


@dataclass(frozen=True)
class DatasetShape:
    """Counts and shapes of a data set; `side` in pixels, or (height, width) where they differ."""

    channels: int
    side: int | tuple[int, int]
    classes: int
    train_images: int
    test_images: int

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


SHAPES: dict[str, DatasetShape] = {
    "digits": DatasetShape(channels=1, side=8, classes=10, train_images=1437, test_images=360),
    "fashion_mnist": DatasetShape(
        channels=1, side=28, classes=10, train_images=60_000, test_images=10_000
    ),
    "cifar10": DatasetShape(
        channels=3, side=32, classes=10, train_images=50_000, test_images=10_000
    ),
    "cifar100": DatasetShape(
        channels=3, side=32, classes=100, train_images=50_000, test_images=10_000
    ),
}

# after the class, which the files import
SHAPES |= {
    name: own.load("datasets", name, "SHAPE", "read").SHAPE for name in own.names("datasets")
}
