# What a run shows and does at its beginning and its end.


def start_warm_servers():
    """Jobs of this machine fork from processes that have imported what they need; a cluster's import it themselves."""
    if not SNAKEMAKE.uses_conda:  # its packages are not this process's
        warm.start(warm.DRAWER, load_libraries, HERE / "src")
        if SNAKEMAKE.runs_here and not CONFIG.partial:
            warm.start(warm.TRAINER, load_scripts_and_kernels, HERE / "src")


# how to look up what a training rule's job trains
TRAINERS = {
    "train_mlp": find_job(),
    "train_wide_resnet": find_job("{architecture}-d{density}"),
    "pretrain_wide_resnet": find_pretraining,
    "prune_and_finetune": find_job("magnitude-d{density}"),
}


def step_of(job):
    """One of Snakemake's jobs, as the progress and the last lines tell of it."""
    name = job.rule
    if name in TRAINERS:
        trained = TRAINERS[name](job.wildcards)
        pretraining = name == "pretrain_wide_resnet"
        seconds = COSTS.seconds(trained, DEVICE, pretraining)
        return Step(trained.key, seconds, trained, pretraining)
    artifact = job.wildcards.artifact if name in KINDS else ""
    words = [artifact] if artifact else [name, *job.wildcards]
    return Step(" ".join(words), files=job.files, artifact=artifact)


@cache
def this_run():
    """What this snakemake was asked for and is going to run."""
    return Run(
        asked=SNAKEMAKE.target_files,
        steps={job.number: step_of(job) for job in SNAKEMAKE.planned_jobs()},
        needs=SNAKEMAKE.needs(),
        device=DEVICE,
        dry=SNAKEMAKE.is_dry,
    )


def last_lines_of_this_run():
    elapsed = PROGRESS[0].elapsed if PROGRESS else 0.0
    return last_lines(this_run(), EVENTS, elapsed)


def watch_over_slurm():
    """Beside the SLURM executor, which forgets its jobs when SLURM does not answer."""
    settings = SNAKEMAKE.slurm()
    if SNAKEMAKE.is_main and settings is not None:
        slurm_watch.watch_slurm(slurm_watch.say)
        for sentence in slurm_watch.preflight(*settings, Path("results")):
            slurm_watch.say(sentence)


def start_progress():
    """Where this process alone runs the workflow: nothing on a cluster's nodes."""
    if SNAKEMAKE.is_main:
        run = this_run()
        at_once = SNAKEMAKE.cores if SNAKEMAKE.runs_here else SNAKEMAKE.jobs
        progress = Progress(run.steps, run.needs, EVENTS, Path("results"), at_once or 1)
        PROGRESS.append(progress)
        DISPLAY.start(progress)


def draw_after_failure():
    """After a failure: every table and figure from the runs that exist."""
    SNAKEMAKE.settle()
    DISPLAY.stop()
    if EVENTS.failures() and not EVENTS.interrupted and not CONFIG.partial:
        command = partial_command(SNAKEMAKE.asked(), is_training)
        if command is not None:
            draw_what_is_there(command)


def is_training(target):
    """Whether a target is a rule that trains or fetches, or a file of one."""
    folders = ("runs", "pretrained", "data")
    return target in (*TRAINERS, "fetch_dataset") or any(
        f"/{folder}/" in target for folder in folders
    )


onstart:
    if SNAKEMAKE.is_main:
        forget_failures(SNAKEMAKE.planned_jobs())
    watch_over_slurm()
    start_warm_servers()
    start_progress()


onsuccess:
    if SNAKEMAKE.is_main:
        SNAKEMAKE.settle()
        DISPLAY.end_here()


onerror:
    if SNAKEMAKE.is_main:
        draw_after_failure()
        DISPLAY.end_here()
