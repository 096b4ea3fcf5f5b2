"""How far a search is, in words: rows of a small table, or one line."""

from __future__ import annotations

from lstmreg.report.news import News, Status
from lstmreg.search.planning import duration
from lstmreg.search.space import describe

from .unfinished import doing
from .writing import change, counted_trainings

#: A machine that has said nothing for so many seconds, where a sign of life comes at least three times, may be dead.
_SILENT = 60.0

#: So many workers, and reasons of failures, have a line.
_MOST = 12


def rows_of_status(status: Status) -> list[tuple[str, str]]:
    """Return what there is to say, each with its name."""
    news, known = status.news, status.known
    is_at_work = status.going in ("running", "elsewhere")
    rows = [("run", str(status.directory)), ("state", state(status))]
    stage = news.stage if news is not None and is_at_work else "" if known is None else known.stage or ""
    if stage and stage != "plan":
        rows.append(("stage", f"{stage}: {doing(stage)}"))
    rows.append(("trainings", _trainings(status)))
    if news is not None and is_at_work:
        rows += _at_work(news, status.age or 0.0)
    if known is not None:
        if known.best is not None and known.best.ratio is not None:
            best = known.best
            rows.append(
                (
                    "best so far",
                    f"{describe(best.setting)}: {change(known.best.ratio - 1)}, better on {best.better} of "
                    f"{best.blocks} blocks; not judged",
                )
            )
        reasons = list(known.failures.items())
        rows += [("failed", f"{count}: {reason}") for reason, count in reasons[:_MOST]]
        if len(reasons) > _MOST:
            rows.append(("failed", f"and for {len(reasons) - _MOST} more reasons"))
        if known.headline:
            rows.append(("answer", known.headline))
        if known.go_on and not is_at_work and status.going != "starting":
            rows.append(("go on with", known.go_on))
    if status.trouble:
        rows.append(("study", f"cannot be read at this moment: {status.trouble}"))
    return rows


def state(status: Status) -> str:
    """Say what is going on."""
    pid = "a process" if status.pid is None else f"process {status.pid}"
    news, ago = status.news, "" if status.age is None else f"{duration_ago(status.age)} ago"
    if status.going == "elsewhere" and news is not None:
        says = f"{pid} on {news.host} gave the last sign of life {ago}"
        return f"{says}: it may be dead, or cut off" if (status.age or 0.0) > _SILENT else f"{says}, and is at work"
    where = "" if news is None else f" on {news.host}"
    return {
        "starting": f"{pid} begins",
        "running": f"{pid}{where} is at work",
        "ended": "the search has ended",
        "interrupted": f"it was interrupted {ago}, and has not ended",
        "failed": f"it ended by an error {ago}, before its end",
        "gone": f"{pid}{where} is gone without a word; its last sign of life was {ago}",
        "stopped": "nobody is at work on it, and it has not ended",
    }[status.going]


def _trainings(status: Status) -> str:
    news, known = status.news, status.known
    done, planned = (news.done, news.planned) if news is not None else (0, 0)
    if known is not None and known.done >= done:  # what it told last may be older
        done, planned = known.done, known.planned or planned
    if known is not None and known.stage is None:
        return f"{done:,}"
    return f"{done:,} of at most {planned:,}" if planned else f"{done:,}"


def _at_work(news: News, age: float) -> list[tuple[str, str]]:
    """Say what is alive and what has stopped of a step, how fast it goes, how long still, and who works."""
    waiting = max(0, news.step - news.ended - news.alive)
    epoch = f", epoch {news.epoch}" if news.epoch else ""
    step = f"{news.alive:,} alive{epoch}, {news.ended:,} stopped, {waiting:,} waiting, of {news.step:,}"
    rows = [("this step", step)] if news.step else []
    if news.pace is not None:
        rows.append(
            ("pace", f"{news.pace:.2g} trainings a second" if news.pace < 100 else f"{news.pace:,.0f} a second")
        )
    if news.seconds_left is not None:
        rows.append(("time left", duration(max(0.0, news.seconds_left - age))))
    for worker in news.workers[:_MOST]:
        rows.append(("at work", f"{worker.name}: {counted_trainings(worker.trainings)}, epoch {worker.epoch}"))
    if len(news.workers) > _MOST:
        rows.append(("at work", f"and {len(news.workers) - _MOST:,} more"))
    return [*rows, *(("note", note) for note in news.notes)]


def line_of_status(status: Status) -> str:
    """Say it in one line."""
    news, known = status.news, status.known
    if status.going not in ("running", "elsewhere") or news is None:
        done = f"{_trainings(status)} trainings"
        return f"{state(status)}: {done}" + (f". {known.headline}" if known is not None and known.headline else "")
    left = "" if news.seconds_left is None else f", {duration(max(0.0, news.seconds_left - (status.age or 0.0)))} left"
    return f"{news.stage}: {_trainings(status)} trainings, {news.alive:,} alive{left}"


def duration_ago(seconds: float) -> str:
    """Say how long ago, no more exactly than it is worth."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
