"""An eICU-CRD folder (demo or full release) in, its people and events out.

Times are minutes from the admission to a unit; `eicu_clock` makes a calendar of them. An event starts when the hospital
knew of it: an order when it was written or, if that is earlier, begun; a diagnosis, a home drug, a past condition and
an allergy when it was entered. `site` is the hospital of a person's last stay. Attributes of hospitals are not read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders import eicu_codes as codes
from recommender.loaders.columns import chosen, distinct, per_distinct
from recommender.loaders.eicu_clock import Stays, read_stays
from recommender.loaders.stays import of_stay
from recommender.loaders.tabular import Export, Table, TableSpec, number, text
from recommender.records import TIME, RawEvents, RawPatients
from recommender.vocabulary import DrugVocabulary

STAY = text("patientunitstayid", filled=True)
HICL = text("drughiclseqno", required=False)
MEDICATION = TableSpec(
    "medication",
    {
        "stay": STAY,
        "ordered": number("drugorderoffset", required=False, unreadable="set aside"),
        "start": number("drugstartoffset", unreadable="set aside"),
        "stop": number("drugstopoffset", required=False, unreadable="set aside"),
        "cancelled": text("drugordercancelled", required=False),
        "name": text("drugname", lines=True),
        "hicl": HICL,
        "route": text("routeadmin", required=False),
    },
)
INFUSIONS = TableSpec(
    "infusiondrug",
    {
        "stay": STAY,
        "start": number("infusionoffset"),
        "name": text("drugname", filled=True, lines=True),
        "rate": number("drugrate", required=False, unreadable="set aside"),
    },
    optional=True,
)
HOME_DRUGS = TableSpec(
    "admissiondrug",
    {
        "stay": STAY,
        "start": number("drugenteredoffset", "drugoffset"),
        "name": text("drugname", lines=True),
        "hicl": HICL,
    },
    optional=True,
)
TREATMENTS = TableSpec(
    "treatment",
    {"stay": STAY, "start": number("treatmentoffset"), "path": text("treatmentstring", filled=True)},
    optional=True,
)
DIAGNOSES = TableSpec(
    "diagnosis",
    {
        "stay": STAY,
        "start": number("diagnosisoffset"),
        "path": text("diagnosisstring"),
        "icd": text("icd9code", required=False),
    },
    optional=True,
)
PAST_HISTORY = TableSpec(
    "pasthistory",
    {
        "stay": STAY,
        "start": number("pasthistoryenteredoffset", "pasthistoryoffset"),
        "path": text("pasthistorypath", filled=True),
    },
    optional=True,
)
ADMISSION_DIAGNOSES = TableSpec(
    "admissiondx",
    {
        "stay": STAY,
        "start": number("admitdxenteredoffset"),
        "path": text("admitdxpath", filled=True),
        "name": text("admitdxname", required=False),
    },
    optional=True,
)
# an allergy whose time cannot be read is still an allergy
ALLERGIES = TableSpec(
    "allergy",
    {
        "stay": STAY,
        "start": number("allergyenteredoffset", "allergyoffset", unreadable="set aside"),
        "type": text("allergytype", required=False),
        "drug": text("drugname", required=False),
        "name": text("allergyname", lines=True),
        "hicl": HICL,
    },
    optional=True,
)
AGREEMENT = 0.9  # of the named rows of a code, so many must name one drug for the others to go by its name
PAUSE = pd.Timedelta(hours=24)  # an infusion not charted for longer has ended


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read `patient`, `medication` and what is there of the other seven tables."""
    stays = read_stays(export)
    return stays.people(export.log), _events(export, stays)


def _events(export: Export, stays: Stays) -> Iterator[RawEvents]:
    """Tables are read whole: what a code means is learned from all its rows, and a stay's infusions are joined."""
    log, vocabulary = export.log, export.vocabulary
    orders, home, allergies = (
        _keyed(stays.timed(export.read(spec), log)) for spec in (MEDICATION, HOME_DRUGS, ALLERGIES)
    )
    learned = _learned([orders, home, allergies.assign(name=allergies.frame["drug"])], vocabulary)
    yield _orders(_named(orders, learned, log), stays, log).events("drug")
    yield _going_on(_named(home, learned, log)).assign(reported=True).events("drug")
    yield _allergies(_going_on(allergies), vocabulary, log).events("allergy")
    del orders, home, allergies
    yield _infusions(stays.timed(export.read(INFUSIONS), log), log).events("drug")
    yield _treatments(stays.timed(export.read(TREATMENTS), log)).events("procedure")
    yield _units(stays, log).events("care_resource")
    yield from _diagnoses(_going_on(stays.timed(export.read(DIAGNOSES), log)), log)
    yield _past_conditions(_going_on(stays.timed(export.read(PAST_HISTORY), log)), log).events("condition")
    yield _admission_diagnoses(_going_on(stays.timed(export.read(ADMISSION_DIAGNOSES), log)), log).events("condition")


