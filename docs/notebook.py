# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From records to verdicts
#
# This notebook reads the committed results of `degradation`: *do deeper plain nets train worse, and do shortcuts fix it?*
# (He et al. 2015, section 4.2). Nothing is trained before the last cell. All columns are described in
# [python.md](python.md).

# %%
import matplotlib.pyplot as plt
import pandas as pd

import resnet_repro

# %% [markdown]
# ## Runs
#
# One row for each run. These followed the published schedule compressed to 8,000 steps, an eighth, with three seeds.

# %%
runs = resnet_repro.runs(experiments="degradation", budgets="8000it")
NETS = ["plain-20", "plain-56", "resnet-20", "resnet-56"]
errors = runs[runs["arm"].isin(NETS)].groupby("arm")[["train_error", "test_error"]].agg(["mean", "std"]).round(2)
errors

# %% [markdown]
# The deeper plain net has the higher *training* error, so overfitting is not the reason. With shortcuts most of the gap is
# gone.

# %% [markdown]
# ## Curves
#
# One row for each run and step. Figure 6 of the paper has the same form: training error dashed, test error solid.

# %%
curves = resnet_repro.curves(experiments="degradation", budgets="8000it", arms=NETS)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for panel, kind in zip(panels, ("plain", "resnet"), strict=True):
    for depth, color in ((20, "tab:orange"), (56, "tab:blue")):
        arm = f"{kind}-{depth}"
        steps = curves[curves["arm"] == arm].groupby("iteration")[["running_train_error", "test_error"]].mean()
        panel.plot(steps["running_train_error"].dropna(), "--", color=color, linewidth=1)
        panel.plot(steps["test_error"].dropna(), color=color, label=arm)
    panel.set(xlabel="iteration", title=kind)
    panel.legend()
_ = panels[0].set(ylabel="error (%), mean of three seeds", ylim=(0, 100))

# %% [markdown]
# ## Claims
#
# One row for each claim, judged from the records by the rules in [claims.md](claims.md). Of several comparisons, the row
# shows the least certain one.

# %%
claims = resnet_repro.claims(experiments="degradation").set_index("claim")
claims[["text", "verdict", "grade", "effect_shown", "interval_shown", "seeds", "p"]]

# %% [markdown]
# ## How much hangs on one seed?
#
# `leave_out` judges again without some seeds. At the budget `quick`, one epoch, there are five. Each row below leaves out
# one of them.

# %%
WATCHED = ["D1", "D2", "D5", "D5-plateau", "D8"]


def verdicts(leave_out=()):
    """The verdicts at the budget `quick`, by claim."""
    judged = resnet_repro.claims(experiments="degradation", budgets="quick", leave_out=leave_out)
    return judged.set_index("claim").loc[WATCHED]


judged = {"no seed": verdicts()} | {f"seed {seed}": verdicts(leave_out=seed) for seed in range(5)}
by_seed = pd.DataFrame({left_out: table["verdict"] for left_out, table in judged.items()}).T.rename_axis("left out")
by_seed

# %% [markdown]
# The claims about errors, D1 and D2, do not change. Others do:
#
# - D5, that vanishing gradients cause the degradation, is contradicted by the five seeds together. Without seed 1, 2 or 3 it
#   is inconclusive: the interval stays on the same side, but the p-value of four seeds does not survive the correction for
#   eleven claims. D8 has the same fate.
# - D5-plateau, that early in the training the gradient vanishes more in plain-56 than in resnet-56, is inconclusive with
#   all seeds, and *supported without seed 0*. Whoever may choose the seeds can choose this verdict. That is why the number
#   of seeds is fixed before the runs.

# %%
effects = pd.DataFrame({left_out: table.loc["D5-plateau"] for left_out, table in judged.items()}).T
effects[["effect_shown", "interval_shown", "p", "verdict"]].rename_axis("left out")

# %% [markdown]
# ## Your own runs
#
# The last cell trains `quick`: five nets for one epoch, 8 minutes on two cores. Interrupted, it continues where it was.
# CIFAR-10 is downloaded first, unless `DATA_MIRROR` names a folder that has it. Runs and report are in `runs/` and `reports/`
# of the checkout, as with `make degradation`.

# %% tags=["train"]
import subprocess
import sys
from pathlib import Path

checkout = Path(resnet_repro.__file__).parents[2]
subprocess.run([sys.executable, "-m", "resnet_repro.cli", "run", "degradation"], cwd=checkout, check=True)
resnet_repro.runs(checkout / "runs")[["arm", "seed", "train_error", "test_error", "seconds", "hardware"]]
