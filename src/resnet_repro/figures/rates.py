"""Figure of the final training error against the learning rate, and of longer trainings at the best rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from resnet_repro.config.arm import Arm
from resnet_repro.figures.alternative import by_panel, number, over_seeds
from resnet_repro.figures.figure import Context, Drawing, FigureSpec
from resnet_repro.figures.seeds import PALE
from resnet_repro.figures.style import PAPER_GREY, WIDTH, looks
from resnet_repro.records.metrics import metrics_of
from resnet_repro.records.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = 3.0  # the place of nets with a warm-up on the axis of rates, as a multiple of the highest rate
MARK = {"linestyle": "none", "markersize": 5}
HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.2}


@dataclass(frozen=True)
class NetAtRates:
    """The arms of one net."""

    by_rate: Sequence[Arm]
    """One for each rate."""
    warmed_up: Arm
    """At the published rate after a warm-up."""
    best: Arm
    """A longer training at the best rate."""
    published: Arm | None
    """An equally long training at the published rate. None: there is none."""


def errors_by_rate(nets: Mapping[str, NetAtRates], published: float) -> FigureSpec:
    """Final training error against the learning rate, one line per net, with warmed-up nets apart on the right.

    A second panel has the longer trainings, at the best rate of each net and at the published one.
    nets: {name: arms}. published: the published rate, which is marked.
    """

    def draw(context: Context) -> Drawing | None:
        from matplotlib.figure import Figure

        shown = {name: net for name, net in nets.items() if any(context.of(arm.name) for arm in net.by_rate)}
        if not shown:
            return None
        style = looks(list(nets))
        longer = {name: net for name, net in shown.items() if context.of(net.best.name)}
        figure = Figure(figsize=(WIDTH, 3.4))
        axes = figure.subplots(
            1, 2 if longer else 1, sharey=True, squeeze=False, width_ratios=[3, 2][: 1 + bool(longer)]
        )
        _against_rates(axes[0][0], context, shown, style, published)
        if longer:
            _longer(axes[0][1], context, longer, style)
        axes[0][0].set_ylabel("final training error (%)")
        axes[0][0].set_ylim(0, 1.1 * axes[0][0].get_ylim()[1])  # room for the label of the published rate
        handles, labels = zip(*(pair for ax in axes[0] for pair in _entries(ax)), strict=True)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return Drawing(figure, _caption(context, shown, bool(longer), published), _alternative(context, shown, longer))

    return FigureSpec("errors_by_rate", draw)


def _against_rates(
    ax: Axes, context: Context, nets: Mapping[str, NetAtRates], style: Mapping[str, dict[str, Any]], published: float
) -> None:
    rates = sorted({arm.recipe.learning_rate for net in nets.values() for arm in net.by_rate})
    apart = max(rates) * APART
    warmed_up = False
    for name, net in nets.items():
        runs = {arm.recipe.learning_rate: _errors(context, arm) for arm in net.by_rate}
        measured = {rate: errors for rate, errors in sorted(runs.items()) if errors}
        for rate, errors in measured.items():
            _pale(ax, rate, errors, style[name])
        means = [mean(errors) for errors in measured.values()]
        ax.plot(list(measured), means, **style[name], markersize=5, label=name)
        if errors := _errors(context, net.warmed_up):
            warmed_up = True
            _pale(ax, apart, errors, style[name])
            ax.plot(apart, mean(errors), **style[name], **MARK)
    ax.set_xscale("log")
    ax.axvline(published, color=PAPER_GREY, linestyle=":", linewidth=1.2, zorder=1)
    ax.annotate(
        "published rate ", (published, 1), xycoords=("data", "axes fraction"), ha="right", va="top", fontsize=7,
        color="#555555",
    )  # fmt: skip
    ticks = {rate: f"{rate:g}" for rate in rates} | ({apart: f"{published:g} after\nwarm-up"} if warmed_up else {})
    if warmed_up:
        ax.axvspan(max(rates) * APART**0.5, apart * APART**0.5, color="#F2F2F2", zorder=0)
        ax.set_xlim(min(rates) / 1.3, apart * APART**0.5)
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.set_xlabel("first learning rate")
    ax.set_title(f"{_steps(context, [arm for net in nets.values() for arm in net.by_rate])} steps at each rate")


def _longer(ax: Axes, context: Context, nets: Mapping[str, NetAtRates], style: Mapping[str, dict[str, Any]]) -> None:
    labels = []
    for place, (name, net) in enumerate(nets.items()):
        shift = 0.16 if net.published and context.of(net.published.name) else 0.0
        for arm, at, look in ((net.best, place - shift, {}), (net.published, place + shift, HOLLOW)):
            errors = _errors(context, arm) if arm else []
            if errors:
                _pale(ax, at, errors, style[name])
                ax.plot(at, mean(errors), **style[name], **MARK, **look)
        labels.append(f"{name}\n{_chosen(context.of(net.best.name))}")
    ax.set_xticks(range(len(nets)), labels)
    ax.set_xlim(-0.5, len(nets) - 0.5)
    ax.set_xlabel("net, with its best rate")
    ax.set_title(f"{_steps(context, [net.best for net in nets.values()])} steps")
    key: list[tuple[str, dict[str, Any]]] = [("best rate", {}), ("published rate", HOLLOW)]
    if not any(net.published and context.of(net.published.name) for net in nets.values()):
        del key[1:]
    for label, look in key:
        ax.plot([], [], color="#333333", marker="o", **MARK, **look, label=label)


def _entries(ax: Axes) -> list[tuple[Any, str]]:
    return list(zip(*ax.get_legend_handles_labels(), strict=True))


def _chosen(runs: Sequence[Record]) -> str:
    """Return the rates that the searches of all seeds chose: "0.03", or "0.01–0.03"."""
    rates = sorted({record.recipe.learning_rate for record in runs})
    return "–".join(f"{rate:g}" for rate in dict.fromkeys((rates[0], rates[-1])))


def _pale(ax: Axes, at: float, errors: Sequence[float], look: Mapping[str, Any]) -> None:
    """Draw the seeds behind their mean if there are several."""
    if len(errors) > 1:
        ax.plot(
            [at] * len(errors), errors, linestyle="none", color=look["color"], marker=look["marker"], alpha=PALE,
            markersize=3, markeredgewidth=0, zorder=1.8,
        )  # fmt: skip


def _errors(context: Context, arm: Arm) -> list[float]:
    errors = (metrics_of(record).get("train_error") for record in context.of(arm.name))
    return [error for error in errors if error is not None]


def _steps(context: Context, arms: Sequence[Arm]) -> str:
    """Return the steps of the arms' runs, e.g. "2,000"."""
    lengths = {record.settings.iterations for arm in arms for record in context.of(arm.name)}
    return " or ".join(f"{length:,}" for length in sorted(lengths))