def _going_on(table: Table) -> Table:
    return table.assign(stop=pd.Series(pd.NaT, index=table.frame.index, dtype=TIME))


# --- drugs -----------------------------------------------------------------------------------------------------------


def _keyed(table: Table) -> Table:
    return table.assign(code=per_distinct(codes.hicl, table.frame["hicl"]))


def _learned(tables: Sequence[Table], vocabulary: DrugVocabulary | None) -> dict[str, str]:
    """Code -> the name of the drug, from the rows of all `tables` that have both.

    A drug has many names ('ASPIRIN EC 81 MG PO TBEC'), so they agree if they mean the same to the vocabulary; what is
    no therapy or unknown to it does not count. Without a vocabulary, the name that most rows have.
    """
    tally: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for table in tables:
        position, pairs = distinct(table.frame["code"], table.frame["name"])
        for (code, name), rows in zip(pairs, np.bincount(position, minlength=len(pairs)).tolist(), strict=True):
            if code is None or name is None:
                continue
            match = vocabulary.match(name) if vocabulary else None
            if match is None or match.status == "mapped":
                tally[code][match.name if match else name] += rows
    needed = AGREEMENT if vocabulary else 0.0
    best = {code: max(names.items(), key=lambda item: (item[1], item[0])) for code, names in tally.items()}
    return {code: name for code, (name, rows) in best.items() if rows >= needed * tally[code].total()}


def _named(table: Table, learned: dict[str, str], log: IngestLog) -> Table:
    """With names for the rows that have a code alone; of what code they could not be told is counted too."""
    frame = table.frame
    nameless = frame["name"].isna() & frame["code"].notna()
    known = nameless & frame["code"].isin(list(learned))
    reason = f"missing: taken from the other rows with its drughiclseqno, of which {AGREEMENT:.0%} or more agree"
    log.add(table.file, "drugname", reason, frame.loc[known, "row"], "set aside")
    reason = "missing, and the other rows with its drughiclseqno name no drug or do not agree: known by that number"
    log.add(table.file, "drugname", reason, frame.loc[nameless & ~known, "row"], "set aside")
    return table.assign(
        name=per_distinct(lambda code, name: name or learned.get(code or ""), frame["code"], frame["name"])
    )


def _orders(table: Table, stays: Stays, log: IngestLog) -> Table:
    """Orders that stood. Their stop is 0 where it is not known; then, and at the latest, they end with the stay."""
    cancelled = per_distinct(lambda word: (word or "no").lower(), table.frame["cancelled"]) == "yes"
    table = table.without(cancelled, log, "drugordercancelled", "the order was cancelled")
    frame = table.frame
    stop = frame["stop"].mask(frame["stop"] == of_stay(stays.frame["start"], frame["stay"]))
    table = table.assign(stop=stop).without(stop < frame["start"], log, "drugstopoffset", "stop is before start")
    frame = table.frame
    discharge = of_stay(stays.frame["stop"], frame["stay"])
    late = frame["stop"] > discharge
    reason = "after the hospital discharge: the order ends with it"
    log.add(table.file, "drugstopoffset", reason, frame.loc[late, "row"], "set aside")
    start = frame["start"].where(frame["start"] <= frame["ordered"], frame["ordered"]).fillna(frame["start"])
    stop = frame["stop"].where(~late, discharge).fillna(discharge)
    return table.assign(
        code=per_distinct(lambda code, name: code or (name and f"eicu:{name}"), frame["code"], frame["name"]),
        start=start,
        stop=stop.where(~(stop < start), start),
    )


