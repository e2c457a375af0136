"""The models: `fit(matrix)`, `score(rows)`, `contributions(row, targets)`; which one a name means is looked up here."""

from __future__ import annotations

from recommender.models.base import Model
from recommender.models.directed import DirectedModel
from recommender.models.factors import AlsModel, BprModel, LogisticMfModel
from recommender.models.linear import LinearModel
from recommender.models.neighbours import ItemBm25Model, ItemCosineModel, ItemTfidfModel, ItemUserModel
from recommender.models.patients import PatientsModel
from recommender.models.popularity import PopularityModel
from recommender.models.simple import ConditionalModel, RecencyModel

MODELS: dict[str, type[Model]] = {
    model.name: model
    for model in (
        DirectedModel,
        LinearModel,
        PopularityModel,
        ConditionalModel,
        RecencyModel,
        ItemCosineModel,
        ItemTfidfModel,
        ItemBm25Model,
        PatientsModel,
        ItemUserModel,
        AlsModel,
        BprModel,
        LogisticMfModel,
    )
}