def _alternative(context: Context, nets: Mapping[str, NetAtRates], longer: Mapping[str, NetAtRates]) -> str:
    """Say the mean error of each net at each rate, after a warm-up, and after the longer trainings."""
    errors: dict[str, dict[str, str]] = {}
    counts = []
    for name, net in nets.items():
        lines = {f"at rate {arm.recipe.learning_rate:g}": arm for arm in net.by_rate}
        lines["after a warm-up"] = net.warmed_up
        if name in longer:
            lines |= {"longer at the best rate": net.best}
            lines |= {"longer at the published rate": net.published} if net.published else {}
        measured = {where: runs for where, arm in lines.items() if (runs := _errors(context, arm))}
        errors[name] = {where: number(mean(runs), "%") for where, runs in measured.items()}
        counts += [len(runs) for runs in measured.values()]
    return f"Final training error against the first learning rate, {over_seeds(counts)}. {by_panel(errors)}"


def _caption(context: Context, nets: Mapping[str, NetAtRates], longer: bool, published: float) -> str:
    caption = (
        "Training error after the last step against the first learning rate, which is divided by 10 after a half and after "
        f"three quarters of the steps. Dotted: the published rate of {published:g}."
    )
    if any(context.of(net.warmed_up.name) for net in nets.values()):
        caption += " Apart on the right: the published rate after the paper's warm-up at 0.01."
    if longer:
        caption += " Right: longer trainings at the rate that gave each net the lowest error on the left (filled)"
        at_published = any(net.published and context.of(net.published.name) for net in nets.values())
        caption += " and at the published rate (hollow)." if at_published else "."
    several = any(len(context.of(arm.name)) > 1 for net in nets.values() for arm in net.by_rate)
    seeds = "Markers are means over seeds; pale markers are single seeds." if several else "Each marker is one seed."
    return f"{caption} {seeds} A diverged run counts with the error of guessing."
