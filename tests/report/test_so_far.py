"""What is said of a search that has not ended: at every training of a real one, beside what that search then did."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import math
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
import pytest

import lstmreg
from lstmreg import report, search
from lstmreg.cli import main
from lstmreg.config import Config
from lstmreg.errors import LstmregError, NoUsableTrialError
from lstmreg.report import Answer, SoFar
from lstmreg.search import Progress, decisions
from lstmreg.search.decisions import Conclusion
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import STAGES, Record
from lstmreg.search.space import key
from lstmreg.yaml_file import write_yaml
from tests.program import Program
from tests.tiny import smallest_config, tiny_config

VERDICTS_OF_THE_JUDGE = {"use", "helps alone, not needed", "helps alone, not confirmed", "off for certain", "harms"}


class Searched(NamedTuple):
    """A search that has come to its end, and what it told when each training had ended."""

    evidence: Evidence
    told: list[Progress]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("whole")
    space = {"model.kernel_l2": [1e-4, 1e-2], "model.dropout": [0.2]}
    told: list[Progress] = []
    evidence = search.run(tiny_config(folder, trials=2, batch=1, race=3, space=space, explain=True), told.append)
    (
        evidence.config.directory / "model.json"
    ).unlink()  # it is made after the test, and not there when it is cut before
    return Searched(evidence, [p for p in told if p.record is not None])


def cut(searched: Searched, count: int) -> Evidence:
    """What is known when so many trainings have ended."""
    known = [p.record for p in searched.told[:count]]
    records = {
        stage: [r for r in searched.evidence.records[stage] if number(r) in map(number, known)] for stage in STAGES
    }
    return dataclasses.replace(searched.evidence, records=records)


def number(record: Record | None) -> tuple[str, int]:
    assert record is not None
    return record.stage, record.number


def at_stage(searched: Searched, role: str) -> Evidence:
    """What is known when some trainings of a stage have ended, and others not."""
    ended = [k for k, p in enumerate(searched.told, 1) if p.record.role == role]
    return cut(searched, ended[len(ended) // 2 - 1] if len(ended) > 1 else ended[0] - 1)


# ---------------------------------------------------------------------- where it stands


def stands_as_told(searched: Searched) -> None:
    """After each training: what comes next is what did, and as many trainings were planned."""
    told, model = searched.told, searched.evidence.config.directory / "model.json"
    for count in range(len(told) - 1):
        if count and told[count - 1].role == "explain":
            model.touch()
        stands = search.standing_of(cut(searched, count))
        after = told[count]
        assert stands is not None
        assert stands.done == count
        if stands.role == "save":  # which is no training
            assert (told[count - 1].role, after.role) == ("test", "explain")
        else:
            assert stands.role == after.role, count
            assert stands.planned == after.planned, count
    model.unlink(missing_ok=True)


def test_it_stands_where_the_search_then_went_on(searched: Searched) -> None:
    stands_as_told(searched)


def test_it_stands_where_the_search_then_went_on_with_nothing_to_judge(tmp_path: Path) -> None:
    told: list[Progress] = []
    evidence = search.run(smallest_config(tmp_path, smallest_effect=0.95, explain=True), told.append)
    assert evidence.records["judge"] == []
    assert told[-1].planned < told[0].planned - 10  # the plan shrank to what was needed
    (evidence.config.directory / "model.json").unlink()
    stands_as_told(Searched(evidence, [p for p in told if p.record is not None]))


def test_what_has_come_to_its_end_is_not_unfinished(searched: Searched) -> None:
    assert searched.evidence.records["explain"]
    model = searched.evidence.config.directory / "model.json"
    stands = search.standing_of(searched.evidence)
    assert stands is not None
    assert (stands.role, stands.done) == ("save", len(searched.told))
    model.touch()
    assert search.standing_of(searched.evidence) is None
    model.unlink()


# ---------------------------------------------------------------------- the numbers


ROLES_WITH_MORE_THAN_ONE_STEP = ("learning rate", "screen", "propose", "race", "judge", "test")


@pytest.mark.parametrize("role", ROLES_WITH_MORE_THAN_ONE_STEP)
def test_numbers_are_means_of_what_has_ended(searched: Searched, role: str) -> None:
    evidence = at_stage(searched, role)
    known = report.what_is_known(evidence)
    assert isinstance(known, SoFar)
    assert known.unfinished.stage == role
    records = [record for stage in STAGES for record in evidence.records[stage]]
    assert known.unfinished.done == len(records) == sum(count for count, _ in known.course.values())
    assert known.seconds == pytest.approx(sum(r.result.seconds for r in records))
    for shown in known.learning_rates:
        losses = [r.result.loss for r in evidence.records["rates"] if key(r.setting) == key(shown.setting)]
        assert shown.loss == pytest.approx(np.mean(losses)) if losses else shown.loss is None
    for shown in known.tried:
        ratio, better, blocks = by_hand(evidence, shown.setting, fresh=False)
        assert (shown.ratio, shown.better, shown.blocks) == (pytest.approx(ratio), better, blocks)
    ratios = [shown.ratio for shown in known.tried]
    assert ratios == sorted(ratios)
    settings = {key(r.setting) for r in evidence.records["choose"] if r.setting}
    assert {key(shown.setting) for shown in known.tried} == settings
    for shown in known.judging:
        ratio, better, blocks = by_hand(evidence, shown.setting, fresh=True)
        assert (shown.ratio, shown.better, shown.blocks) == (pytest.approx(ratio), better, blocks)
    assert bool(known.judging) == (role in ("judge", "test"))


def by_hand(evidence: Evidence, setting: dict[str, object], *, fresh: bool) -> tuple[float, int, int]:
    """Ratio, on how many blocks it is better, and how many blocks compare, of a setting beside no regularization."""
    rate = decisions.chosen_learning_rate(evidence)
    plain = [r for r in evidence.records["rates"] if r.setting["training.learning_rate"] == rate]
    plain += [r for s in ("choose", "judge") for r in evidence.records[s] if not r.setting]
    own = [r for s in ("choose", "judge") for r in evidence.records[s] if key(r.setting) == key(setting)]
    baseline = {r.replicate: r.result.loss for r in plain}
    effects: dict[int, list[float]] = {}
    for record in own:
        if (record.replicate.seed >= 8) == fresh and record.replicate in baseline:
            effect = math.log(record.result.loss / baseline[record.replicate])
            effects.setdefault(record.replicate.block, []).append(effect)
    means = [float(np.mean(of_block)) for of_block in effects.values()]
    return math.exp(np.mean(means)), sum(mean < 0 for mean in means), len(means)


@pytest.mark.parametrize("role", ["learning rate", "screen", "race", "judge"])
def test_nothing_is_recommended_and_no_verdict_given_before_the_judge(searched: Searched, role: str) -> None:
    known = report.what_is_known(at_stage(searched, role))
    assert isinstance(known, SoFar)
    assert (known.recommended, known.candidate, known.is_confirmed, known.judged) == ({}, {}, False, None)
    assert report.headline(known) == "Nothing is recommended yet: the search has not ended."
    of = {knob.path: knob for knob in known.knobs}
    assert {knob.verdict for knob in known.knobs} == {"not judged yet", "not searched"}
    assert of["model.kernel_l2"].verdict == of["training.weight_decay"].verdict == "not judged yet"
    assert of["model.kernel_l1"].verdict == "not searched"
    for knob in known.knobs:
        for dose in knob.doses:
            shown = next(s for s in known.tried if s.setting.get(knob.path) == dose.value and len(s.setting) <= 2)
            assert dose.effect.mean == pytest.approx(shown.ratio - 1)
            assert dose.effect.mean == pytest.approx(math.expm1(np.mean(np.log1p(dose.by_block))))
            assert (dose.effect.low, dose.effect.high) == (-math.inf, math.inf)
        if knob.doses:
            assert knob.alone.mean == min(dose.effect.mean for dose in knob.doses)
    assert bool(of["model.kernel_l2"].doses) == (role != "learning rate")
    said = " ".join(report.sentences(known))
    assert "Use " not in said
    assert "Not known yet: which settings help for certain" in said


def test_the_learning_rate_is_not_said_before_it_is_chosen(searched: Searched) -> None:
    early, later = (report.what_is_known(at_stage(searched, role)) for role in ("learning rate", "screen"))
    assert early.learning_rate is None
    assert later.learning_rate == decisions.chosen_learning_rate(searched.evidence)


def test_when_the_judge_has_judged_it_is_said_and_the_test_is_not_known(searched: Searched) -> None:
    known, conclusion = report.what_is_known(at_stage(searched, "test")), Conclusion.of(searched.evidence)
    assert isinstance(known, SoFar)
    assert (known.recommended, known.candidate) == (conclusion.recommended, conclusion.candidate)
    judged = report.answer(searched.evidence).judged
    assert known.judged == judged
    assert {knob.verdict for knob in known.knobs} <= VERDICTS_OF_THE_JUDGE | {"cannot tell", "not searched"}
    assert "the test is still to come" in report.headline(known)
    assert "Not known yet: the errors on the test" in " ".join(report.sentences(known))


@pytest.mark.parametrize(("role", "stage"), [("explain", "save"), ("explain", "explain")])
def test_after_the_test_the_answer_stands_and_says_what_is_missing(searched: Searched, role: str, stage: str) -> None:
    model = searched.evidence.config.directory / "model.json"
    if stage == "explain":
        model.touch()
    known = report.what_is_known(at_stage(searched, role))
    model.unlink(missing_ok=True)
    whole = report.answer(searched.evidence)
    assert isinstance(known, Answer)
    assert (known.judged, known.test, known.recommended) == (whole.judged, whole.test, whole.recommended)
    assert known.unfinished.stage == stage
    assert report.headline(known) == report.headline(whole)
    first, second, *others = report.sentences(known)
    assert first.startswith(f"The search has not ended: it stopped at stage '{stage}'")
    assert second.startswith("The answer stands")
    assert others[0] == report.sentences(whole)[0]


# ---------------------------------------------------------------------- what is written


def test_all_three_say_first_that_it_has_not_ended_and_how_to_go_on(searched: Searched) -> None:
    evidence = at_stage(searched, "race")
    folder = evidence.config.directory
    known = report.what_is_known(evidence)
    report.write(known, folder)
    count, planned = known.unfinished.done, known.unfinished.planned
    first = (
        "The search has not ended: it stopped at stage 'race' (giving more seeds to those about whom they may "
        f"decide), with {count} of at most {planned} trainings done; go on with: lstmreg search -c {folder}/config.yaml"
    )
    content = json.loads((folder / "answer.json").read_text())
    assert (content["schema"], content["sentences"][0]) == (4, first)
    assert (content["recommended"], content["is_confirmed"], content["judged"]) == ({}, False, None)
    assert content["unfinished"]["stage"] == "race"
    assert {(k["alone"] or {}).get("low") for k in content["knobs"]} == {None}
    markdown = (folder / "answer.md").read_text().splitlines()
    assert markdown[0] == "# Nothing is recommended yet: the search has not ended."
    assert markdown[2] == first
    page = (folder / "report.html").read_text()
    assert html.unescape(page).count(first) == 1
    assert re.findall(r'(?:src|href)="|<script', page) == []
    assert "refresh" not in page  # nobody writes it again
    assert "dropout=0.2" in html.unescape(page)


def test_the_page_on_it_names_every_key(searched: Searched) -> None:
    content = dataclasses.asdict(report.what_is_known(at_stage(searched, "judge")))
    described = (Path(lstmreg.__file__).parents[1] / "docs" / "report.md").read_text()
    for key_ in {*content, *content["unfinished"], *content["tried"][0], *content["judging"][0]}:
        assert f"`{key_}`" in described, key_


def test_hostile_notes_stay_inert(searched: Searched) -> None:
    evidence = at_stage(searched, "screen")
    card = dataclasses.replace(evidence.card, notes=["<script>alert(1)</script>"])
    report.write(report.what_is_known(dataclasses.replace(evidence, card=card)), evidence.config.directory)
    page = (evidence.config.directory / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_failures_stand_beside_by_reason_and_in_no_mean(searched: Searched) -> None:
    evidence = at_stage(searched, "race")
    before = report.what_is_known(evidence)
    failing = [k for k, r in enumerate(evidence.records["choose"]) if r.setting == {"model.dropout": 0.2}][:2]
    records = list(evidence.records["choose"])
    for step, k in enumerate(failing):
        said = f"diverged: the training loss is nan at step {step}. Lower the learning rate."
        records[k] = dataclasses.replace(records[k], result=None, failure=said)
    known = report.what_is_known(dataclasses.replace(evidence, records=evidence.records | {"choose": records}))
    assert known.failures == {"diverged: the training loss is nan at step 0.": 2}
    assert "2 trainings failed: diverged: the training loss is nan at step 0." in report.sentences(known)
    one, whole = (next(s for s in k.tried if s.setting == {"model.dropout": 0.2}) for k in (known, before))
    assert (one.failed, whole.failed) == (2, 0)
    assert one.blocks <= whole.blocks


def test_without_one_result_there_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = smallest_config(tmp_path)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        search.run(config, stop)
    assert main(["report", str(config.directory)]) == 5
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    line = f"Go on with: lstmreg search -c {config.directory}/config.yaml"
    assert said.startswith("lstmreg: run 'waves' has no training with a result yet, of at most ")
    assert said.endswith(f"{line}\n")
    assert not (config.directory / "answer.json").exists()


def test_where_all_have_failed_so_far_the_reason_is_said(searched: Searched) -> None:
    evidence = cut(searched, 3)
    failed = [dataclasses.replace(r, result=None, failure="diverged. So it goes.") for r in evidence.records["rates"]]
    with pytest.raises(NoUsableTrialError, match=r"3 failed: diverged\. Go on with: lstmreg search -c"):
        report.what_is_known(dataclasses.replace(evidence, records=evidence.records | {"rates": failed}))


# ---------------------------------------------------------------------- going on, and a search that runs


def stopped(config: Config, role: str) -> Progress:
    """Stop a search when the first training of a stage has ended."""
    told: list[Progress] = []

    def stop(progress: Progress) -> None:
        told.append(progress)
        if progress.role == role and progress.record is not None:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        search.run(config, stop)
    return told[-1]


def test_the_line_that_is_named_goes_on_also_where_the_folder_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = smallest_config(tmp_path)
    stopped(config, "judge")
    moved = tmp_path / "else where" / "waves"
    moved.parent.mkdir()
    config.directory.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "else where/waves"]) == 0
    said = json.loads((moved / "answer.json").read_text())["unfinished"]["go_on"]
    expected = "lstmreg search -c 'else where/waves/config.yaml' --runs='else where'"
    assert said == expected
    assert f"go on with: {expected}\n" in capsys.readouterr().out
    ran = sum(len(records) for records in search.read(moved).records.values())
    assert main(shlex.split(said)[1:]) == 0
    content = json.loads((moved / "answer.json").read_text())
    assert content["unfinished"] is None
    assert sum(count for count, _ in content["course"].values()) > ran
    assert search.standing_of(search.read(moved)) is None


def test_while_a_process_is_at_it_its_page_stays_and_the_rest_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = smallest_config(tmp_path)
    stopped(config, "screen")
    (config.directory / "report.html").write_text("the page of the search")
    with filelock.FileLock(config.directory / ".lock"):
        before = {path.name: path.read_bytes() for path in config.directory.iterdir()}
        assert main(["report", str(config.directory)]) == 0
        after = {path.name: path.read_bytes() for path in config.directory.iterdir()}
    assert {name: content for name, content in after.items() if name in before} == before
    assert set(after) - set(before) == {"answer.json", "answer.md"}
    content = json.loads(after["answer.json"])
    assert content["unfinished"]["is_running"]
    assert content["sentences"][0].startswith("The search has not ended: a process is at work on it, at stage 'screen'")
    assert "Written into" in capsys.readouterr().out
    assert main(["report", str(config.directory)]) == 0
    assert "the page of the search" not in (config.directory / "report.html").read_text()


def test_reports_all_through_a_search_disturb_nothing_and_the_last_word_is_the_answer(tmp_path: Path) -> None:
    config = smallest_config(tmp_path)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, max_epochs=40, patience=40))
    write_yaml(config, tmp_path / "lstmreg.yaml")
    stages = set()
    with Program(tmp_path, "search", "-c", "lstmreg.yaml") as runs:
        while runs.poll() is None:
            with contextlib.suppress(LstmregError):  # it has not begun, or nothing has a result
                known = report.write_what_is_known(config.directory)
                stages.add(None if known.unfinished is None else known.unfinished.stage)
        _, said = runs.communicate()
    assert (runs.returncode, said) == (0, "")
    assert {"screen", "judge"} & stages
    content = json.loads((config.directory / "answer.json").read_text())
    assert content["unfinished"] is None
    assert content["headline"] == report.headline(report.answer(search.read(config.directory)))
    assert "The search has not ended" not in (config.directory / "report.html").read_text()
