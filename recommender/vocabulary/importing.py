"""A site's downloads of RxNorm and MED-RT in, a vocabulary folder out: our tables with what those two know besides.

What our tables say stays: RxNorm adds ingredients, combinations, names and codes, and corrects RxCUIs; MED-RT gives a
class to an ingredient that has none. A spelling that our tables use already, as a drug's or as a word, never gets a
second meaning. Every correction, and everything that was left out, is a line of `report.csv`.
"""

from __future__ import annotations

import csv
import importlib.resources
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recommender.errors import InputError
from recommender.vocabulary import codes
from recommender.vocabulary.imported_names import Names, tidy
from recommender.vocabulary.matcher import DrugVocabulary
from recommender.vocabulary.medrt import KINDS, MedRt, write_diseases
from recommender.vocabulary.rxnorm import BRAND, Progress, RxNorm
from recommender.vocabulary.tables import CLASS_COLUMNS, COMBINATION_COLUMNS, INGREDIENT_COLUMNS, Drug

MARK = ".rxrec-vocabulary"  # says that a folder holds an import of ours and may be replaced
REPORT = "report.csv"
OTHER_GROUP = ("medrt", "Other class of MED-RT", "")  # above classes that no ingredient of ours is in
README = """# A drug vocabulary made from RxNorm{medrt}

Written by `rxrec vocabulary import` on {day} from {sources}. Tables: `data/vocabulary/README.md` of the program.

> This product uses publicly available data courtesy of the U.S. National Library of Medicine (NLM), National Institutes
> of Health, Department of Health and Human Services; NLM is not responsible for the product and does not endorse or
> recommend this or any other product.

It holds names and codes from your download of RxNorm: pass it on only as your licence with NLM allows.
"""


@dataclass(frozen=True)
class Imported:
    """What an import did: counts by what was written, and counts of the lines of `report.csv` by what they say."""

    counts: Mapping[str, int]
    reported: Mapping[str, int]


def import_vocabulary(
    rxnorm: Path, medrt: Path | None, output: Path, progress: Progress = lambda rows: None
) -> Imported:
    """Read the downloads and write the folder `output`; an import that it already holds is replaced.

    Raises InputError when a download cannot be used, or when `output` holds something else.
    """
    _refuse_others(output)
    release = RxNorm.read(rxnorm, progress)
    classes = MedRt.read(medrt, progress) if medrt is not None else None
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        done = _write(work, release, classes)
        sources = " and ".join(path.name for path in (rxnorm, medrt) if path is not None)
        text = README.format(medrt=" and MED-RT" if medrt else "", day=f"{datetime.now(UTC):%Y-%m-%d}", sources=sources)
        (work / "README.md").write_text(text, encoding="utf-8")
        (work / MARK).touch()
        work.chmod(0o755)
        _refuse_others(output)
        if output.exists():
            shutil.rmtree(output)
        work.rename(output)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return done


def _refuse_others(output: Path) -> None:
    if output.exists() and not (output.is_dir() and ((output / MARK).is_file() or not any(output.iterdir()))):
        raise InputError("is not empty and no vocabulary that this command wrote: choose another", file=str(output))


def _write(folder: Path, release: RxNorm, medrt: MedRt | None) -> Imported:
    for table in importlib.resources.files("data.vocabulary").iterdir():
        if table.name.endswith(".csv"):
            (folder / table.name).write_bytes(table.read_bytes())
    names = Names(release)
    if medrt is not None:
        _write_csv(folder / "classes.csv", CLASS_COLUMNS, _classes(names, medrt))
    _write_csv(folder / "ingredients.csv", INGREDIENT_COLUMNS, names.ingredients.values())

    # RxNorm's brands and combinations are told by their ingredients, as the vocabulary understands these together
    products = _Products(names, DrugVocabulary.load(folder))
    for rxcui in release.ingredients:
        products.of([rxcui])
    for drug, parts in products.new.items():
        names.add_combination(drug, parts)
    for rxcui, concept in release.concepts.items():
        if concept.tty == BRAND and concept.current and (sold := products.of([rxcui])) is not None:
            names.add_brand(tidy(concept.name), sold.name)
    names.write_brands()
    _write_csv(folder / "ingredients.csv", INGREDIENT_COLUMNS, names.ingredients.values())
    _write_csv(folder / "combinations.csv", COMBINATION_COLUMNS, names.combinations.values())

    known = DrugVocabulary.load(folder).drugs  # which also proves the tables
    coded = [row for row in products.coded() if row[2] in known]
    codes.write(folder, coded)
    diseases = 0
    if medrt is not None:
        diseases = write_diseases(folder, medrt, lambda rxcui: products.of([rxcui]))
    _write_csv(folder / REPORT, ("what", "drug", "before", "after"), [change._asdict() for change in names.report])
    systems = Counter(system for system, _, _ in coded)
    return Imported(
        counts={
            "ingredients": len(names.ingredients),
            "combinations": len(names.combinations),
            "brands": sum(len(row["brands"].split("|")) for row in names.rows() if row["brands"]),
            "RxNorm codes of products": systems["rxnorm"],
            "NDCs": systems["ndc"],
            "ingredients without a class": sum(not row["drug_class"] for row in names.ingredients.values()),
            "links to diseases": diseases,
        },
        reported=dict(sorted(Counter(change.what for change in names.report).items())),
    )


