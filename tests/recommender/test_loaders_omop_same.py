"""The same people from two forms give the same records: MIMIC-IV as hosp/ and OMOP, OMOP as CSV, Parquet, database."""

import glob
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import psycopg
import pytest

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import load
from recommender.loaders.database import connected
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary
from recommender.vocabulary.tables import Tables

FIXTURE = Path(__file__).parents[1] / "fixtures" / "omop"
KINDS = {"drug": "treatments", "procedure": "treatments", "condition": "conditions", "allergy": "allergies"}


def events(records: Records, kind: str, rename: Callable[[str], str] = str) -> Counter[tuple]:
    """(patient id, code, start, stop) of each event of a kind; times as text."""
    frame = getattr(records, KINDS[kind])
    of = frame[(records.concepts["kind"].to_numpy() == kind)[frame["concept_ix"]]]
    ids = records.patients["patient_id"].map(rename).to_numpy()[of["patient_ix"]]
    codes = records.concepts["code"].to_numpy()[of["concept_ix"]]
    times = (of[name].astype(str).fillna("") for name in ("start", "stop"))
    return Counter(zip(ids, codes, *times, strict=True))


def whole(records: Records) -> list[pd.DataFrame]:
    """All of the records in an order that does not depend on that of the rows read."""
    concepts = records.concepts.rename(columns={"kind": "concept_kind"})
    tables = [records.patients.sort_values("patient_id", ignore_index=True), concepts]
    for table in (records.treatments, records.conditions, records.allergies, records.observations):
        named = table.assign(patient=records.patients["patient_id"].to_numpy()[table["patient_ix"]])
        named = named.drop(columns="patient_ix")
        tables.append(named.sort_values(list(named), ignore_index=True))
    return tables


