"""Every claim of every experiment, judged on results that confirm it and on results that contradict it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from resnet_repro.claims.judge import judge_all
from resnet_repro.claims.results import Results
from resnet_repro.design.registry import experiment_names, load_experiment

Values = Mapping[str, Mapping[str, float]]


DEPTHS = (20, 32, 44, 56, 110)


SHORTCUTS = ("resnet-56", "resnet-56-B", "resnet-56-C")


NORMS = ("none", "batch", "layer", "instance", "group")


JITTER = (0.0, 0.002, -0.002, 0.001, -0.001, 0.0)  # differences between seeds, far below all effects


def of(metric: str, **values: float) -> Values:
    """{arm: {metric: value}}. Underscores in the names of arms stand for hyphens."""
    return {arm.replace("_", "-"): {metric: value} for arm, value in values.items()}


def together(*tables: Values) -> Values:
    merged: dict[str, dict[str, float]] = {}
    for table in tables:
        for arm, row in table.items():
            merged.setdefault(arm, {}).update(row)
    return merged


def overfitting(loss: float, rise: float = 0.5, lowest_at: float = 40.0) -> dict[str, float]:
    return {
        "mean_validation_loss": loss,
        "validation_loss_rise": rise,
        "validation_loss_lowest_at": lowest_at,
    }


def ladder(*errors: float) -> Values:
    arms = ("plain-8-layers", "plain-14-layers", "plain-20-layers", "plain-as-written")
    return {arm: {"train_error": error} for arm, error in zip(arms, errors, strict=True)}


def normed(batch_4: float, batch_128: float, group_4: float, group_128: float) -> Values:
    return {
        f"{kind}-20{arm}": {"test_error": value}
        for kind in ("plain", "resnet")
        for arm, value in (("-batch-4", batch_4), ("", batch_128), ("-group-batch-4", group_4), ("-group", group_128))
    }


def both(metric: str, batch: float, none: float, rate: str = "") -> Values:
    return {
        f"{kind}-20{arm}{rate}": {metric: value}
        for kind in ("plain", "resnet")
        for arm, value in (("", batch), ("-no-bn", none))
    }


def modes(batch: float, others: float) -> Values:
    return {
        f"{kind}-20{arm}": {"mode_change": value}
        for kind in ("plain", "resnet")
        for arm, value in (("", batch), *[(f"-{norm}", others) for norm in NORMS[2:]])
    }


def built(train: float, test: float) -> Values:
    return {
        f"{kind}-56-built": {"train_error_change": train, "test_error_change": test} for kind in ("plain", "resnet")
    }


def once_and_each(once: float, each: float, once_seconds: float, each_seconds: float) -> Values:
    return {
        "frozen-corrected": {"test_error": once, "training_seconds": once_seconds},
        "frozen-corrected-each-step": {"test_error": each, "training_seconds": each_seconds},
    }


def trained_on(plain_56: float, plain_20: float, resnet_56: float, resnet_20: float) -> Values:
    errors = {"plain-56-on": plain_56, "plain-20-on": plain_20, "resnet-56-on": resnet_56, "resnet-20-on": resnet_20}
    return {arm: {"train_error": error, "test_error": error} for arm, error in errors.items()}


def probes(drop: float, trend: float) -> Values:
    arms = [f"{kind}-{depth}-trained" for kind in ("plain", "resnet") for depth in (20, 56)]
    return {arm: {"probe_drop": drop, "probe_trend": trend} for arm in arms}


def single(resnet_20: float, resnet_56: float, plain_20: float, plain_56: float) -> Values:
    """Test errors of nets with one-layer shortcuts (11 and 12 %) and of the others."""
    return {
        "resnet-20-single": {"test_error": 11.0},
        "resnet-56-single": {"test_error": 12.0},
        "resnet-20": {"test_error": resnet_20},
        "resnet-56": {"test_error": resnet_56},
        "plain-20": {"test_error": plain_20},
        "plain-56": {"test_error": plain_56},
    }


def fashion_costs(narrow: float, basic_narrow: float, wide: float, basic_wide: float) -> Values:
    sizes = {"resnet-50-narrow": narrow, "basic-narrow": basic_narrow, "resnet-50-wide": wide, "basic-wide": basic_wide}
    return {arm: {"parameters": size, "multiply_adds": size} for arm, size in sizes.items()}


def heads(with_gradient: float, with_error: float, without_gradient: float, without_error: float) -> Values:
    return {
        "with-heads": {"early_gradient": with_gradient, "mean_running_error": with_error},
        "without-heads": {"early_gradient": without_gradient, "mean_running_error": without_error},
    }


def gaps(dropout: float, none: float) -> Values:
    names = ("relu", "tanh", "sigmoid")
    return {
        f"{name}{arm}": {"generalization_gap": gap}
        for name in names
        for arm, gap in (("-dropout", dropout), ("", none))
    }


def first_and_last(kind: str, first: float, last: float, variant: str = "as-written") -> Values:
    """Errors of a net for MNIST after the first epoch and after the last."""
    errors = {f"{split}_error{when}": e for split in ("train", "test") for when, e in (("_epoch_1", first), ("", last))}
    return {f"{kind}-{variant}": {**errors, "train_error_drop": first - last}}


def impl_d_cases(suffix: str, variant: str) -> dict[tuple[str, str], tuple[Values, Sequence[Values]]]:
    def pair(original: Mapping[str, float], preact: Mapping[str, float]) -> Values:
        return {f"original-{variant}": original, f"preact-{variant}": preact}

    return {
        ("block", f"B1{suffix}"): (
            {f"plain-{variant}": {"train_error": 89.0}},
            [{f"plain-{variant}": {"train_error": 60.0}}],
        ),
        ("block", f"B2{suffix}"): (
            pair({"mean_train_loss": 0.7}, {"mean_train_loss": 0.5}),
            [pair({"mean_train_loss": 0.5}, {"mean_train_loss": 0.7})],
        ),
        ("block", f"B3{suffix}"): (
            pair(overfitting(1.2), overfitting(1.1)),
            [
                pair(overfitting(1.2), overfitting(1.1, rise=0.0)),
                pair(overfitting(1.2, lowest_at=96.0), overfitting(1.1)),
                pair(overfitting(1.2), overfitting(1.1, lowest_at=4.0)),
                pair(overfitting(2.2), overfitting(1.1)),
                pair(overfitting(1.2), overfitting(2.1)),
            ],
        ),
        ("block", f"B4{suffix}"): (
            pair({"mean_validation_error": 38.0}, {"mean_validation_error": 35.0}),
            [pair({"mean_validation_error": 35.0}, {"mean_validation_error": 38.0})],
        ),
    }


CASES: dict[tuple[str, str], tuple[Values, Sequence[Values]]] = {
    ("depth", "P1"): (
        {f"resnet-{n}": {"test_error": e} for n, e in zip(DEPTHS, (8.75, 7.51, 7.17, 6.97, 6.61), strict=True)},
        [{f"resnet-{n}": {"test_error": e} for n, e in zip(DEPTHS, (6.6, 6.9, 7.2, 7.5, 8.8), strict=True)}],
    ),
    ("depth", "P2"): (of("train_error", resnet_1202=0.05), [of("train_error", resnet_1202=3.0)]),
    ("depth", "P3"): (
        together(of("test_error", resnet_1202=7.93, resnet_110=6.61), of("train_error", resnet_1202=0.05, resnet_110=0.1)),
        [
            together(of("test_error", resnet_1202=6.1, resnet_110=6.6), of("train_error", resnet_1202=0, resnet_110=0)),
            together(of("test_error", resnet_1202=9.0, resnet_110=6.6), of("train_error", resnet_1202=5, resnet_110=0)),
        ],
    ),
    **impl_d_cases("", "as-written"),
    **impl_d_cases("c", "corrected"),
    ("block", "B0"): (
        of("train_loss_least_fall", original_as_written=0.1, preact_as_written=0.1),
        [
            of("train_loss_least_fall", original_as_written=0.0, preact_as_written=0.1),
            of("train_loss_least_fall", original_as_written=0.1, preact_as_written=-0.1),
        ],
    ),
    ("block", "B0-rate"): (
        {"original-as-written-0.005": {"train_error": 90.0}},
        [{"original-as-written-0.005": {"train_error": 40.0}}],
    ),
    ("block", "B1-depth"): (ladder(30, 50, 85, 90), [ladder(90, 90, 90, 89), ladder(30, 50, 50, 40), ladder(85, 88, 89, 90)]),
    ("block", "B1-gradients"): (
        of("first_gradient", plain_as_written=-6.0, original_as_written=1.0),
        [of("first_gradient", plain_as_written=-1.0, original_as_written=1.0)],
    ),
    ("block", "B1-decay"): (
        of("first_gradient_decay", plain_as_written=-2.0),
        [of("first_gradient_decay", plain_as_written=-0.5)],
    ),
    ("block", "B1d"): (
        of("train_error", plain_as_written=90, original_corrected=10, plain_corrected=30),
        [
            of("train_error", plain_as_written=90, original_corrected=10, plain_corrected=70),
            of("train_error", plain_as_written=30, original_corrected=60, plain_corrected=40),
        ],
    ),
    **{
        ("block", claim): (
            {f"resnet-{n}": {"test_error": 6.6}, f"preact-{n}": {"test_error": 6.3}},
            [{f"resnet-{n}": {"test_error": 6.3}, f"preact-{n}": {"test_error": 6.6}}],
        )
        for claim, n in (("B5", 110), ("B6", 164), ("B7", 1001))
    },
    ("shortcuts", "S1"): (
        {"plain-56": {"test_error": 13.2}, **{arm: {"test_error": 7.0 + 0.1 * i} for i, arm in enumerate(SHORTCUTS)}},
        [{"plain-56": {"test_error": 13.2}, **{arm: {"test_error": 7.0 + 5 * i} for i, arm in enumerate(SHORTCUTS)}}],
    ),
    ("shortcuts", "S2"): (single(9, 7, 11, 12), [single(13, 14, 11, 12), single(9, 7, 20, 30)]),
    ("shortcuts", "S2-110"): (
        of("test_error", resnet_110_single=9.9, resnet_110=6.6),
        [of("test_error", resnet_110_single=6.6, resnet_110=9.9)],
    ),
    ("normalization", "N1"): (
        together(both("train_error", 1, 20), both("train_error", 2, 10, "-slow")),
        [
            together(both("train_error", 20, 1), both("train_error", 2, 10, "-slow")),
            together(both("train_error", 10, 90), both("train_error", 2, 5, "-slow")),
        ],
    ),
    ("normalization", "N2"): (modes(10, 0), [modes(0, 0), modes(10, 5)]),
    ("normalization", "N3"): (
        normed(14, 9, 10.3, 10),
        [normed(8, 9, 10.3, 10), normed(14, 9, 15.5, 10), normed(10, 9, 10.0, 7)],
    ),
    ("normalization", "N4"): (
        together(both("input_mean_shift", 0.1, 0.5, "-slow"), both("input_std_shift", 0.1, 0.5, "-slow")),
        [
            together(both("input_mean_shift", 0.5, 0.1, "-slow"), both("input_std_shift", 0.1, 0.5, "-slow")),
            together(both("input_mean_shift", 0.1, 0.5, "-slow"), both("input_std_shift", 0.5, 0.1, "-slow")),
        ],
    ),
    ("construction", "K1"): (built(0, 0), [built(0, 2), built(-2, 0)]),
    ("construction", "K2"): (
        of("train_error", plain_56=76, plain_56_built=56),
        [of("train_error", plain_56=40, plain_56_built=56)],
    ),
    ("construction", "K3"): (trained_on(63, 45, 38, 38), [trained_on(40, 45, 38, 38), trained_on(63, 45, 45, 38)]),
    ("construction", "K4"): (
        of("train_error_change", plain_56_on_slow=-6),
        [of("train_error_change", plain_56_on_slow=6)],
    ),
    ("features", "Z1"): (probes(20, -0.9), [probes(-5, 0.9), probes(20, 0.5)]),
    ("features", "Z2"): (
        of("recovered", plain_56_initial=0.2, resnet_56_initial=0.8, plain_56_trained=0.3, resnet_56_trained=0.7),
        [
            of("recovered", plain_56_initial=0.8, resnet_56_initial=0.2, plain_56_trained=0.3, resnet_56_trained=0.7),
            of("recovered", plain_56_initial=0.2, resnet_56_initial=0.8, plain_56_trained=0.7, resnet_56_trained=0.3),
        ],
    ),
    ("mnist", "M1"): (
        of("train_error", lenet_as_written=4, cnn_as_written=7, mlp_as_written=10),
        [
            of("train_error", lenet_as_written=8, cnn_as_written=7, mlp_as_written=10),
            of("train_error", lenet_as_written=4, cnn_as_written=11, mlp_as_written=10),
        ],
    ),
    ("mnist", "M1c"): (
        of("test_error", lenet_corrected=3.5, cnn_corrected=3.7, mlp_corrected=7.5),
        [
            of("test_error", lenet_corrected=3.0, cnn_corrected=3.7, mlp_corrected=7.5),
            of("test_error", lenet_corrected=4.4, cnn_corrected=3.7, mlp_corrected=7.5),
            of("test_error", lenet_corrected=3.5, cnn_corrected=3.7, mlp_corrected=3.6),
        ],
    ),
    ("mnist", "M2"): (
        of("parameters", mlp_as_written=203_530, cnn_as_written=222_058, lenet_as_written=44_426),
        [
            of("parameters", mlp_as_written=203_530, cnn_as_written=80_000, lenet_as_written=44_426),
            of("parameters", mlp_as_written=203_531, cnn_as_written=222_058, lenet_as_written=44_426),
        ],
    ),
    **{
        ("mnist", claim): (
            {f"mlp-{v}": {"shift_loss": 40}, f"cnn-{v}": {"shift_loss": 20}, f"lenet-{v}": {"shift_loss": 15}},
            [
                {f"mlp-{v}": {"shift_loss": 40}, f"cnn-{v}": {"shift_loss": 50}, f"lenet-{v}": {"shift_loss": 15}},
                {f"mlp-{v}": {"shift_loss": 40}, f"cnn-{v}": {"shift_loss": 20}, f"lenet-{v}": {"shift_loss": 45}},
            ],
        )
        for claim, v in (("M3", "as-written"), ("M3c", "corrected"))
    },
    ("mnist", "M2-pooling"): (
        of("parameters", lenet_without_pooling=2_947_466, lenet_as_written=44_426, cnn_as_written=222_058),
        [
            of("parameters", lenet_without_pooling=80_000, lenet_as_written=44_426, cnn_as_written=60_000),
            of("parameters", lenet_without_pooling=100_000, lenet_as_written=44_426, cnn_as_written=222_058),
        ],
    ),
    ("mnist", "M3-pooling"): (
        of("shift_loss", cnn_pooled_corrected=20, cnn_corrected=33),
        [of("shift_loss", cnn_pooled_corrected=33, cnn_corrected=20)],
    ),
    ("mnist", "M4"): (first_and_last("mlp", 45, 9), [first_and_last("mlp", 20, 9), first_and_last("mlp", 45, 30)]),
    ("mnist", "M5"): (
        together(first_and_last("cnn", 20, 10), first_and_last("mlp", 45, 9)),
        [
            together(first_and_last("cnn", 50, 10), first_and_last("mlp", 45, 9)),
            together(first_and_last("cnn", 20, 22), first_and_last("mlp", 45, 9)),
        ],
    ),
    **{
        ("mnist", claim): (
            together(first_and_last("lenet", 15, 4, v), first_and_last("cnn", 20, 8, v)),
            [
                together(first_and_last("lenet", 22, 4, v), first_and_last("cnn", 20, 8, v)),
                together(first_and_last("lenet", 15, 9, v), first_and_last("cnn", 20, 8, v)),
            ],
        )
        for claim, v in (("M6", "as-written"), ("M6c", "corrected"))
    },
    ("fashion", "F1"): (
        of("test_error", resnet_50_narrow=9, vgg=8),
        [of("test_error", resnet_50_narrow=7, vgg=8)],
    ),
    ("fashion", "F2"): (
        of("test_error", resnet_50_narrow=9, resnet_50_wide=8),
        [of("test_error", resnet_50_narrow=8, resnet_50_wide=9)],
    ),
    ("fashion", "F3"): (fashion_costs(1, 10, 1, 10), [fashion_costs(1, 10, 11, 10), fashion_costs(12, 10, 1, 10)]),
    ("auxiliary", "A1"): (
        heads(-2, 60, -3, 65),
        [heads(-3, 60, -2, 65), heads(-2, 65, -3, 60)],
    ),
    ("activation", "R1"): (
        of("doublings_to_25", tanh=12.6, relu=10.0),
        [of("doublings_to_25", tanh=11.0, relu=10.0), of("doublings_to_25", tanh=14.0, relu=10.0)],
    ),
    ("activation", "R2"): (
        of("gradient_decay", sigmoid=-1.8, relu=-0.2),
        [of("gradient_decay", sigmoid=-0.4, relu=-0.2), of("gradient_decay", sigmoid=-1.8, relu=-1.2)],
    ),
    ("activation", "R3"): (gaps(5, 10), [gaps(10, 5), together(gaps(5, 10), of("generalization_gap", tanh=3.0))]),
    ("plain-vs-resnet", "I1"): (
        of("train_error", plain_34=32, plain_18=31),
        [of("train_error", plain_34=30, plain_18=31)],
    ),
    ("plain-vs-resnet", "I2"): (
        of("train_error", resnet_34=24, resnet_18=30),
        [of("train_error", resnet_34=31, resnet_18=30)],
    ),
    ("plain-vs-resnet", "I3"): (
        of("test_error", plain_34=28.5, resnet_34=25.0, plain_18=27.9, resnet_18=27.8),
        [
            of("test_error", plain_34=28.5, resnet_34=29.0, plain_18=27.9, resnet_18=29.0),
            of("test_error", plain_34=28.5, resnet_34=27.0, plain_18=29.9, resnet_18=26.8),
            of("test_error", plain_34=40.0, resnet_34=25.0, plain_18=36.0, resnet_18=26.0),
        ],
    ),
    ("plain-vs-resnet", "I3-sooner"): (
        of("mean_running_error", plain_18=45, resnet_18=43),
        [of("mean_running_error", plain_18=43, resnet_18=45)],
    ),
    ("transfer", "T1"): (
        of("test_error", fine_tuned_as_written=40, frozen_as_written=80),
        [of("test_error", fine_tuned_as_written=80, frozen_as_written=40)],
    ),
    ("transfer", "T2"): (
        of("test_error_of_guessing", frozen_as_written=80),
        [of("test_error_of_guessing", frozen_as_written=60)],
    ),
    ("transfer", "T2c"): (
        of("test_error_of_guessing", frozen_corrected=80),
        [of("test_error_of_guessing", frozen_corrected=40)],
    ),
    ("transfer", "T3"): (
        of("test_error", frozen_corrected=40, fine_tuned_corrected=30, from_scratch=80),
        [
            of("test_error", frozen_corrected=85, fine_tuned_corrected=30, from_scratch=80),
            of("test_error", frozen_corrected=40, fine_tuned_corrected=85, from_scratch=80),
        ],
    ),
    ("transfer", "T5"): (
        of("step_seconds", fine_tuned_as_written=3, frozen_as_written=1),
        [of("step_seconds", fine_tuned_as_written=1, frozen_as_written=3)],
    ),
    ("transfer", "T6"): (
        once_and_each(60.0, 60.3, 9, 50),
        [once_and_each(61.0, 60.0, 9, 50), once_and_each(60.0, 61.0, 9, 50), once_and_each(60.0, 60.3, 50, 9)],
    ),
}  # fmt: skip


def verdict(experiment: str, claim: str, values: Values) -> str:
    """The verdict on a claim for six seeds at the published budget, the fewest that decide a frequency."""
    seeds = {
        arm: {seed: {m: value + shift for m, value in row.items()} for seed, shift in enumerate(JITTER)}
        for arm, row in values.items()
    }
    selected = [declared for declared in load_experiment(experiment).claims if declared.name == claim]
    (judgement,) = judge_all(selected, Results(seeds))
    return judgement.verdict


def test_every_claim_has_cases() -> None:
    """Other tests judge the claims of degradation (on the paper's numbers) and of complexity, and transfer's T4."""
    claims = {
        (name, claim.name)
        for name in experiment_names()
        if name not in ("degradation", "complexity")
        for claim in load_experiment(name).claims
    }
    assert claims == {*CASES, ("transfer", "T4")}


@pytest.mark.parametrize(("experiment", "claim"), CASES)
def test_claim_is_reproduced_only_if_all_its_parts_hold(experiment: str, claim: str) -> None:
    holds, fails = CASES[experiment, claim]
    assert verdict(experiment, claim, holds) == "supported"
    for values in fails:
        assert verdict(experiment, claim, values) == "contradicted"
