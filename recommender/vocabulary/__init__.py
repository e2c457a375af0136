"""From a drug name in any hospital's words to an ingredient (or a named combination), its class and its route.

`DrugVocabulary.load().match("ACETAMINOPHEN 325 MG PO TABS")` gives a `DrugMatch`. What is not certain stays unmapped.
"""

from recommender.vocabulary.matcher import DrugMatch, DrugVocabulary
from recommender.vocabulary.tables import Drug, Tables

__all__ = ["Drug", "DrugMatch", "DrugVocabulary", "Tables"]