def assert_same(one: Records, other: Records) -> None:
    for mine, theirs in zip(whole(one), whole(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs)


# --- MIMIC-IV demo: hosp/ and OMOP -----------------------------------------------------------------------------------


def csv(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(next(folder.glob(f"{name}.csv*")), dtype=str)


class Pair:
    """Both forms of the demo. OMOP has most drugs as NDC only, which hosp/ can name: its map is given to the reader."""

    def __init__(self, data: Path):
        hosp, self.omop_folder = data / "mimic_iv_demo" / "hosp", data / "omop_mimic_demo"
        self.orders = csv(hosp, "prescriptions")
        self.exposures = csv(self.omop_folder, "drug_exposure")
        self.person = csv(self.omop_folder, "person").set_index("person_id")["person_source_value"]
        vocabulary = DrugVocabulary.load()
        site = {}
        for ndc, names in self.orders[self.orders["ndc"].fillna("0") != "0"].groupby("ndc")["drug"]:
            match = vocabulary.match(names.value_counts().index[0])
            if match.status != "unmapped":
                site[str(ndc)] = match.code or f"not therapy: {match.method}"
        self.hosp = load("mimic", hosp.parent, vocabulary=vocabulary)
        self.omop = load("omop", self.omop_folder, vocabulary=DrugVocabulary(Tables.load(), site))

    def both(self, kind: str) -> tuple[Counter[tuple], Counter[tuple]]:
        return events(self.hosp, kind), events(self.omop, kind, self.person.get)


@pytest.fixture(scope="module")
def mimic(real_data) -> Pair:
    return Pair(real_data)


@pytest.mark.real_data
@pytest.mark.xdist_group("omop_mimic")
def test_mimic_people(mimic):
    hosp = mimic.hosp.patients.set_index("patient_id")
    omop = mimic.omop.patients.assign(patient_id=mimic.omop.patients["patient_id"].map(mimic.person))
    omop = omop.set_index("patient_id").loc[hosp.index]
    assert len(hosp) == 100
    assert list(hosp["sex"]) == list(omop["sex"])
    assert list(hosp["birth_date"]) == list(omop["birth_date"])
    other = hosp["race"] != omop["race"]
    # hosp/ asks at each admission and the last answer counts; OMOP kept another one, or "unable to obtain" as a race
    assert Counter(zip(hosp["race"][other], omop["race"][other], strict=True)) == {
        ("unknown", "unable to obtain"): 3,
        ("white", "unknown"): 2,
        ("unknown", "other"): 1,
        ("white", "other"): 1,
    }
    # OMOP tells who is Hispanic, never that someone is not
    assert set(omop["ethnicity"]) == {"hispanic", "unknown"}
    assert not ((omop["ethnicity"] == "hispanic") & (hosp["ethnicity"] == "nonhispanic")).any()
    # each on a clock of their own: hosp/ has laboratory values and readings after the last stay, OMOP has other charts
    assert (omop["as_of"].dt.year > 2100).all()


@pytest.mark.real_data
@pytest.mark.xdist_group("omop_mimic")
def test_mimic_conditions(mimic):
    """What both have is the same to the second: patient, code and discharge."""
    hosp, omop = mimic.both("condition")
    assert (len(hosp), sum((hosp & omop).values())) == (4506, 3640)
    # 866 diagnoses have codes that OMOP files under Observation (Z and V codes, external causes, some symptoms) or
    # that are not diseases: the demo comes without that table
    missing = hosp - omop
    assert sum(missing.values()) == 866
    assert not {code for _, code, *_ in missing} & {code for _, code, *_ in omop}
    # what only OMOP has was charted in intensive care (rhythms, mostly): hosp/ has no such table
    rest = omop - hosp
    assert sum(rest.values()) == 12_608
    assert {code.partition(":")[0] for _, code, *_ in rest} == {"omop"}
    # OMOP has 193 of the 3,640 twice, for two standard concepts of one code
    repeats = "repeats an earlier row (same patient, code, times and value)"
    assert {(f.reason, f.count) for f in mimic.omop.log.findings if f.file.startswith("condition_")} == {(repeats, 193)}


def at(rows: pd.DataFrame, patient: str, time: str) -> set[tuple[str, str]]:
    return set(zip(rows[patient], rows[time] + "+00:00", strict=True))


@pytest.mark.real_data
@pytest.mark.xdist_group("omop_mimic")
def test_mimic_drugs(mimic):
    """Patient, ingredient, start, stop: 11,422 of hosp's 11,582 orders are the same; every other one is explained."""
    hosp, omop = mimic.both("drug")
    orders, exposures = mimic.orders, mimic.exposures.assign(person=mimic.exposures["person_id"].map(mimic.person))
    assert (len(hosp), len(omop), len(hosp & omop)) == (11_582, 14_290, 11_422)

    def named_otherwise(one: Counter[tuple], other: Counter[tuple]) -> set[tuple]:
        """Orders of `one` at whose very times the same patient has an order in `other` that `one` has not."""
        spare = {(who, *when) for who, _, *when in other - one}
        return {event for event in one - other if (event[0], *event[2:]) in spare}

    therapy = orders[orders["drug_type"] != "BASE"]
    ndcs = set(exposures["drug_source_value"])
    no_end = at(therapy[therapy["stoptime"].isna()], "subject_id", "starttime")
    not_drugs = at(therapy[~therapy["ndc"].isin(ndcs) & (therapy["ndc"] != "0")], "subject_id", "starttime")
    otherwise = named_otherwise(hosp, omop)
    why = Counter(
        "named otherwise"
        if event in otherwise
        else "no end, which hosp/ takes from the stay"
        if (event[0], event[2]) in no_end
        else "filed under another domain than Drug"
        if (event[0], event[2]) in not_drugs
        else "?"
        for event in hosp - omop
    )
    assert why == {
        # a product that OMOP names as a package ("Insulin Dummy Package for Sliding Scale"), an NDC with two names
        "named otherwise": 144,
        "no end, which hosp/ takes from the stay": 7,
        "filed under another domain than Drug": 9,  # a contrast medium and an ointment base
    }

    reversed_ = at(therapy[therapy["stoptime"] < therapy["starttime"]], "subject_id", "starttime")
    diluents = at(orders[orders["drug_type"] == "BASE"], "subject_id", "starttime")
    otherwise = named_otherwise(omop, hosp)
    why = Counter(
        "a stay of which hosp/ has no order"
        if event[0] == "10016742" and event[2] < "2178-07-10"
        else "ends before it starts, so hosp/ has it rejected; OMOP made it end at once"
        if event[2] == event[3] and (event[0], event[2]) in reversed_ | no_end
        else "named otherwise"
        if event in otherwise or event[1].startswith("text:")
        else "the diluent of an order, which only hosp/ marks as such"
        if (event[0], event[2]) in diluents
        else "?"
        for event in omop - hosp
    )
    assert why == {
        "the diluent of an order, which only hosp/ marks as such": 1970,
        "ends before it starts, so hosp/ has it rejected; OMOP made it end at once": 599,
        "named otherwise": 259,
        "a stay of which hosp/ has no order": 40,  # OMOP was made from an earlier edition
    }


@pytest.mark.real_data
@pytest.mark.xdist_group("omop_mimic")
def test_mimic_procedures(mimic):
    """hosp/ dates a procedure by its day, OMOP by the discharge: what can be compared is who had what."""
    hosp, omop = ({(who, code) for who, code, *_ in side} for side in mimic.both("procedure"))
    icd10 = {pair for pair in hosp if pair[1].startswith("icd10pcs:")}
    assert (len(hosp), len(icd10), len(icd10 - omop)) == (608, 265, 12)
    # 10 of the 12 have codes that OMOP files under another domain, 2 are of a stay that it has otherwise. No ICD-9 code
    # is among its procedures. What only it has was charted in intensive care, or billed in CPT and HCPCS.
    assert len({code for _, code in icd10 - omop} - {code for _, code in omop}) == 10
    assert {code.partition(":")[0] for _, code in hosp & omop} == {"icd10pcs"}
    assert {code.partition(":")[0] for _, code in omop - hosp} == {"omop"}


# --- Synthea in OMOP: CSV zip, Parquet zip, databases ----------------------------------------------------------------


@pytest.fixture(scope="module")
def nj(real_data) -> Path:
    return real_data / "omop_synthea27nj"


@pytest.mark.real_data
def test_csv_and_parquet_zip_are_the_same(nj):
    vocabulary = DrugVocabulary.load()
    one = load("omop", nj / "Synthea27Nj_5.4.zip", vocabulary=vocabulary)
    other = load("omop", nj / "Synthea27NjParquet_5.4.zip", vocabulary=vocabulary)
    assert_same(one, other)
    sizes = [len(table) for table in (one.patients, one.treatments, one.conditions, one.allergies, one.observations)]
    assert sizes == [28, 2523 + 3567, 470, 0, 9087]  # 3,567 of visits
    assert set(one.concepts["code"].str.partition(":")[0]) == {"rxnorm", "snomed", "loinc", "text", "omop"}
    assert one.log.mapped == {"parsed": 881, "none": 2}  # two contraceptive packs
    assert one.log.read["CONCEPT_ANCESTOR.csv"] == 0  # header only
    other.log.check()


@pytest.fixture(scope="module")
def unzipped(nj, tmp_path_factory) -> Path:
    """The tables of the Parquet zip that are read, typed as in the zip."""
    with zipfile.ZipFile(nj / "Synthea27NjParquet_5.4.zip") as archive:
        names = [name for name in archive.namelist() if Path(name).stem in READ and "__MACOSX" not in name]
        archive.extractall(folder := tmp_path_factory.mktemp("nj"), names)
    return folder / "Synthea27NjParquet"


READ = {"provider", *(file.stem.lower() for file in FIXTURE.iterdir())}


def sql_type(column: str) -> str:
    column = column.lower()
    if column.endswith("_id") and column not in ("vocabulary_id", "domain_id", "concept_class_id"):
        return "bigint"
    if column.endswith("datetime"):
        return "timestamp"
    if column.endswith("_date"):
        return "date"
    return "numeric" if column in ("value_as_number", "days_supply") or column.endswith("_of_birth") else "text"


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table as text, for a database to turn into its types; what no database would take is set right first."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file, dtype_backend="pyarrow").astype("object")
            frame = frame.where(frame.notna(), None)
        else:
            frame = pd.read_csv(file, dtype=str, sep="\t" if "\t" in file.read_text() else ",", quoting=3)
        found[file.stem] = frame
    return found


# what a typed column cannot hold, and what the loader makes of it in a file
MENDED = {"2020-06-01 25:00:00": None, "someday": None, "high": None, "19073183.0": "19073183", "-11.0": "-11"}


@pytest.fixture(scope="module")
def mended(tmp_path_factory) -> Path:
    """The hand-made fixture with the cells that no typed column would hold."""
    folder = tmp_path_factory.mktemp("mended")
    for file in FIXTURE.iterdir():
        text = file.read_text()
        for wrong, right in MENDED.items():
            text = text.replace(wrong, right or "")
        (folder / file.name).write_text(text)
    return folder


def into_sqlite(folder: Path, file: Path) -> str:
    with sqlite3.connect(file) as database:
        for name, frame in tables(folder).items():
            frame.map(lambda v: v if v is None or isinstance(v, int | float | str) else str(v)).to_sql(
                name, database, index=False
            )
    database.close()
    return f"sqlite:///{file}"


def test_sqlite_is_the_same_as_the_files(tmp_path, mended):
    url = into_sqlite(mended, tmp_path / "cdm?100%.db".replace("?", "_"))
    assert_same(load("omop", url, vocabulary=None), load("omop", mended, vocabulary=None))


@pytest.mark.real_data
def test_synthea_in_sqlite_is_the_same_as_in_the_zip(tmp_path, nj, unzipped):
    url = into_sqlite(unzipped, tmp_path / "nj.db")
    assert_same(load("omop", url, vocabulary=None), load("omop", nj / "Synthea27Nj_5.4.zip", vocabulary=None))


def test_a_missing_sqlite_file_is_not_made(tmp_path):
    with pytest.raises(InputError, match="cannot be read: OperationalError"):
        load("omop", f"sqlite:///{tmp_path}/none.db", vocabulary=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuchdb://host/name", "no database URL that can be used"),
        ("postgresql+psycopg://u:hidden-word@127.0.0.1:1/x", "cannot be read: OperationalError"),
        ("postgresql+psycopg://u:hidden-word@127.0.0.1:port/x", "no database URL that can be used"),
        ("sqlite://", "names the file"),
        ("sqlite:///x.db?mode=rwc", "names the file"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url, says):
    with pytest.raises(InputError, match=says) as told:
        load("omop", url, vocabulary=None)
    assert "hidden-word" not in str(told.value)


PASSWORD = "correct horse/battery@staple"


# --- a real PostgreSQL -----------------------------------------------------------------------------------------------


def program(name: str) -> str:
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)
    return found or pytest.fail(f"PostgreSQL's {name} is not there: install it (Debian: apt install postgresql)")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The folder of the socket of a server of the tests' own, without a TCP port; its superuser is `postgres`.

    Its files belong to whom it runs as, who must not be root.
    """
    initdb, server = program("initdb"), program("postgres")
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="rxrec-pg-", dir="/tmp") as folder:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        options = ["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--locale=C", "--encoding=UTF8"]
        secret = Path(folder) / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [initdb, f"--pgdata={folder}/data", f"--pwfile={secret}", *options],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen([server, "-D", f"{folder}/data", *settings], user=user, cwd=folder, stderr=log)
        try:
            yield _ready(folder, process)
        finally:
            process.terminate()
            process.wait(20)


def _ready(folder: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(200):
        try:
            psycopg.connect(host=folder, user="postgres", password=PASSWORD).close()
            return folder
        except psycopg.OperationalError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    return pytest.fail("PostgreSQL did not start: " + (Path(folder) / "log").read_text())


def into_postgres(folder: Path, socket: str, schema: str) -> str:
    """Fill a schema by COPY; the reader it is made for may read and nothing else."""
    with psycopg.connect(host=socket, user="postgres", password=PASSWORD) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        for name, frame in tables(folder).items():
            columns = ", ".join(f'"{column}" {sql_type(column)}' for column in frame)
            connection.execute(f'CREATE TABLE {schema}."{name}" ({columns})')
            with connection.cursor().copy(f'COPY {schema}."{name}" FROM STDIN') as copy:
                for row in frame.itertuples(index=False):
                    copy.write_row([None if pd.isna(value) else value for value in row])
        connection.execute(f"CREATE ROLE {schema}_reader LOGIN PASSWORD 'p@ss word'")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_reader")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_reader")
    return f"postgresql+psycopg://{schema}_reader:p%40ss%20word@/postgres?host={socket}&schema={schema}"


@pytest.mark.xdist_group("omop_postgres")
def test_postgres_is_the_same_as_the_files(postgres, mended):
    url = into_postgres(mended, postgres, "hand")
    records = load("omop", url, vocabulary=None)
    assert_same(records, load("omop", mended, vocabulary=None))
    assert records.log.read["drug_exposure"] == 11
    with connected(
        url.replace("hand_reader:p%40ss%20word", f"postgres:{quote(PASSWORD, safe='')}"), IngestLog(), None, None
    ) as export:
        settings = [
            export.opener.connection.exec_driver_sql(f"SHOW transaction_{name}").scalar()
            for name in ("read_only", "isolation")
        ]
    assert settings == ["on", "repeatable read"]  # though this role may write
    wrong = url.replace("p%40ss", "p%40zz")
    with pytest.raises(InputError, match="password authentication failed") as told:
        load("omop", wrong, vocabulary=None)
    assert "zz" not in str(told.value)
    with pytest.raises(InputError, match="table person is missing: is this the schema"):
        load("omop", url.replace("schema=hand", "schema=nowhere"), vocabulary=None)


@pytest.mark.real_data
@pytest.mark.xdist_group("omop_postgres")
def test_synthea_in_postgres_is_the_same_as_in_the_zip(postgres, nj, unzipped):
    url = into_postgres(unzipped, postgres, "nj")
    assert_same(load("omop", url, vocabulary=None), load("omop", nj / "Synthea27Nj_5.4.zip", vocabulary=None))
