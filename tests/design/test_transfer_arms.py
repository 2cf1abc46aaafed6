"""The arms of `transfer` and their slips."""

from __future__ import annotations

from resnet_repro.config.arm import Start
from resnet_repro.design.registry import load_experiment


def test_the_arms_have_the_slips_of_the_source_and_their_mends() -> None:
    arms = {arm.name: arm for arm in load_experiment("transfer").arms}
    written, mended = arms["frozen-as-written"], arms["frozen-corrected"]
    assert (written.model.options["output"], written.recipe.scaling) == ("probabilities", "unit")
    assert "statistics" not in written.model.options and written.features == "each step"
    assert (mended.model.options["statistics"], mended.recipe.scaling, mended.features) == (
        "running",
        "imagenet",
        "once",
    )
    assert "output" not in mended.model.options
    assert arms["from-scratch"].start is None
    for name in ("frozen-as-written", "fine-tuned-as-written", "frozen-corrected", "fine-tuned-corrected"):
        recipe = arms[name].recipe
        assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.train_images) == (
            "adam",
            1e-4,
            128,
            10_000,
        )
        assert recipe.iterations == 790 and arms[name].start == Start("pretrained", "backbone")
