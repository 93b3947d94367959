"""What the benchmark tells of one network, precision, optimizer and regularization."""

from __future__ import annotations

from dataclasses import dataclass

from gradflow.study.job import probe_epochs


@dataclass(frozen=True)
class Measurement:
    """One row of the benchmark's table. Times are microseconds a step of one network, `us` medians
    over the rounds.
    """

    network: str
    dataset: str
    max_width: int
    hidden_layers: int
    optimizer: str
    regularization: str
    precision: str
    contender: str  # plain, plain_device or engine
    networks: int  # trained together
    runs: str  # sparse, dense-w10 ..., or job: sparse and dense
    us: float  # training alone
    us_min: float
    us_max: float
    probe_us: float  # in an epoch that measures gradient flow
    probe_us_min: float
    probe_us_max: float
    run_us: float  # over a whole run of `epochs`, its probe epochs included
    plain_us: float  # of the plain loop on the same networks, training alone
    plain_run_us: float  # likewise, over a whole run
    plain_device_us: float
    plain_device_run_us: float
    floor_us: float
    peak_memory_mb: float
    build_seconds: float  # drawing and placing the networks
    first_seconds: (
        float  # of the engine's first turn beyond its last: warming up, capture; 0 for a plain loop
    )
    epochs: int
    rounds: int
    steps: int  # timed, all rounds together
    train_images: int
    real_data: bool
    batch_size: int
    bandwidth: float  # bytes a second, measured
    flops: float  # likewise, at this precision
    workers: int
    threads: int
    device: str
    device_type: str
    torch_version: str
    cuda_version: str
    date: str

    @property
    def ratio(self) -> float:
        """How many times faster a network's step is than in the plain loop over a whole run, both
        measuring.
        """
        return self.plain_run_us / self.run_us

    @property
    def ratio_training(self) -> float:
        """Likewise in epochs that only train."""
        return self.plain_us / self.us

    @property
    def ratio_device(self) -> float:
        """How many times faster than the plain loop with the data on the device, over a whole
        run.
        """
        return self.plain_device_run_us / self.run_us

    @property
    def ratio_device_training(self) -> float:
        """Likewise in epochs that only train."""
        return self.plain_device_us / self.us

    @property
    def floor_share(self) -> float:
        """The floor as a share of the time taken, measurements included."""
        return self.floor_us / self.run_us


def over_a_run(us: float, probe_us: float, epochs: int) -> float:
    """Mean time a step of a run, of whose epochs 11, or all where there are fewer, are probe
    epochs.
    """
    probes = len(probe_epochs(epochs))
    return (us * (epochs - probes) + probe_us * probes) / epochs