class _Products:
    """Finds the drug of any concepts of RxNorm, and remembers those that the tables lack."""

    def __init__(self, names: Names, vocabulary: DrugVocabulary) -> None:
        self._names, self._vocabulary = names, vocabulary
        self._codes = {drug.name: code for code, drug in vocabulary.drugs.items()}
        self._found: dict[frozenset[str], Drug | None] = {}
        self.new: dict[str, list[str]] = {}  # name of a combination that the tables lack -> names of its ingredients

    def of(self, concepts: Iterable[str]) -> Drug | None:
        """The one drug of all these concepts; None where it is not known or they differ."""
        drugs = {self._made_of(self._names.release.ingredients.get(rxcui, frozenset())) for rxcui in concepts}
        return drugs.pop() if len(drugs) == 1 else None

    def coded(self) -> list[tuple[str, str, str]]:
        """System, code and drug of every code that is none of the tables' own."""
        release = self._names.release
        every: dict[tuple[str, str], Iterable[str]] = {("rxnorm", old): new for old, new in release.merged.items()}
        every |= {("rxnorm", rxcui): [rxcui] for rxcui in release.ingredients}
        every |= {("ndc", ndc): concepts for ndc, concepts in release.ndcs.items()}
        found = ((system, code, self.of(concepts)) for (system, code), concepts in every.items())
        own = self._vocabulary.drugs
        return [(system, code, drug.code) for system, code, drug in found if drug and f"{system}:{code}" not in own]

    def _made_of(self, ingredients: frozenset[str]) -> Drug | None:
        if ingredients not in self._found:
            names = self._names.of(ingredients)
            drug = self._vocabulary.product({self._codes[name] for name in names}) if names else None
            self._found[ingredients] = drug
            if drug is not None and drug.code not in self._vocabulary.drugs:
                self.new[drug.name] = [self._vocabulary.drugs[code].name for code in drug.ingredients]
        return self._found[ingredients]


def _classes(names: Names, medrt: MedRt) -> list[dict[str, str]]:
    """Give the ingredients that have no class their class in MED-RT, and return the rows of classes.csv.

    Of several the most telling kind, then the one that most of them share: a class of one teaches nothing. A class
    stands in the group that most of its ingredients with a class of ours are in.
    """
    curated, rows = names.curated_classes()
    candidates: dict[str, list[str]] = defaultdict(list)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for code, members in medrt.members.items():
        for name in names.singly(members):
            group = curated.get(names.ingredients[name]["drug_class"])
            if group is None:
                candidates[name].append(code)
            else:
                groups[code][group] += 1
    size = Counter(code for found in candidates.values() for code in found)
    used = set()
    for name, found in candidates.items():
        best = min(found, key=lambda code: (KINDS.index(medrt.kinds[code]), -size[code], medrt.names[code]))
        names.ingredients[name]["drug_class"] = tidy(medrt.names[best])
        used.add(best)
    for code in sorted(used):
        group = max(sorted(groups[code]), key=groups[code].__getitem__, default=OTHER_GROUP[0])
        if group == OTHER_GROUP[0] and OTHER_GROUP[0] not in {row["id"] for row in rows}:
            rows.append(dict(zip(CLASS_COLUMNS, OTHER_GROUP, strict=True)))
        rows.append({"id": f"medrt-{code.lower()}", "name": tidy(medrt.names[code]), "parent": group})
    return rows


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
