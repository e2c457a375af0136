"""A version's manifest, and evaluations where there are some, in; its model card out, each part measured or said to be
not assessed.

A card never guesses. What only the site knows (who answers for it, who paid, what became of patients) comes from the
site's own file and is marked as the site's word. Figures are those of the manifest and of `rxrec evaluate`; counts of
patients pass through `cells.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recommender.errors import InputError
from recommender.features import AGE_BANDS
from recommender.reports.card_attributes import ASKED, Asked
from recommender.reports.cells import REST, Cell, in_words, partition
from recommender.support import in_tens

State = Literal["measured", "stated", "stated by the site", "not assessed"]
GIVE = "the site gives it in a file: --site"
NOT_INPUTS = (
    "race, ethnicity, language, sexual orientation, gender identity, social determinants, health status surveys"
)
DEMOGRAPHIC = ("sex", "age", *NOT_INPUTS.split(", "))  # (b)(11)(iv)(A)(5) to (13)
NAMES = {"F": "female", "M": "male", "": REST}


@dataclass(frozen=True)
class Figure:
    """One measured number with its 95% interval, and how many patients it is of ("" where that is not told)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    patients: str = ""


@dataclass(frozen=True)
class Attribute:
    """What the card says of one thing that is asked."""

    asked: Asked
    state: State
    text: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Groups:
    """How many patients of the version are of each group of one attribute."""

    attribute: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Card:
    """attributes: the 31, in the rule's order."""

    version: str
    created: str
    data_as_of: str
    synthetic: bool
    model: str
    attributes: tuple[Attribute, ...]
    groups: tuple[Groups, ...]
    manifest: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None
    external: Mapping[str, Any] | None

    @property
    def not_assessed(self) -> tuple[Attribute, ...]:
        return tuple(one for one in self.attributes if one.state == "not assessed")


def card_of(
    version: str,
    manifest: Mapping[str, Any],
    *,
    evaluation: Mapping[str, Any] | None = None,
    external: Mapping[str, Any] | None = None,
    site: Mapping[str, str] | None = None,
) -> Card:
    """evaluation, external: `evaluation.json` of `rxrec evaluate`, by other patients of the same source, and by other
    hospitals or another source. site: key of an attribute -> the site's words.

    Raises InputError for a key that is none, and for an evaluation that is not what it is given as.
    """
    if external is not None and external.get("by") == "patient" and external.get("source") == manifest.get("source"):
        message = (
            "is by other patients of the same source: external is other hospitals (--by hospital) or another source"
        )
        raise InputError(message, field="external")
    known = {asked.key for asked in ASKED}
    if unknown := sorted(set(site or {}) - known):
        raise InputError(f"{', '.join(unknown)}: none of {', '.join(sorted(known))}", field="site")
    groups = tuple(_groups(manifest))
    found = {**_stated(manifest), **_measured(manifest, groups, evaluation), **_external(external)}
    attributes = []
    for asked in ASKED:
        if site and site.get(asked.key, "").strip():
            attributes.append(Attribute(asked, "stated by the site", site[asked.key].strip()))
        elif asked.key in found:
            state, text, figures = found[asked.key]
            attributes.append(Attribute(asked, state, text, tuple(figures)))
        else:
            raise AssertionError(f"the card says nothing of {asked.key}")
    return Card(
        version=version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", ""))[:10],
        synthetic=manifest.get("synthetic") is True,
        model=str(manifest.get("model", {}).get("name", "")),
        attributes=tuple(attributes),
        groups=groups,
        manifest=manifest,
        evaluation=evaluation,
        external=external,
    )


Said = tuple[State, str, Sequence[Figure]]


