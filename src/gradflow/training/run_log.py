"""The log of one run: a Parquet file with one row per probe epoch, and the run's identity in its
metadata.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.files import replacing

MEASURES = ("grad_norm_l1", "grad_norm_l2", "egf_l1", "egf_l2")  # Equations 5 and 7, p = 1 and 2

_text = pa.string()
_int = pa.int64()
_float = pa.float64()
_floats = pa.list_(pa.float64())
_ints = pa.list_(pa.int64())

SCHEMA = pa.schema(
    [
        ("scale", _text),
        ("variant", _text),
        ("dataset", _text),
        ("configuration", _text),
        ("model", _text),
        ("hidden_layers", _int),  # null for a Wide ResNet
        ("depth", _int),  # of a Wide ResNet, null for an MLP
        ("widen_factor", _int),  # likewise
        ("activation", _text),
        ("optimizer", _text),
        ("learning_rate", _float),  # the initial one
        ("regularization", _text),
        ("l2", _float),  # coefficient in use, 0 where there is none
        ("batch_size", _int),
        ("initialisation", _text),
        ("architecture", _text),
        ("dense_width", _int),  # null for a Wide ResNet
        ("max_width", _int),  # likewise
        ("width_percent", _int),  # likewise
        ("density_percent", _int),  # of a Wide ResNet, null for an MLP
        ("seed", _int),
        ("epochs", _int),  # planned
        ("epoch", _int),  # from 0; the row describes its end
        ("step", _int),  # optimizer steps done
        ("train_loss", _float),  # mean over the epoch's minibatches, without the L2 term
        ("probe_loss", _float),  # mean over the probe images, BatchNorm in training mode
        ("test_loss", _float),  # infinite once diverged
        ("test_accuracy", _float),  # percent; chance once diverged
        *[(measure, _float) for measure in MEASURES],
        *[(f"layer_{measure}", _floats) for measure in MEASURES],  # a value a layer
        *[
            (f"minibatch_{measure}", _float) for measure in MEASURES
        ],  # mean over the epoch's minibatches
        (
            "other_grad_norm_l1",
            _float,
        ),  # BatchNorm's and activations' parameters, which are no layer
        ("other_grad_norm_l2", _float),
        ("active_weights", _ints),  # a count a layer
        ("live_weights", _ints),  # of these, on some path from an input to an output
        ("total_weights", _ints),  # places a layer has, masked ones too
        ("trainable_parameters", _int),  # active weights and other parameters
        ("diverged", pa.bool_()),  # not finite at this epoch or before
        ("collapsed", pa.bool_()),  # training loss above 0.98 log C: never left chance
    ]
)

# A study's table: its runs' logs, each row with the study and the data set that the study is about
# (another one may stand in for it at a small scale).
STUDY_SCHEMA = pa.schema([("study", _text), ("stands_for", _text), *SCHEMA])

# A study's provenance, a row per run: its identity, its log and what the log's metadata says. It is
# no part of the study table, which stays the same whenever and wherever its runs are made again.
LIBRARIES = ("torch", "numpy", "numba", "pyarrow", "safetensors")
RUN_COLUMNS = (
    "scale", "variant", "dataset", "configuration", "architecture", "width_percent",
    "density_percent", "seed",
)  # fmt: skip
PROVENANCE_SCHEMA = pa.schema(
    [
        ("study", _text),
        ("stands_for", _text),
        *[SCHEMA.field(name) for name in RUN_COLUMNS],
        ("log", _text),  # path below the results folder
        ("spec", _text),  # the run's canonical JSON
        ("engine_version", _int),
        ("device", _text),
        ("device_type", _text),
        ("step", _text),  # native, or autograd and why
        ("kernels", _text),  # of a native step
        ("threads", _text),
        *[(f"{library}_version", _text) for library in LIBRARIES],
        ("seconds", _float),  # of the job that trained it, all of its runs together
    ]
)


DIGEST = (
    b"sha256"  # metadata key: Parquet's page checksums leave page headers and the footer to chance
)


class RunLogError(Exception):
    """A log cannot be read or does not belong to the expected run; the message is one sentence."""


class WrongLogError(RunLogError):
    """The log is there and of no use: damaged, of another version or of another run. It may be made
    anew.
    """


def write_log(path: Path, rows: list[dict[str, Any]], metadata: dict[str, str]) -> None:
    """Write a run's log whole or not at all."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))
    table = table.replace_schema_metadata({**table.schema.metadata, DIGEST: _digest(table)})
    with replacing(path) as aside:
        # a log is a dozen rows: dictionaries and stronger compression make ten thousand of them
        # slower to read
        pq.write_table(
            table, aside, compression="snappy", use_dictionary=False, write_page_checksum=True
        )


def read_log(path: Path, spec: str | None = None) -> pa.Table:
    """Read a run's log.

    Args:
        path: the Parquet file.
        spec: the run's canonical JSON; when given, the log must have been written for it.

    Raises:
        WrongLogError: the file is damaged, or was written for another specification.
        RunLogError: the file is missing or cannot be read.
    """
    try:
        # ParquetFile: read_table would import pandas, a second a job
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except FileNotFoundError:
        raise RunLogError(f"{path}: the log does not exist") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        if (
            isinstance(error, OSError) and error.errno
        ):  # the disk's error and not the file's: Arrow's own have none
            raise RunLogError(f"{path}: the log cannot be read ({error.strerror})") from None
        raise WrongLogError(f"{path}: the log is damaged ({str(error).splitlines()[0]})") from None
    metadata = table.schema.metadata or {}
    if table.schema.remove_metadata() != SCHEMA or table.num_rows == 0 or not metadata.get(b"spec"):
        raise WrongLogError(f"{path}: not a run log of this version")
    if DIGEST in metadata and metadata[DIGEST] != _digest(table):  # the first logs had none
        raise WrongLogError(f"{path}: the log is damaged (its checksum does not match)")
    if spec is not None and metadata[b"spec"] != spec.encode():
        raise WrongLogError(f"{path}: the log is of another specification")
    return table


def _digest(table: pa.Table) -> bytes:
    """A checksum of rows and metadata by their values, the same for every version of Arrow."""
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != DIGEST}
    return (
        hashlib.sha256(repr((sorted(metadata.items()), table.to_pydict())).encode())
        .hexdigest()
        .encode()
    )
