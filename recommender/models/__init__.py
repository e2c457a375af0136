"""The models: `fit(matrix)`, `score(rows)`, `contributions(row, targets)`; which one a name means is looked up here."""

from __future__ import annotations

from recommender.models.base import Model
from recommender.models.blend import BlendModel
from recommender.models.caser import CaserModel
from recommender.models.directed import DirectedModel
from recommender.models.factors import AlsModel, BprModel, LogisticMfModel
from recommender.models.linear import EaseModel, LinearModel
from recommender.models.logistic import CandidatesLogisticModel, LogisticModel
from recommender.models.neighbours import ItemBm25Model, ItemCosineModel, ItemTfidfModel, ItemUserModel
from recommender.models.patients import PatientsModel
from recommender.models.popularity import PopularityModel
from recommender.models.simple import ConditionalModel, RecencyModel, RepeatLastModel

MODELS: dict[str, type[Model]] = {
    model.name: model
    for model in (
        DirectedModel,
        LinearModel,
        EaseModel,
        PopularityModel,
        ConditionalModel,
        RecencyModel,
        RepeatLastModel,
        ItemCosineModel,
        ItemTfidfModel,
        ItemBm25Model,
        PatientsModel,
        ItemUserModel,
        AlsModel,
        BprModel,
        LogisticMfModel,
        LogisticModel,
        CandidatesLogisticModel,
        BlendModel,
        CaserModel,
    )
}
# what a night can serve: its matrix has no sequence of visits, which earned no place (docs/evaluation.md)
SERVABLE = tuple(name for name, model in MODELS.items() if not model.reads_visits)
