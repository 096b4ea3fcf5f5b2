"""Searches with a name, as files of settings that lie beneath a user's own."""

from .named import RECIPES as RECIPES
from .named import file_of as file_of
from .named import recipe as recipe