def _stated(manifest: Mapping[str, Any]) -> dict[str, Said]:
    """What holds for every version of this program."""
    model, safety = manifest.get("model", {}).get("name", "unknown"), manifest.get("safety", {})
    screened = (
        "Every list is screened for interactions, allergies, duplicates, conditions, age, sex, pregnancy and lab "
        "values; what could not be checked is told beside it."
        if safety.get("checked")
        else "No list of this version was screened when it was made."
    )
    depth = manifest.get("chances", {}) or {}
    said = {
        "output_value": (
            "For each patient a short list of drugs, procedures and care plans that patients with such charts were "
            "given here, each with its exact reasons" + (", and how many in 100 such suggestions began within "
            f"{depth['days']} days." if depth else ". How often they come true was not measured.")
        ),
        "output_type": f"A recommendation: an ordered list, from a prediction of what is begun next (model {model}).",
        "intended_use": "To remind a clinician or pharmacist of treatments to consider, and what stands against them.",
        "intended_users": "Clinicians and pharmacists who can judge each suggestion; quality officers for the reports.",
        "decision_role": "It informs. It orders nothing, stops nothing and decides nothing.",
        "out_of_scope": (
            "Deciding by itself; dosing; diagnosing; emergencies; patients unlike those of the training data (see "
            "representativeness); research on which treatment works better: it repeats what was done, not what helped."
        ),
        "known_risks": (
            f"It repeats the habits and gaps of this hospital. Rare drugs are hardly ever suggested. {screened} Lists "
            "are as old as the data. People trust lists too much; warnings are overridden out of habit. Unsuitable "
            "settings: emergencies, and any hospital but the one that it learned from."
        ),
        "demographic_inputs": f"Age band and sex are inputs. Not inputs: {NOT_INPUTS}.",
        "fairness_approach": (
            "Race and ethnicity are kept to measure with and are never inputs. Each version's quality is measured for "
            "every group of 20 patients or more, with the gap to the best group and its interval."
        ),
        "validity_monitoring": (
            "At every run: quality on patients who were not learned from, and compared with the version being served; "
            "a version that is worse is not published, and inputs, scores and acceptance are compared with the version "
            "before. How often runs are, the site's schedule says."
        ),
        "fairness_monitoring": (
            "At every run: a version in which a group falls further behind the best one than its interval allows is "
            "not published. How often runs are, the site's schedule says."
        ),
        "update": "Learned anew from the whole export at every run; how often that is, the site's schedule says.",
        "correction": (
            "At every run a version found worse is not published; `rxrec rollback` serves the one before at once; "
            "single safety rules can be switched off or added without a new version."
        ),
    }  # fmt: skip
    stated: dict[str, Said] = {key: ("stated", text, ()) for key, text in said.items()}
    weighted = manifest.get("chosen", {}).get("balance") or manifest.get("chosen", {}).get("model", {}).get("balance")
    bias = f"Patients of small groups ({weighted}) count for more in the fit." if weighted else "No weights by group."
    stated["bias_approach"] = ("stated", f"{bias} The gate holds back versions that widen a gap.", ())
    for key, why in (
        ("developer", f"Not assessed: the name and contact of who answers for this installation; {GIVE}."),
        ("funding", f"Not assessed: {GIVE}."),
        ("outcomes", "Not assessed: no evaluation of outcomes of patients was made or is known to this program."),
    ):
        stated[key] = ("not assessed", why, ())
    return stated


def _learned_earlier(manifest: Mapping[str, Any]) -> str:
    """Of an update (recommender/update.py), what its model has learned from."""
    update = manifest.get("update")
    if not update:
        return ""
    return (
        f" This version is an update: its model, its quality and the counts behind suggestions are those of version "
        f"{update['base']}, from data up to {str(update['base_as_of'])[:10]}."
    )


def _measured(
    manifest: Mapping[str, Any], groups: Sequence[Groups], evaluation: Mapping[str, Any] | None
) -> dict[str, Said]:
    """What is filled from the version's own figures."""
    counts, as_of = manifest.get("counts", {}), str(manifest.get("as_of", ""))[:10]
    what = "synthetic patients" if manifest.get("synthetic") else "patients"
    patients = in_words(in_tens(counts.get("patients", 0)))
    events = ", ".join(
        f"{in_words(in_tens(counts[f'{table}_events']))} {words}"
        for table, words in (
            ("treatments", "treatments"),
            ("conditions", "conditions"),
            ("allergies", "allergies"),
        )
        if f"{table}_events" in counts
    )
    told = ", ".join(group.attribute for group in groups)
    uncounted = [name for name in DEMOGRAPHIC if name not in {group.attribute for group in groups}]
    quality = manifest.get("quality", {})
    local: Said
    same: Said
    if "value" in quality:
        words = f"{quality['metric']} on held-out patients of the same source. The question: {quality['protocol']}."
        same = ("measured", words, tuple(_quality(quality)) + tuple(_more(evaluation)))
        local = ("measured", "The training data are the site's own: as in test data of the same source.", ())
    else:
        why = quality.get("not_assessed", "this version holds no figures")
        same = local = ("not assessed", f"Not assessed: {why}.", ())
    by_group = quality.get("groups") or []
    fair: Said = ("not assessed", "Not assessed: no two groups of 20 patients or more could be told apart.", ())
    if by_group:
        text = (
            f"{quality['metric']} by group; the gap to the best group of each kind, with its interval, is in the table."
        )
        fair = ("measured", text, tuple(_group_figures(quality)))
    return {
        "intended_population": (
            "measured",
            f"Patients of the site whose export this version was made from: {patients} {what}, read as of {as_of}.",
            (),
        ),
        "criteria": (
            "measured",
            f"All people of a {manifest.get('source', 'unknown')} export with a readable row: {patients} {what}, "
            f"{events}, up to {as_of}. A treatment needs three patients before it can be suggested: "
            f"{counts.get('suggestable', 0):,} can be. Rows that could not be used are counted, with reasons, in the "
            f"run's ingest.json.{_learned_earlier(manifest)}",
            (),
        ),
        "representativeness": (
            ("measured", f"Counted by {told}: see the table. Not assessed: {', '.join(uncounted)}.", ())
            if told
            else ("not assessed", "Not assessed: this version counted no groups.", ())
        ),
        "relevance": (
            "stated",
            "Learned from the site's own records, so from its own patients and habits. "
            + ("These are synthetic: it is of no use for care." if manifest.get("synthetic") else ""),
            (),
        ),
        "validity_same": same,
        "validity_local": local,
        "fairness_same": fair,
        "fairness_local": (
            ("measured", "As in test data of the same source, which are the site's own.", ()) if by_group else fair
        ),
    }


