"""The JSON schema of config.yaml, by which an editor completes keys and explains them.

    PYTHONPATH=src python -m gradflow.study.schema > config.schema.json

It is made from the model that checks the file (`config`). What a schema cannot say, such as names
that must fit together, the check alone knows. Names of a user's own files stay open.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from gradflow.study.choices import LIMITS
from gradflow.study.config import NAME, Config
from gradflow.study.job import (
    LIBRARY_ACTIVATIONS,
    LIBRARY_INITIAL_MASKS,
    LIBRARY_MASK_UPDATES,
    PAPER_DATASETS,
    PAPER_OPTIMIZERS,
    Settings,
)
from gradflow.text import first_paragraph

# A sentence a field, by the model that has it: meaning, unit, and where the paper says so.
SENTENCES = {
    "Config": {
        "percents": "Dense widths in percent of the maximum width (section 3.3).",
        "datasets": "How each data set is used, by its name.",
        "variants": "Named settings: all choices beside the configuration; "
        "`paper` has the defaults.",
        "studies": "Sets of configurations on one data set each, by name.",
        "scales": "Sizes of the whole study, by name; each is a target of snakemake.",
        "artifacts": "Tables and figures, by name; each is a target of snakemake.",
        "figures": "For the report, with title and note, or without them for one or both columns "
        "of a page.",
        "partial": "Whether everything is made from the logs there are, without training.",
    },
    "DatasetChoice": {
        "max_width": "Hidden width of the sparse MLPs, in units; n + 4 for n inputs where it is "
        "left out (appendix A.1).",
        "crop_padding": "Black pixels added on each side before a random crop back (DA).",
        "flip": "Whether half of the images are mirrored at random (DA).",
    },
    "Block": {
        "depths": "Hidden layers of an MLP (1, 2 or 4), or the depth 6 n + 4 of a Wide ResNet.",
        "widen_factors": "Widen factors of Wide ResNets: 10 in section 3.4.",
        "learning_rates": "Learning rates, before any schedule.",
        "optimizers": "The paper's, or one that a file in own/optimizers defines.",
        "regularizations": "NR (none), or DA, L2, SC and BN joined by underscores.",
        "activations": "The paper's, or one that a file in own/activations defines.",
    },
    "Study": {
        "dataset": "The data set that the study is about.",
        "model": "MLPs of the same capacity, or Wide ResNets by density.",
        "epochs": "Epochs of training.",
        "blocks": "The configurations, each block a product of its lists.",
        "densities": "Densities of the sparse Wide ResNets, in percent of the weights.",
        "variants": "The variants that are trained, by name.",
        "magnitude": "Whether Wide ResNets are pruned by magnitude too, beside random masks "
        "(section 4.3).",
        "second_look": "Whether these are more seeds of other studies' configurations, trained "
        "after the verdicts on those were read; each of two looks at a claim is then made at half "
        "the level.",
    },
    "StudyAtScale": {
        "epochs": "Epochs at this scale, in place of the study's.",
        "seeds": "Seeds at this scale, in place of the scale's.",
        "densities": "Densities at this scale in percent, in place of the study's.",
        "blocks": "Configurations at this scale, in place of the study's.",
        "variants": "Variants at this scale, in place of the study's.",
        "settings": "Settings of this study at this scale, over the variant's.",
    },
    "Scale": {
        "seeds": "Seeds, one repetition each.",
        "studies": "The scale's studies, each with what differs here.",
        "stand_ins": "The data set that is trained on in the place of each named one.",
        "max_widths": "Hidden width of the sparse MLPs in units, by data set.",
        "image_sides": "Height and width in pixels that images are averaged down to, by data set.",
        "settings": "Settings at this scale, over the variant's.",
        "keep_weights": "Whether each run's final weights and masks are kept beside its log.",
    },
    "ArtifactEntry": {
        "kind": "What is drawn; `gradflow.study.kinds` lists the kinds.",
        "title": "The heading; {dataset} becomes the data sets' names.",
        "studies": "The studies whose runs it is drawn from.",
        "variant": "The variant whose runs it is drawn from.",
        "columns": "What the columns of a significance table are.",
        "panels": "What the panels of a plot by width are.",
        "rows": "What the rows of a plot by width are.",
        "measures": "What is plotted: test accuracy, test loss, or gradient "
        "flow (Equations 5 to 7).",
        "architectures": "Whose runs a plot by density shows.",
        "where": "Only runs with this value, or one of these values, of a column.",
    },
    "Settings": {
        "batch_size": "Images of a minibatch; the paper leaves it open.",
        "mlp_schedule": "How the learning rate of MLPs changes over the epochs.",
        "warmup_epochs": "Epochs in which the learning rate rises to its value, "
        "in steps of an epoch.",
        "initialisation": "Whose fan-in scales the first weights of twins (Equation 3); the paper "
        "leaves it open.",
        "init_distribution": "The distribution of the first weights; the paper leaves it open.",
        "init_gain": "The gain of the first weights: of ReLU, or 1.",
        "l2": "Weight decay of MLPs with L2; 0.0001 in section 3.2.",
        "wide_resnet_l2": "Weight decay of Wide ResNets; 0.0005 in section 3.4.",
        "l2_scope": "Whether L2 takes all parameters or the layers' weights alone.",
        "skip_place": "Whether a skip connection joins before or after the activation (SC).",
        "skip_overlap": "Whether skip connections overlap (SC); the paper leaves it open.",
        "batchnorm_place": "Whether BatchNorm stands before or after the activation (BN).",
        "prelu_slope": "PReLU's slope below zero at the start; the paper leaves it open.",
        "srelu_left": "SReLU's left threshold and slope at the start; the paper leaves them open.",
        "srelu_right": "SReLU's right threshold and slope at the start; the "
        "paper leaves them open.",
        "rmsprop_alpha": "RMSProp's decay of the squared gradients; the paper leaves it open.",
        "nesterov": "Whether momentum is Nesterov's.",
        "label_smoothing": "Share of the label given to all classes alike, from 0 to 1.",
        "l1": "Weight of the layers' L1 norm in the loss.",
        "dropout": "Share of each hidden layer's units that is dropped in training; 0 drops none.",
        "gradient_clip": "Largest 2-norm of a network's gradient before L2; 0 leaves it as it is.",
        "probe_images": "Training images by which gradient flow is measured at a probe epoch.",
        "flip": "Whether DA mirrors images: as the data set says, or never.",
        "precision": "Floating-point numbers of the products in training.",
        "wide_resnet_schedule": "How the learning rate of Wide ResNets changes (section 3.4).",
        "wide_resnet_keep_dense": "Layers of sparse Wide ResNets without a mask.",
        "finetune_optimizer": "Whether the optimizer's state survives magnitude pruning (4.3).",
        "train_images": "Training images: all, or the size of a fixed subset.",
        "image_side": "Height and width in pixels that images are averaged down to.",
        "max_width": "Hidden width of the sparse MLPs, in units.",
        "initial_mask": "How sparse masks are drawn; at random in appendix A.1.",
        "mask_update": "The rule that moves masks in training; fixed in section 2.1.",
        "mask_update_interval": "Epochs from one move of the masks to the next.",
        "mask_update_fraction": "Share of a layer's active weights that a move replaces.",
    },
}
OPEN = (  # to names of a user's own files
    PAPER_OPTIMIZERS,
    LIBRARY_ACTIVATIONS,
    PAPER_DATASETS,
    LIBRARY_MASK_UPDATES,
    LIBRARY_INITIAL_MASKS,
)


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    made = Config.model_json_schema()
    settings = TypeAdapter(Settings).json_schema()
    models = {**made["$defs"], "Settings": settings, "Config": made}
    settings["additionalProperties"] = False
    for name, (least, most) in LIMITS.items():
        for number in _numbers(settings["properties"][name]):
            number["minimum"] = least
            if most != float("inf"):
                number["exclusiveMaximum" if most == 1 else "maximum"] = most
    for model, sentences in SENTENCES.items():
        models[model]["description"] = first_paragraph(models[model].get("description"))
        for field, property_ in models[model]["properties"].items():
            property_["description"] = sentences.get(field, "")
            property_.pop("title", None)
    reference = {"$ref": "#/$defs/Settings"}
    made["properties"]["variants"]["patternProperties"] = {NAME: reference}
    for model in ("Scale", "StudyAtScale"):
        property_ = models[model]["properties"]["settings"]
        property_.pop("additionalProperties", None)
        property_ |= reference
    made["$defs"]["Settings"] = settings
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "config.yaml"
    opened: dict[str, Any] = _opened(made)
    return opened


def _opened(node: Any) -> Any:
    """Without the names of own files, whose place any name may take."""
    if isinstance(node, list):
        return [_opened(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _opened(value) for key, value in node.items()}
    names = made.get("enum") or ([made["const"]] if isinstance(made.get("const"), str) else [])
    for library in OPEN:
        if names and set(library) <= set(names):
            kept = {
                key: value for key, value in made.items() if key not in ("enum", "const", "type")
            }
            return {
                **kept,
                "anyOf": [{"enum": sorted(library)}, {"type": "string", "pattern": NAME}],
            }
    return made


def _numbers(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a property that are numbers."""
    for part in (node, *node.get("anyOf", ())):
        if part.get("type") in ("integer", "number"):
            yield part


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=1)
    print()
