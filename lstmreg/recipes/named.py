"""The recipes by name: which there are, the file of each, and its settings."""

from __future__ import annotations

from pathlib import Path

from lstmreg.config import ModelConfig, SearchConfig, TrainingConfig, from_dict
from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.yaml_file import read_yaml

#: By name, what each is, in a few words.
RECIPES = {
    "quick": "a minute",
    "default": "about five minutes",
    "thorough": "as long as it takes",
    "staged": "the advice that people get: few units and up, then one knob at a time",
    "stacked": "the recipe that is pasted from the web: three large layers, Bayesian",
}


def file_of(name: str) -> Path:
    """Return the YAML file of a recipe.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}.{did_you_mean(name, RECIPES)}")
    return Path(__file__).parent / f"{name}.yaml"


def recipe(name: str) -> dict[str, ModelConfig | TrainingConfig | SearchConfig]:
    """Return the settings of a recipe by section, to begin a :class:`lstmreg.Config` with.

    Raises:
        ConfigError: If there is none of this name.

    Example:
        >>> from lstmreg import Config, DataConfig
        >>> config = Config(DataConfig("sales.csv", "sales"), **recipe("stacked"))
        >>> config.model.num_layers, config.search.sampler
        (3, 'gp')
    """
    sections = ("model", "training", "search")
    plain = {section: {} for section in sections} | read_yaml(file_of(name))
    config = from_dict({"data": {"path": "data.csv", "target": "y"}} | plain)
    return {section: getattr(config, section) for section in sections}
