"""VISIT_OCCURRENCE and PROVIDER in, what they tell of who gave the care out: the kind of visit, and the specialty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from recommender.ingest_log import IngestLog
from recommender.loaders import omop_codes as codes
from recommender.loaders.omop_tables import named, when
from recommender.loaders.stays import of_stay
from recommender.loaders.tabular import Table, TableSpec, text
from recommender.records import RawEvents

VISITS = TableSpec(
    "visit_occurrence",
    {
        "patient_id": text("person_id"),
        "visit": text("visit_occurrence_id"),
        "standard": text("visit_concept_id", required=False),
        "source": text("visit_source_concept_id", required=False),
        "provider": text("provider_id", required=False),
        **when("start", "visit_start"),
        **when("stop", "visit_end"),
    },
    optional=True,
)
PROVIDERS = TableSpec(
    "provider",
    {
        "provider": text("provider_id"),
        "standard": text("specialty_concept_id", required=False),
        "source": text("specialty_source_concept_id", required=False),
        "source_value": text("specialty_source_value", required=False),
    },
    optional=True,
)


def care_resources(visits: Table, providers: Table, concepts: codes.Concepts, log: IngestLog) -> Iterator[RawEvents]:
    """The kind of every visit; and where its provider's specialty is known, that, under a file name of its own."""
    # visit_source_value is most often the number of the visit
    nothing = visits.frame["standard"].cat.set_categories([])
    yield named(visits.assign(source_value=nothing), codes.visit, concepts).events("care_resource")
    told = named(providers, codes.measurement, concepts).frame.dropna(subset=["provider"]).drop_duplicates("provider")
    told = told.set_index(told["provider"].astype("str"))[["code", "name"]]
    specialty = {word: of_stay(told[word], visits.frame["provider"]) for word in told}
    known = specialty["code"].notna() | specialty["name"].notna()
    if known.any():
        found = replace(visits, file=f"{visits.file} (specialty)", frame=visits.frame.assign(**specialty)[known])
        log.count_read(found.file, len(found.frame))
        yield found.events("care_resource")