def _external(external: Mapping[str, Any] | None) -> dict[str, Said]:
    keys = (
        *("external_source", "external_representativeness", "external_process"),
        *("validity_external", "fairness_external"),
    )
    if external is None:
        how = "give an evaluation on other hospitals or another source: --external FOLDER"
        return dict.fromkeys((*keys, "external_tester"), ("not assessed", f"Not assessed: {how}.", ()))
    first, by = external["first"], external["by"]
    source = f"{external['source']} export, {in_words(in_tens(external['patients']))} patients"
    figures = [
        Figure(f"{name}@{external['k']}", one["value"], one["low"], one["high"])
        for name, one in external["models"][first].items()
        if name in ("ndcg", "recall", "hit_rate")
    ]
    groups = [row for row in external.get("by_group", ()) if row["metric"] == "ndcg" and row["value"] is not None]
    fair = [
        Figure(f"{row['attribute']}: {row['group']}", row["value"], row["low"], row["high"], _told(row["patients"]))
        for row in groups
    ]
    left = [name for name in DEMOGRAPHIC if name not in {row["attribute"] for row in groups}]
    process = {"hospital": "each hospital was judged by models that had learned from the others"}.get(
        by, f"judged by {'other patients' if by == 'patient' else 'later days'} of another export"
    )
    return {
        "external_source": ("measured", f"{source}; {process}.", ()),
        "external_tester": ("not assessed", f"Not assessed: who ran `rxrec evaluate`; {GIVE}.", ()),
        "external_representativeness": (
            ("measured", f"Groups and their sizes stand beside their figures. Not assessed: {', '.join(left)}.", fair)
            if fair
            else ("not assessed", "Not assessed: no group of that export was large enough.", ())
        ),
        "external_process": ("measured", f"`rxrec evaluate`: {external['question']}; {process}.", ()),
        "validity_external": ("measured", f"Of the model {first}.", figures),
        "fairness_external": (
            ("measured", "NDCG by group.", fair) if fair else ("not assessed", "Not assessed: no group was told.", ())
        ),
    }


def _quality(quality: Mapping[str, Any]) -> list[Figure]:
    patients = _told(quality["patients"])
    base = quality.get("baseline")
    found = [Figure(quality["metric"], quality["value"], quality["low"], quality["high"], patients)]
    if base:
        name = f"{quality['metric']} of {base['model']}, to compare with"
        found.append(Figure(name, base["value"], base["low"], base["high"], patients))
    return found


def _more(evaluation: Mapping[str, Any] | None) -> list[Figure]:
    """From `rxrec evaluate`: the metrics that a night does not take."""
    if evaluation is None:
        return []
    wanted = {"recall": "recall", "precision": "precision", "hit_rate": "lists with at least one hit"}
    patients = _told(evaluation["patients"])
    return [
        Figure(f"{wanted[name]} at {evaluation['k']}, rxrec evaluate", one["value"], one["low"], one["high"], patients)
        for name, one in evaluation["models"][evaluation["first"]].items()
        if name in wanted
    ]


def _group_figures(quality: Mapping[str, Any]) -> list[Figure]:
    rows = quality["groups"]
    return [
        *(
            Figure(f"{row['attribute']}: {row['group']}", row["value"], row["low"], row["high"], _told(row["patients"]))
            for row in rows
        ),
        *(
            Figure(f"{row['attribute']}: {row['group']}, behind the best", row["gap"], row["gap_low"], row["gap_high"])
            for row in rows
            if row["gap"] is not None
        ),
    ]


def _groups(manifest: Mapping[str, Any]) -> list[Groups]:
    inputs, total = manifest.get("inputs", {}), manifest.get("counts", {}).get("patients", 0)
    found = []
    for attribute in ("sex", "age", "race"):
        counts = {code: count for code, count in inputs.get(attribute, {}).items() if code}
        if counts:
            # which part may be hidden beside a small one must not follow from sizes: of ages, one from the middle
            middle = len(AGE_BANDS) // 2 + 2
            order = sorted(counts, key=lambda code: abs(int(code) - middle) if attribute == "age" else code)
            told = partition({code: counts[code] for code in order}, total)
            cells = {code: told[code] for code in sorted(counts, key=int if attribute == "age" else str)}
            if attribute == "age":
                cells = {_band(int(code)): cell for code, cell in cells.items()}
            if REST in told:
                cells[REST] = told[REST]
            found.append(Groups(attribute, {NAMES.get(name, name): cell for name, cell in cells.items()}))
    return found


def _band(place: int) -> str:
    """The words of an age band, by its place among the edges (0: unknown)."""
    if place == 0:
        return "age unknown"
    low = AGE_BANDS[place - 1]
    if place == len(AGE_BANDS):
        return f"{low} and older"
    high = AGE_BANDS[place]
    return f"under {high}" if low == 0 else f"{low} to {high - 1}"


def _told(count: int | None) -> str:
    """Of patients that a figure is of: of groups, never as parts of a known whole, so that no rest follows."""
    return "hidden" if count is None else in_words(in_tens(count))
