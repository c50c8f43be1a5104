"""Read the files of conf/recipe, and fill in the defaults that they leave out.

A recipe file names only the options that differ from the defaults of engine.training.Recipe. The
composed configuration still holds every option: `--help` and `--cfg job` show all of them, a value
on the command line is compared with its default, and config.yaml stores all of them.
"""

from pathlib import Path

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from engine.errors import first_line
from scripts.cli.targets import defaults, options

RECIPE = "engine.training.Recipe"


def complete_recipes(conf: Path) -> None:
    """From now on Hydra reads the folder `conf` through CompletedRecipes."""

    class Through(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for element in search_path.get_path():
                if element.path == str(conf):
                    element.path = f"{CompletedRecipes.scheme()}://{conf}"

    Plugins.instance().register(CompletedRecipes)
    Plugins.instance().register(Through)


class CompletedRecipes(FileConfigSource):
    """A folder of configuration files; a recipe is completed when it is read."""

    @staticmethod
    def scheme() -> str:
        return "completed"

    def load_config(self, config_path: str) -> ConfigResult:
        try:
            result = super().load_config(config_path)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise HydraException(f"conf/{config_path}: {_reason(error)}") from error
        if config_path.startswith("recipe/"):
            result.config = completed(result.config)
        return result


def _reason(error: Exception) -> str:
    """Where the file is no YAML, and why, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = "" if mark is None else f"line {mark.line + 1}: "
    return where + (problem or first_line(error))


def completed(recipe: DictConfig) -> DictConfig:
    """A Recipe with every option, in the order of the constructor.

    Another class stays as it is, and so does a recipe that changes another one (`defaults: [...]`):
    the other one is complete.
    """
    if recipe.get("_target_") != RECIPE or "defaults" in recipe:
        return recipe
    named = OmegaConf.to_container(recipe)
    every = {"_target_": RECIPE} | defaults(RECIPE) | named
    order = ["_target_", *options(RECIPE), *named]
    return OmegaConf.create({key: every[key] for key in dict.fromkeys(order) if key in every})
