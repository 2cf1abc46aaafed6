"""Numbers, quantities and claimed sides in words, the same in all reports."""

from __future__ import annotations

BASES = {"decades": 10.0, "doublings": 2.0}
"""{logarithmic unit: base of the logarithm}."""
FACTORS = {"decades": "times", "doublings": "times as long"}
"""{logarithmic unit: words after the factor it stands for}."""
NAMES = {
    "train_relative_mse": "relative squared error on training images",
    "test_relative_mse": "relative squared error on test images",
    "step_seconds": "seconds per step",
    "forward_seconds": "seconds per forward pass",
    "train_error_epoch_1": "training error after epoch 1",
    "test_error_epoch_1": "test error after epoch 1",
    "train_error_of_guessing": "training error, share of guessing",
    "test_error_of_guessing": "test error, share of guessing",
    "train_error_drop": "fall of the training error",
    "train_loss_least_fall": "least fall of the training loss",
    "validation_loss_lowest_at": "step of the lowest validation loss",
    "validation_loss_rise": "rise of the validation loss",
    "doublings_to_25": "steps to 25 % training error",
    "generalization_gap": "test error − training error",
    "recovered": "variance of the image recovered",
    "mode_change": "predictions that change with the mode",
    "shift_loss": "accuracy lost by shifts",
    "mean_response": "mean response of a layer",
} | {
    f"{before}growth_{stage}": f"{words}gradient growth in stage {stage}"
    for before, words in (("", ""), ("first_", "first "), ("later_", "later "))
    for stage in (1, 2, 3)
} | {f"agreement_{stage}": f"agreement of gradients in stage {stage}" for stage in (1, 2, 3)}  # fmt: skip
"""{metric: its name in statements}. Other metrics are named by their words."""
WORDS = {
    "train": "training", "params": "parameters", "fc": "fully connected", "conv": "convolution", "convs": "convolutions",
    "macs": "multiply-adds", "kib": "KiB", "relus": "ReLUs",
}  # fmt: skip


def quantity(metric: str) -> str:
    """Return the name of a metric in words, e.g. "training error"."""
    return NAMES.get(metric) or " ".join(WORDS.get(word, word) for word in metric.split("_"))


def difference_of(metric: str, arm: str, other: str, unit: str) -> str:
    """Return "training error: a − b", or "gradient decay: a ÷ b" for a difference of logarithms."""
    return f"{quantity(metric)}: {arm} {'÷' if unit in BASES else '−'} {other}"


def value_text(value: float, unit: str, sign: bool) -> str:
    """Format an effect with its unit. Logarithms become factors: −0.41 decades is "0.39 times"."""
    return f"{number_text(value, unit, sign)} {FACTORS.get(unit, unit)}".rstrip()


def number_text(value: float, unit: str, sign: bool) -> str:
    """Format an effect without its unit. sign: print the sign of positive values; factors have none."""
    if unit not in BASES:
        return number(value, sign)
    return factor_text(BASES[unit] ** value)


def factor_text(factor: float) -> str:
    """Format a factor with two significant digits; near 1 with three, if two change it by more than half a percent."""
    if factor >= 10:
        return f"{factor:,.0f}"
    short = f"{factor:.2g}"
    return f"{factor:.3g}" if 0.5 < factor < 2 and abs(float(short) / factor - 1) > 0.005 else short


def claimed_side(low: float | None, high: float | None, unit: str, sign: bool) -> str:
    """Return the claimed side of an effect: "> 0 points", "< 0.1 times", "within ±0.5 points", "10 to 60 %"."""
    words = FACTORS.get(unit, unit)
    texts = ["" if bound is None else _bound(bound, unit, sign) for bound in (low, high)]
    if high is None:
        text = f"> {texts[0]}"
    elif low is None:
        text = f"< {texts[1]}"
    elif low == -high and unit not in BASES:
        text = f"within ±{high:g}"
    else:
        text = f"{texts[0]} to {texts[1]}"
    return f"{text} {words}".rstrip()


def _bound(value: float, unit: str, sign: bool) -> str:
    if unit in BASES:
        return number_text(value, unit, sign)
    return f"{value:{'+' if sign and value else ''},.6g}".replace("-", "−")


def signed(value: float) -> str:
    """Format with a sign and two decimals, or two significant digits if smaller than 0.1."""
    text = f"{value:+.2g}" if 0 < abs(value) < 0.1 else f"{value:+.2f}"
    return text.replace("-", "−")


def number(value: float, sign: bool) -> str:
    """Format with `signed`, or without a sign: integers without decimals, thousands separated."""
    if sign:
        return signed(value)
    if value == int(value):
        return f"{value:,.0f}".replace("-", "−")
    return signed(value).removeprefix("+") if abs(value) < 1_000 else f"{value:,.1f}".replace("-", "−")
