"""The models: `fit(matrix)`, `score(rows)`, `contributions(row, targets)`; which one a name means is looked up here."""

from __future__ import annotations

from recommender.models.base import Model
from recommender.models.linear import LinearModel
from recommender.models.popularity import PopularityModel

MODELS: dict[str, type[Model]] = {model.name: model for model in (LinearModel, PopularityModel)}
