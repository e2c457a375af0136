"""From a drug name in any hospital's words to an ingredient (or a named combination), its class and its route; and from
a coded condition to its clinical groups and chapter.

`DrugVocabulary.load().match("ACETAMINOPHEN 325 MG PO TABS")` gives a `DrugMatch`. What is not certain stays unmapped.
"""

from recommender.vocabulary.conditions import ConditionVocabulary
from recommender.vocabulary.matcher import CODE_METHODS, DrugMatch, DrugVocabulary
from recommender.vocabulary.tables import Drug, Tables

__all__ = ["CODE_METHODS", "ConditionVocabulary", "Drug", "DrugMatch", "DrugVocabulary", "Tables"]
