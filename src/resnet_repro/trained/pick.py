"""Choose the weights that the repository holds: for each network one run of its longest budget."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnet_repro.design.experiment import Experiment
from resnet_repro.errors import UserError, os_reason
from resnet_repro.models.weights import save_state, state_sha256
from resnet_repro.parsing import plural
from resnet_repro.records.layout import WEIGHTS
from resnet_repro.records.record import Record, find_record
from resnet_repro.trained.card import Siblings, siblings_of, weights_page
from resnet_repro.trained.shared import RECORD_OF, Repository, read_shared

log = logging.getLogger(__name__)
LARGEST_TOTAL = 12 * 10**6  # bytes of all weights: every clone has to fetch them
PAGE = "README.md"


@dataclass(frozen=True)
class _Candidate:
    """A run with a reference record and weights at hand."""

    record: Record
    state: dict[str, Tensor]
    siblings: Siblings

    @property
    def rank(self) -> tuple[float, ...]:
        """The lowest is chosen: the longest training, the error nearest to the mean of the seeds, the lowest seed."""
        error = self.record.value("test_error")
        assert error is not None
        return -self.record.iterations, abs(error - self.siblings.mean), self.record.seed


def pick_weights(experiment: Experiment, runs_dir: Path, repository: Repository) -> list[str]:
    """Write the weights of one run of each network of an experiment to the repository, and the page that describes them.

    Candidates are finished runs on the experiment's own data set with a reference record, whose weights lie in `runs_dir`
    with the record's digest or are in the repository already. Of the longest budget, the run with the test error nearest to
    the mean of the seeds is taken, so that none is chosen for its luck. Returns lines for the console.
    Raises UserError if there are no candidates, if they are too large together, or if a file cannot be written.
    """
    names = [arm.name for arm in experiment.arms if not arm.control and arm.task == "classify"]
    chosen = {name: best for name in names if (best := _best(experiment, name, runs_dir, repository)) is not None}
    if not chosen:
        raise UserError(
            f"{runs_dir} holds no weights of runs of {experiment.name} with records in {repository.records}: expected "
            f"{WEIGHTS} with the digest of the run's reference record"
        )
    try:
        _write(chosen, repository)
        _delete_others(names, chosen, repository)
    except OSError as error:
        raise UserError(
            f"{repository.weights} cannot be written ({os_reason(error)}): check its permissions"
        ) from error
    return [
        f"{name}: seed {best.record.seed} of {best.record.budget}, test error {best.record.value('test_error'):.2f} % "
        f"({best.siblings.text})"
        for name, best in chosen.items()
    ] + [f"written: {plural(len(chosen), 'file')} and {PAGE} in {repository.weights}"]


def _best(experiment: Experiment, name: str, runs_dir: Path, repository: Repository) -> _Candidate | None:
    candidates = []
    if name in repository.names():
        try:
            record, state = read_shared(name, repository)
            candidates.append(_Candidate(record, state, siblings_of(record)))
        except UserError as error:  # its record was renewed or removed: other weights may take its place
            log.info(f"not kept: {error}")
    for folder in sorted((repository.records / experiment.name).glob(f"*/{name}/seed*")):
        record = find_record(folder)
        if record is None or record.status != "finished" or record.dataset.name != experiment.dataset:
            continue
        path = runs_dir / folder.relative_to(repository.records) / WEIGHTS
        if path.exists() and record.value("test_error") is not None and (state := _state_of(path, record)) is not None:
            candidates.append(_Candidate(record, state, siblings_of(record)))
    return min(candidates, key=lambda candidate: candidate.rank, default=None)


def _state_of(path: Path, record: Record) -> dict[str, Tensor] | None:
    """The weights of a run; None, with a line, if they are not those of its reference record."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        log.info(f"skipped: {path} cannot be read ({error})")
        return None
    if state_sha256(state) != record.weights_sha256:
        log.info(f"skipped: {path} has another digest than {record.folder}")
        return None
    return state


def _delete_others(names: Sequence[str], chosen: Collection[str], repository: Repository) -> None:
    """Delete the weights of networks that were not chosen, because their records were renewed or removed. Raises OSError."""
    for name in set(repository.names()) & set(names) - set(chosen):
        repository.file(name).unlink()
        log.info(f"deleted: {repository.file(name)}, which has no reference record any more")


def _write(chosen: dict[str, _Candidate], repository: Repository) -> None:
    sizes = {
        name: sum(tensor.numel() * tensor.element_size() for tensor in best.state.values())
        for name, best in chosen.items()
    }
    if sum(sizes.values()) > LARGEST_TOTAL:
        raise UserError(
            f"the weights of {', '.join(sizes)} take {sum(sizes.values()) / 1e6:.1f} MB: expected at most "
            f"{LARGEST_TOTAL / 1e6:.0f} MB, as every clone fetches them"
        )
    repository.weights.mkdir(exist_ok=True)
    for name, best in chosen.items():
        place = best.record.folder.relative_to(repository.records).as_posix()
        save_state(best.state, repository.file(name), {RECORD_OF: place})
    page = weights_page({name: (best.record, best.siblings) for name, best in chosen.items()})
    (repository.weights / PAGE).write_text(page, encoding="utf-8")