def _infusions(table: Table, log: IngestLog) -> Table:
    """One event for each course: the charted rates of a drug in a stay up to one of 0 or a long pause."""
    table = table.without(table.frame["start"].isna(), log, "infusionoffset", "date missing")
    frame = table.frame.assign(name=per_distinct(codes.infusion_name, table.frame["name"]))
    frame = frame.sort_values(["stay", "name", "start", "rate", "row"])
    stay, name, off = frame["stay"].cat.codes, frame["name"].cat.codes, frame["rate"] == 0
    new = (stay != stay.shift()) | (name != name.shift()) | (frame["start"].diff() > PAUSE)
    course = (new | off.shift(fill_value=False)).cumsum()
    last = frame["start"].groupby(course).max()  # where the course was ended by a rate of 0, that one's time
    log.add(table.file, "drugrate", "rate 0: nothing was given", frame.loc[off, "row"])
    frame, course = frame[~off], course[~off]
    first = ~course.duplicated()
    log.count_kept(table.file, int((~first).sum()))
    courses = frame[first].assign(
        stop=last.reindex(course[first]).array,
        code=per_distinct(lambda name: f"eicu:{(name or '').lower()}", frame.loc[first, "name"]),
    )
    return Table(table.file, courses, table.found)


# --- everything else -------------------------------------------------------------------------------------------------


def _treatments(table: Table) -> Table:
    path = table.frame["path"]
    return table.assign(
        code=per_distinct(lambda path: path and f"eicu:treatment/{path}", path),
        name=per_distinct(codes.last_parts, path),
        group=per_distinct(codes.treatment_group, path),
        stop=table.frame["start"],
    )


def _units(stays: Stays, log: IngestLog) -> Table:
    """The unit of each stay. Its row is a person's too, so these are accounted for under a file name of their own."""
    frame = stays.frame[stays.frame["unit"].notna()]
    table = Table(f"{stays.file} (unit stays)", frame.assign(stop=frame["left"], name=frame["unit"]), frozenset())
    log.count_read(table.file, len(frame))
    return table.assign(code=per_distinct(lambda unit: f"eicu:unit/{unit}", frame["unit"]))


def _diagnoses(table: Table, log: IngestLog) -> list[RawEvents]:
    """Every code of a row is an event: the further ones are accounted for under file names of their own."""
    frame = table.frame
    icds = {cell: codes.icd_codes(cell) for cell in frame["icd"].cat.categories}
    table = table.assign(name=per_distinct(codes.last_parts, frame["path"]))
    first = per_distinct(
        lambda cell, path: next(iter(icds.get(cell or "", [])), path and f"eicu:diagnosis/{path}"),
        frame["icd"],
        frame["path"],
    )
    events = [table.assign(code=first).events("condition")]
    for place in range(1, max(map(len, icds.values()), default=0)):
        nth = {cell: found[place] for cell, found in icds.items() if place < len(found)}
        code = per_distinct(lambda cell, nth=nth: nth.get(cell), frame["icd"])
        further = Table(f"{table.file} (code {place + 1})", table.frame.assign(code=code)[code.notna()], table.found)
        log.count_read(further.file, len(further.frame))
        events.append(further.events("condition"))
    return events


def _past_conditions(table: Table, log: IngestLog) -> Table:
    path = table.frame["path"]
    table = table.assign(code=per_distinct(codes.history_code, path), name=per_distinct(codes.history_name, path))
    reason = "no condition: it tells how the history was taken"
    return table.without(table.frame["code"].isna(), log, "pasthistorypath", reason)


def _admission_diagnoses(table: Table, log: IngestLog) -> Table:
    table = table.assign(code=per_distinct(codes.admission_code, table.frame["path"]))
    reason = "no diagnosis: an answer about the admission"
    return table.without(table.frame["code"].isna(), log, "admitdxpath", reason)


def _allergies(table: Table, vocabulary: DrugVocabulary | None, log: IngestLog) -> Table:
    """Under the vocabulary's code where it knows the substance, else under the source's own: none of them is lost."""
    frame = table.frame
    none = per_distinct(lambda name: str((name or "").lower() in codes.NO_ALLERGY), frame["name"]) == "True"
    table = table.without(none, log, "allergyname", "says that there is no allergy")
    frame = table.frame
    position, told = distinct(frame["code"], frame["drug"], frame["name"], frame["type"])
    found = [vocabulary.match(drug or name or "") if vocabulary else None for _, drug, name, _ in told]
    known = [match if match and match.status == "mapped" else None for match in found]
    groups = [
        "medication" if match or (kind or "").lower() == "drug" else None
        for match, (*_, kind) in zip(known, told, strict=True)
    ]
    return table.assign(
        code=chosen(
            [match.code if match else code for match, (code, *_) in zip(known, told, strict=True)],
            position,
            frame.index,
        ),
        name=chosen([drug or name for _, drug, name, _ in told], position, frame.index),
        group=chosen(groups, position, frame.index),
    )
