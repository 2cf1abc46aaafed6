"""Predictions for single test images: collected by the final evaluation, stored beside the record and in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_records import make_record

import resnet_repro
from resnet_repro.data.base import StreamConfig
from resnet_repro.data.sources import DataSources, obtain
from resnet_repro.data.stream import InMemoryData
from resnet_repro.design.experiment import Experiment
from resnet_repro.diagnostics.predictions import PredictionCollector
from resnet_repro.distributed import ALONE
from resnet_repro.errors import UserError
from resnet_repro.records.predictions import correct_images, keeps_logits, packed, read_predictions, write_predictions
from resnet_repro.records.record import collect, read_record
from resnet_repro.report.content import build_content
from resnet_repro.report.verdicts import judged


@pytest.mark.slow
def test_a_run_keeps_the_logits_of_its_last_evaluation(whole_run: Path, tiny_data: Path) -> None:
    record, stored = read_record(whole_run), read_predictions(whole_run)
    assert stored is not None
    logits, labels = stored
    arrays = obtain("standin-tiny", DataSources(tiny_data))
    assert labels.tolist() == arrays.test.labels.tolist()
    data = InMemoryData(arrays, StreamConfig(record.recipe, 0, 1, torch.device("cpu")))
    net = resnet_repro.load_run(whole_run)
    with torch.inference_mode():
        again = torch.cat([net(images) for images, _ in data.batches("test")])
    assert logits.dtype == np.float16
    assert np.allclose(logits, again.numpy(), rtol=1e-3, atol=1e-3)
    correct = correct_images(record)
    assert correct is not None
    assert correct.tolist() == (again.argmax(1).numpy() == labels).tolist()
    assert 100 * (1 - correct.mean()) == pytest.approx(record.final["test_error"])


def test_bits_survive_packing_and_contradictions_are_refused(tmp_path: Path, degradation: Experiment) -> None:
    correct = np.random.default_rng(0).random(1_003) > 0.25
    final = {"test_error": 100 * float(1 - correct.mean()), "test_images": 1_003}
    folder = make_record(tmp_path, degradation, "plain-20", 0, final=final, test_correct=packed(correct))
    unpacked = correct_images(read_record(folder))
    assert unpacked is not None and (unpacked == correct).all()
    cases = ((packed(~correct), final), ("AAAA", final), ("é", final), (packed(correct), {}))
    for seed, (bits, errors) in enumerate(cases, start=1):
        folder = make_record(tmp_path, degradation, "plain-20", seed, final=errors, test_correct=bits)
        with pytest.raises(UserError, match="contradicts its test error"):
            correct_images(read_record(folder))


def test_large_logits_are_not_kept_and_unreadable_images_end_it() -> None:
    assert keeps_logits(10_000, 100) and not keeps_logits(50_000, 1_000)
    logits, labels = torch.tensor([[1e9, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 0])
    for images, expected in ((3, [True, True, False]), (4, None)):
        collector = PredictionCollector(images, classes=2)
        for part in (slice(2), slice(2, 3)):
            collector(logits[part], logits[part].log_softmax(1), labels[part])
        predictions = collector.gather(ALONE)
        assert (predictions and predictions.correct.tolist()) == expected
        if predictions is not None:
            assert predictions.logits is not None and np.isfinite(predictions.logits).all()
    wide = PredictionCollector(100_000, classes=1_000)
    wide(torch.zeros(100_000, 1).expand(-1, 1_000), torch.zeros(100_000, 1), torch.zeros(100_000))
    predictions = wide.gather(ALONE)
    assert predictions is not None and predictions.logits is None and predictions.correct.all()


def test_a_damaged_file_of_predictions_is_named(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None
    write_predictions(tmp_path, np.zeros((2, 3), np.float16), np.zeros(2, np.int32), {"split": "test"})
    (tmp_path / "predictions.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"predictions.*cannot be read"):
        read_predictions(tmp_path)


def test_reports_show_the_spread_if_two_seeds_have_predictions(tmp_path: Path, degradation: Experiment) -> None:
    rng = np.random.default_rng(0)
    for arm, known in (("plain-20", 2), ("resnet-20", 1), ("plain-56", 0)):
        for seed in range(3):
            correct = rng.random(10_000) > 0.1
            final = {"test_error": 100 * float(1 - correct.mean()), "test_images": 10_000}
            bits = packed(correct) if seed < known else None
            make_record(tmp_path, degradation, arm, seed, final=final, test_correct=bits)
    records = collect(tmp_path, "degradation", "paper")

    def tables(shown: list) -> list[dict]:
        return build_content(degradation, "paper", shown, judged(degradation, shown), {}, [])["results"]

    spread = tables(records)[1]
    (row,) = spread["rows"]
    assert row[:3] == ["plain-20", "2", "10,000"] and len(row) == len(spread["header"])
    assert float(row[5]) == pytest.approx(0.3, abs=0.01)  # √(0.1 · 0.9 / 10,000)
    assert len(tables([record for record in records if record.arm == "resnet-20"])) == 1
