"""The cost model against sums by hand, its calibration, and the plan that it prints."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cohorts import make_data, make_job, make_wide_resnet_job, train_cohort
from project import GRADFLOW, ROOT, environment, new_project

from gradflow.study import shapes, work
from gradflow.study.cost import CostModel, Factor, planned_device, weighted_median
from gradflow.study.finished_jobs import record_job, records
from gradflow.study.job import PAPER_OPTIMIZERS, Configuration, Job, Settings
from gradflow.study.memory import checkpoint_bytes, disk_bytes, memory_mb
from gradflow.study.sizes import epochs_of
from gradflow.study.work import stacks_of, work_of
from gradflow.training.magnitude_pruning import pretraining_epochs
from gradflow.workflow.job_list import read_job_list


def paper_job(optimizer: str = "adam", **changes: object) -> Job:
    configuration = Configuration("cifar100", "mlp", 4, 0, "relu", optimizer, 0.001, "NR")
    job = Job(
        "paper", "paper", configuration, 0, 1000, ("dense", "sparse"), (10, 30, 50, 70, 90), 3076
    )
    return dataclasses.replace(job, **changes)


def with_configuration(job: Job, **changes: object) -> Job:
    return dataclasses.replace(job, configuration=dataclasses.replace(job.configuration, **changes))


def one_job(raw: dict[str, Any]) -> None:
    """One small MLP at scale smoke, one seed, one epoch."""
    block = {
        "depths": [1],
        "learning_rates": [0.001],
        "optimizers": ["adam"],
        "regularizations": ["NR"],
    }
    study = {"epochs": 1, "blocks": [{**block, "activations": ["relu"]}]}
    raw["scales"]["smoke"]["studies"] = {"fashion_mnist_low": study}
    raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}


def plan(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GRADFLOW, "plan", *arguments],
        cwd=folder,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        check=False,
    )


# --- size -----------------------------------------------------------------------------------------


def test_work_of_a_small_mlp_by_hand() -> None:
    job = make_job("sgd", depth=1, percents=(50,), architectures=("dense",), max_width=10)
    job = dataclasses.replace(
        job, settings=Settings(batch_size=479)
    )  # 1437 images of 64 pixels in 3 minibatches
    (stack,) = stacks_of(job)
    assert [layer.weights for layer in stack.layers] == [64 * 5, 5 * 10]
    epoch = work.step_work(job, stack, images=1437, steps=3)
    # the first layer forward and for its own gradient, the second one also for the gradient of its
    # inputs
    assert epoch.flops == 1437 * 2 * (2 * 320 + 3 * 50)
    assert epoch.product_bytes == 4 * (
        3 * (2 * 320 + 3 * 50) + 1437 * (2 * (64 + 5) + 3 * (5 + 10))
    )
    # update: gradient and weight read, weight written; activation: five passes; images: six
    assert epoch.other_bytes == 4 * (3 * 3 * 370 + 1437 * (5 * 15 + 6 * 64))


def test_a_subset_takes_its_share_of_the_time_and_less_memory() -> None:
    whole = make_job("sgd", depth=1, epochs=1000, batch_size=7, probe_images=1)
    half = dataclasses.replace(
        whole, settings=dataclasses.replace(whole.settings, train_images=720)
    )
    # the probe epochs' test images, 11 times 360, are the same in both
    assert work_of(half).flops / work_of(whole).flops == pytest.approx(720 / 1437, rel=0.01)
    large = paper_job(settings=Settings(train_images=1000))
    assert memory_mb(large, "cpu") < memory_mb(paper_job(), "cpu")


def test_the_floor_of_the_performance_page() -> None:
    """963 and 1574 MB a step of one network of width 3076 with SGD and Adam, without this engine's
    own passes.
    """
    for optimizer, megabytes in (("sgd", 963), ("adam", 1574)):
        job = paper_job(optimizer, architectures=("dense",), percents=(100,))
        (stack,) = stacks_of(job)
        step = work.step_work(job, stack, images=128, steps=1)
        assert stack.weights == pytest.approx(38.1e6, rel=0.01)
        assert (step.product_bytes + step.other_bytes) / 1e6 == pytest.approx(megabytes, rel=0.1)


def test_layers_are_those_that_are_trained() -> None:
    theirs = shapes.mlp_layer_shapes(3072, 923, 4, 100)
    assert [layer.weights for layer in work.mlp_layers(3072, 923, 4, 100)] == shapes.capacity(
        theirs
    )
    for depth, factor in ((10, 1), (16, 4), (28, 10)):
        ours = work.image_layers(depth, factor, (3, 32, 32), 100)
        theirs = shapes.wide_resnet_layers(depth, factor, 3, 100)
        assert [layer.weights for layer in ours] == shapes.capacity(
            [layer.shape for layer in theirs]
        )
    # of WRN-28-10: 36.5 million weights and 5.2 billion multiplications an image
    assert sum(layer.weights for layer in ours) == pytest.approx(36.5e6, rel=0.01)
    assert sum(layer.weights * layer.positions for layer in ours) == pytest.approx(5.24e9, rel=0.01)


@pytest.mark.parametrize("optimizer", PAPER_OPTIMIZERS)
@pytest.mark.parametrize("make", [make_job, make_wide_resnet_job])
def test_checkpoints_have_the_predicted_size(make, optimizer: str) -> None:
    job = with_configuration(make(optimizer, "BN", epochs=1, precision="float32"))
    cohort = train_cohort(job, make_data(classes=10))
    tensors = cohort.tensors()
    held = sum(
        tensor.numel() * (1 if ".mask." in name else tensor.element_size())
        for name, tensor in tensors.items()
        if tensor.numel() > 1
        and (".layers." in name or ".mask." in name or ".optimizer.0." in name)
    )
    assert held == checkpoint_bytes(job)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "job", [paper_job(), make_wide_resnet_job("adam", "BN")], ids=["mlp", "wide_resnet"]
)
def test_monotone_in_size(job: Job, device) -> None:
    model = CostModel()
    larger = [
        dataclasses.replace(job, epochs=job.epochs * 2),
        with_configuration(job, depth=job.configuration.depth + 6),
        with_configuration(job, regularization="DA_L2_SC_BN"),
        with_configuration(job, dataset="cifar100")
        if job.max_width == 0
        else paper_job(percents=(50, *job.percents)),
    ]
    if job.max_width:
        larger.append(dataclasses.replace(job, max_width=2 * job.max_width))
    else:
        larger.append(with_configuration(job, widen_factor=4))
    for other in larger:
        assert model.seconds(other, device) >= model.seconds(job, device)
        assert model.runtime(other, device) >= model.runtime(job, device)
        assert memory_mb(other, device) >= memory_mb(job, device)
    assert model.seconds(larger[0], device) > 1.2 * model.seconds(job, device) or job.max_width == 0
    assert disk_bytes(job, keep_weights=True) > disk_bytes(job, keep_weights=False)
    assert memory_mb(job, "cuda") > memory_mb(job, "cpu") > 800
    assert model.runtime(job, device) >= 2 * model.seconds(job, device) / 60 + 10


@pytest.mark.parametrize("epochs", [1, 2, 3, 200])
def test_pretraining_and_finetuning_share_the_epochs(epochs: int) -> None:
    job = make_wide_resnet_job(architecture="magnitude", epochs=epochs)
    first, second = (
        epochs_of(job.pretraining(), pretraining=True),
        epochs_of(job, pretraining=False),
    )
    assert len(first) == pretraining_epochs(job)
    assert [*first, *second] == list(range(epochs))
    assert epochs_of(job.pretraining(), pretraining=False) == range(epochs)


# --- calibration ----------------------------------------------------------------------------------


def test_finished_jobs_correct_the_prediction(tmp_path: Path) -> None:
    job, plain = paper_job(), CostModel()
    training = work_of(job).seconds("cuda", "float32")
    for factor in (3.0, 2.0, 1.9):
        record_job(tmp_path, job, job.runs, factor * training, "cuda", native=False)
    model = CostModel.of_results(tmp_path)
    assert model.factor("mlp", "cuda") == Factor(pytest.approx(2.0, rel=1e-6), 3)
    assert model.seconds(job, "cuda") - plain.seconds(job, "cuda") == pytest.approx(
        training, rel=1e-6
    )
    # neither another device nor another model
    assert model.seconds(job, "cpu") == plain.seconds(job, "cpu")
    wide = make_wide_resnet_job()
    assert model.seconds(wide, "cuda") == plain.seconds(wide, "cuda")


def test_an_hour_is_not_outvoted_by_seconds() -> None:
    assert weighted_median([(1.0, 0.1)] * 100 + [(3600.0, 1800.0)]) == 2.0
    assert weighted_median([(1.0, 1.0), (1.0, 0.5), (1.0, 0.25)]) == 2.0


def test_what_cannot_calibrate_is_passed_over(tmp_path: Path) -> None:
    job = paper_job()
    record_job(tmp_path, job, job.runs[:3], 10.0, "cuda", native=False)  # a part of the job
    assert not list(records(tmp_path))
    record_job(tmp_path, job, job.runs, 10.0, "cuda", native=False)
    path = tmp_path / "paper" / "state" / "costs.jsonl"
    (line,) = path.read_text().splitlines()
    assert len(line) < 4096
    older = json.loads(line)
    older["spec"] = older["spec"].replace('"engine":', '"engine":9')
    unknown = json.loads(line) | {"device_type": "tpu"}
    path.write_text(
        "\n".join([json.dumps(older), json.dumps(unknown), "[1]", "null", line, line[:40]])
    )
    assert CostModel.of_results(tmp_path).factor("mlp", "cuda").jobs == 1


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    jobs = [paper_job(seed=seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: record_job(tmp_path, job, job.runs, 1.0, "cpu", True), jobs))
    assert {Job.from_json(record["spec"]).seed for record in records(tmp_path)} == set(range(200))


def test_thousands_of_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "paper" / "state" / "costs.jsonl"
    record_job(tmp_path, paper_job(), paper_job().runs, 1.0, "cpu", native=True)
    path.write_text(path.read_text() * 2000)
    assert CostModel.of_results(tmp_path).factor("mlp", "cpu").jobs == 2000


@pytest.mark.parametrize(
    ("name", "elsewhere", "device"),
    [("cpu", True, "cpu"), ("cuda:1", False, "cuda"), ("auto", True, "cuda")],
)
def test_the_planned_device(
    monkeypatch: pytest.MonkeyPatch, name: str, elsewhere: bool, device: str
) -> None:
    monkeypatch.setenv("GRADFLOW_DEVICE", name)
    assert planned_device(elsewhere) == device


# --- the plan -------------------------------------------------------------------------------------


def cells(output: str, name: str) -> list[str]:
    """The cells of a row."""
    (line,) = (line for line in output.splitlines() if line.strip().startswith(name))
    return line.strip().removeprefix(name).split()


def test_plan_of_the_paper(tmp_path: Path) -> None:
    done = plan("--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    # configurations, jobs, finished jobs, runs
    assert cells(done.stdout, "MLPs of the paper")[:4] == ["306", "918", "0", "9,180"]
    assert cells(done.stdout, "Wide ResNets, random")[:4] == ["16", "96", "0", "96"]
    assert cells(done.stdout, "Wide ResNets, magnitude")[:4] == ["16", "80", "0", "80"]
    assert cells(done.stdout, "their pretrainings")[:4] == ["16", "16", "0", "0"]
    assert cells(done.stdout, "fashion_mnist_low")[:4] == ["21", "63", "0", "630"]
    parts = (
        "MLPs of the paper",
        "Wide ResNets, random",
        "Wide ResNets, magnitude",
        "their pret",
        "other variants",
    )
    rows = [
        next(line for line in done.stdout.splitlines() if line.strip().startswith(part))
        for part in parts
    ]
    jobs = [int(row[33:39].replace(",", "")) for row in rows]
    assert sum(jobs) == int(cells(done.stdout, "total, shared ones once")[1].replace(",", ""))
    assert done.stdout.count("not calibrated, no finished job") == 4


@pytest.mark.parametrize(
    ("target", "studies"),
    [
        ("table3a", ["cifar100_low"]),
        ("figure2", ["cifar100_low", "cifar100_high"]),
        ("results/paper/tables/table4.csv", ["fashion_mnist_low"]),
        ("results/paper/figures/figure4.pdf", ["wide_resnet_cifar100"]),
        ("cifar10_high", ["cifar10_high"]),
        ("table2", []),
    ],
)
def test_targets(tmp_path: Path, target: str, studies: list[str]) -> None:
    done = plan(target, "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("study"))
    end = next(index for index, line in enumerate(lines) if line.startswith("total"))
    assert [line.split()[0] for line in lines[start + 1 : end]] == studies


def test_the_job_list_has_each_job_once_and_a_configurations_seeds_together(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    done = plan("fashion_mnist_reduced", "--results", str(tmp_path), "--jobs", str(path))
    assert done.returncode == 0, done.stderr
    jobs = read_job_list(path)
    assert [job.seed for job in jobs] == [0, 1, 2] * 29
    names = [(job.variant, job.configuration.name) for job in jobs[::3]]
    assert len(set(names)) == 29 and names[0] == ("paper", "mlp4-relu-adagrad-lr0.001-NR")
    assert [name for name in names if name[0] == "active_fan_in"] == names[22:]
    assert {job.settings.train_images for job in jobs} == {10_000}


def test_shared_configurations_count_once(tmp_path: Path) -> None:
    one, both = (
        plan(*targets, "--results", str(tmp_path)).stdout
        for targets in (["table3b"], ["table3b", "table3c"])
    )
    alone = [
        int(cells(one, "total, shared ones once")[0]),
        int(cells(both, "cifar100_high_activations")[0]),
    ]
    # ReLU with the regularization of the activations is in both studies, once an optimizer
    assert int(cells(both, "total, shared ones once")[0]) == sum(alone) - 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tabel3a"], "there is no target tabel3a; did you mean table3a?"),
        (["cifar10_hihg"], "there is no target cifar10_hihg; did you mean cifar10_high?"),
        (["results/papr/tables/table4.csv"], "there is no scale papr; did you mean paper?"),
        (
            ["results/paper/tables/tabel4.csv"],
            "scale paper has no artifact tabel4; did you mean table4?",
        ),
        (["results/paper/runs/x.parquet"], "no job makes this file"),
        (["cifar10_low", "--scale", "quick"], "scale quick has no study cifar10_low"),
        (["table4", "--scale", "papre"], "there is no scale papre"),
    ],
)
def test_an_unknown_target_is_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = plan(*arguments, "--results", str(tmp_path))
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


@pytest.mark.workflow
@pytest.mark.slow
def test_finished_jobs_are_seen_and_resources_retrain_nothing(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", one_job)
    planned = project.make("-n", "smoke", "--quiet", "host")
    assert "runtime=" in planned and "mem_mb=" in planned
    project.make("smoke")
    (record,) = records(project.results)
    assert record["device_type"] == "cpu" and record["seconds"] > 0
    done = plan("smoke", folder=project.folder)
    assert cells(done.stdout, "fashion_mnist_low")[:4] == ["1", "1", "1", "10"]
    assert "Left: 0.00 GPU h, or 0.00 CPU h." in done.stdout
    assert "MLPs on a CPU: calibrated by 1 finished job, times" in done.stdout

    # slower by a thousand, and the weights are to be kept: other resources, another command,
    # nothing to do
    record["seconds"] *= 1000
    costs = project.results / "smoke" / "state" / "costs.jsonl"
    costs.write_text(json.dumps(record) + "\n")
    project.edit_config(lambda raw: raw["scales"]["smoke"].update(keep_weights=True))
    assert not project.plan().jobs
    log = next(project.results.glob("smoke/runs/**/dense-w10.parquet"))
    log.unlink()
    project.make(str(log.relative_to(project.folder)))
    (weights,) = project.results.glob(
        "smoke/runs/**/*.safetensors"
    )  # of the one run that was trained again
    assert weights == log.with_suffix(".safetensors")
