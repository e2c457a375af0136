"""MED-RT's XML file in, a `MedRt` out: the classes of ingredients, and the diseases that they treat or must not meet.

The layout (Apelon's TDE XML) as in the releases of 2026: under <terminology> stand <concept>s (namespace, name, code,
status, and properties of which CTY is the kind of class) and <association>s (name, and namespace, code and name of
where it leads from and to). An ingredient is named by its RxCUI, a disease by the identifier of a MeSH concept
("M0010113", not a descriptor's "D006973"). An ingredient's established pharmacologic class (EPC) is told as
"Parent Of", which runs from the class to the ingredient; its mechanism (MoA) and effect (PE) as has_MoA and has_PE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import pyarrow as pa
import pyarrow.parquet as pq

from recommender.errors import InputError
from recommender.vocabulary.download import opened
from recommender.vocabulary.tables import Drug

KINDS = ("EPC", "MoA", "PE")  # the kinds of class that are used, the most telling first
DISEASE_RELATIONS = ("CI_with", "may_treat")
RELATIONS = ("Parent Of", *(f"has_{kind}" for kind in KINDS), *DISEASE_RELATIONS)
ENDS = ("from_namespace", "from_code", "to_namespace", "to_code")
MEDRT, RXNORM = "MED-RT", "RxNorm"
PATTERN = r"Core_MEDRT_.*XML\.xml"
DISEASES_FILE = "medrt.parquet"
DISEASES_SCHEMA = pa.schema([(name, pa.string()) for name in ("ingredient", "relation", "disease", "disease_code")])
CHUNK = 1 << 20
LONGEST_TEXT = 10_000  # characters of one element
DEEPEST = 8  # elements in elements; MED-RT has four


@dataclass(frozen=True)
class DiseaseLink:
    """An ingredient and a disease: "CI_with" (contraindicated with it) or "may_treat"."""

    rxcui: str
    relation: str
    disease: str
    disease_code: str  # "mesh:M0010113"


@dataclass(frozen=True)
class MedRt:
    """What is used of a release."""

    names: Mapping[str, str]  # code of a class -> its name, "Kinase Inhibitor [EPC]"
    kinds: Mapping[str, str]  # code of a class -> one of KINDS
    members: Mapping[str, Sequence[str]]  # code of a class -> RxCUIs of its ingredients
    diseases: Sequence[DiseaseLink]

    @classmethod
    def read(cls, path: Path, progress: Callable[[int], None] = lambda lines: None) -> MedRt:
        """Read the XML, or the zip or folder that holds it. `progress` is told the number of lines newly read.

        Raises InputError naming file and line.
        """
        with opened(path, PATTERN) as (stream, file):
            reader = _Reader(file)
            lines = 0
            try:
                while chunk := stream.read(CHUNK):
                    reader.parser.Parse(chunk, False)
                    progress(reader.parser.CurrentLineNumber - lines)
                    lines = reader.parser.CurrentLineNumber
                reader.parser.Parse(b"", True)
            except expat.ExpatError as error:
                message = f"this is no XML, or it is damaged ({expat.ErrorString(error.code)}): download it again"
                raise InputError(message, file=file, row=error.lineno) from None
        if not reader.kinds or not reader.associations:
            raise InputError("has no classes or no associations of MED-RT: is it Core_MEDRT_..._XML.xml?", file=file)
        return reader.result()


def write_diseases(folder: Path, medrt: MedRt, drug_of: Callable[[str], Drug | None]) -> int:
    """Write `medrt.parquet`: what ingredients treat and must not meet; returns its rows. `drug_of` takes an RxCUI."""
    rows = set()
    for link in medrt.diseases:
        drug = drug_of(link.rxcui)
        if drug is not None:
            rows.add((drug.code, link.relation, link.disease, link.disease_code))
    columns = [list(column) for column in zip(*sorted(rows), strict=True)] or [[]] * len(DISEASES_SCHEMA)
    pq.write_table(pa.table(columns, schema=DISEASES_SCHEMA), folder / DISEASES_FILE, compression="zstd")
    return len(rows)


@dataclass
class _Reader:
    """Follows the elements and keeps of each <concept> and <association> what is used, never the whole tree."""

    file: str
    names: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    associations: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parser = expat.ParserCreate("UTF-8")  # whatever encoding the file claims
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text_of
        # an entity can stand for a billion others, or for another file
        self.parser.EntityDeclHandler = lambda *_: self._refuse(
            "declares an entity, which no MED-RT file does: refused"
        )
        self.path: list[str] = []
        self.text = ""
        self.record: dict[str, str] = {}

    def result(self) -> MedRt:
        members: dict[str, list[str]] = {code: [] for code in self.kinds}
        diseases = []
        for link in self.associations:
            start, relation, end = link["from_namespace"], link["name"], link["to_namespace"]
            if relation == "Parent Of" and (start, end) == (MEDRT, RXNORM):
                if self.kinds.get(link["from_code"]) == "EPC":
                    members[link["from_code"]].append(link["to_code"])
            elif start != RXNORM:
                continue  # a class that describes a class
            elif relation in DISEASE_RELATIONS:
                code = f"{end.lower()}:{link['to_code']}"
                diseases.append(DiseaseLink(link["from_code"], relation, link["to_name"], code))
            elif end == MEDRT and relation == f"has_{self.kinds.get(link['to_code'])}":
                members[link["to_code"]].append(link["from_code"])
        return MedRt(self.names, self.kinds, members, diseases)

    def _start(self, name: str, _: object) -> None:
        self.path.append(name)
        self.text = ""
        if len(self.path) == 1 and name != "terminology":
            self._refuse("the outermost element is not <terminology>: this is not MED-RT's XML")
        if len(self.path) > DEEPEST:
            self._refuse("elements stand too deep in each other: this is not MED-RT's XML")
        if len(self.path) == 2:
            self.record = {}

    def _text_of(self, text: str) -> None:
        self.text += text
        if len(self.text) > LONGEST_TEXT:
            self._refuse(f"an element holds over {LONGEST_TEXT:,} characters: this is not MED-RT's XML")

    def _end(self, name: str) -> None:
        depth = len(self.path)
        if depth == 2:
            self._keep(name)
        elif depth == 3:
            self.record[name] = self.text.strip()
        elif depth == 4 and self.path[2] == "property":
            # name and value of a property stand side by side: ("name", "CTY"), ("value", "EPC")
            if name == "name":
                self.record["property name"] = self.text.strip()
            elif name == "value":
                self.record[f"property {self.record.get('property name')}"] = self.text.strip()
        self.path.pop()
        self.text = ""

    def _keep(self, name: str) -> None:
        record = self.record
        if name == "concept" and record.get("namespace") == MEDRT and record.get("status", "A") == "A":
            if record.get("property CTY") in KINDS:
                self._need(record, ("name", "code"), name)
                self.names[record["code"]] = record["name"]
                self.kinds[record["code"]] = record["property CTY"]
        elif name == "association" and record.get("name") in RELATIONS:
            self._need(record, ENDS, name)
            if record["name"] in DISEASE_RELATIONS:
                self._need(record, ("to_name",), name)
            self.associations.append(record)

    def _need(self, record: Mapping[str, str], parts: Sequence[str], name: str) -> None:
        for part in parts:
            if not record.get(part):
                self._refuse(f"a <{name}> that ends here has no <{part}>", part)

    def _refuse(self, message: str, part: str = "") -> None:
        raise InputError(message, file=self.file, row=self.parser.CurrentLineNumber, field=part)
