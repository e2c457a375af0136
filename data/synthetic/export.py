"""In: a `Block`; out: its eight Arrow tables, every column text exactly as Synthea's CSV export writes it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data.synthetic import dirt, text
from data.synthetic.block import BLOCK, SETTINGS, Block
from data.synthetic.people import END, PRESCRIBERS, SITES
from data.synthetic.register import register
from data.synthetic.tables import Tables

# SNOMED CT code and description of an encounter of each of SETTINGS, as Synthea has them.
ENCOUNTER_CODES = (
    ("162673000", "General examination of patient (procedure)"),
    ("185347001", "Encounter for problem (procedure)"),
    ("185349003", "Encounter for check up (procedure)"),
    ("702927004", "Urgent care clinic (environment)"),
    ("50849002", "Emergency room admission (procedure)"),
    ("32485007", "Hospital admission (procedure)"),
)
WELL_CHILD = ("410620009", "Well child visit (procedure)")
OF_A_DEPARTMENT = [SETTINGS.index(setting) for setting in ("ambulatory", "outpatient", "inpatient")]
VISIT_COST = np.array([136.8, 85.6, 129.2, 142.6, 980.0, 8420.0])
COVERED = {"NO_INSURANCE": 0.0, "Medicaid": 0.92, "Medicare": 0.8}
KEYS = {"patient": 1, "encounter": 2, "careplan": 3, "site": 4, "prescriber": 5}  # one id space for each kind of thing


class Export:
    """Holds what the tables of one block share: ids, encounters, payers."""

    def __init__(self, block: Block, seed: int):
        self.block, self.rules, self.rng = block, block.chart.tables, block.rng
        self.people, self.illness = block.chart.people, block.chart.illness
        n = self.people.n
        self.seed = seed
        self.ids = self._ids("patient", np.arange(n) + block.number * BLOCK)
        self.site_ids = self._ids("site", np.arange(SITES))
        self.prescriber_ids = self._ids("prescriber", np.arange(PRESCRIBERS))
        self.payers = text.labels([row["value"] for row in self.rules.groups])
        self.covered = np.array([COVERED.get(row["label"], 0.85) for row in self.rules.groups])
        self._gather()

    def _ids(self, kind: str, number: np.ndarray) -> pa.StringArray:
        return text.uuids(self.seed * 16 + KEYS[kind], number.astype(np.uint64))

    def tables(self) -> dict[str, pa.Table]:
        """One Arrow table for each file of the export, in Synthea's column order."""
        return {
            "patients": register(self.block, self.ids, self.covered, self.rng),
            "encounters": self.encounters(),
            "medications": self.medications(),
            "conditions": self.conditions(),
            "allergies": self.allergies(),
            "procedures": self.procedures("procedure"),
            "careplans": self.procedures("careplan"),
            "observations": self.observations(),
        }

    def _gather(self) -> None:
        """Every event belongs to the encounter of its patient and day; the gravest setting and its reason name it."""
        block, rules = self.block, self.rules
        rank = {setting: i for i, setting in enumerate(SETTINGS)}
        of_condition = np.array([rank[c.setting] for c in rules.conditions.values()] + [rank["ambulatory"]])
        urgent = ("inpatient", "emergency")
        episodic = np.array([c.course == "episode" or c.setting in urgent for c in rules.conditions.values()])
        of_rule = np.array([rank[p.setting] for p in rules.procedures])
        orders, found = block.orders, block.diagnoses
        fresh = episodic[found.row] & (found.start == found.seen)
        index = {key: i for i, key in enumerate(rules.conditions)}
        rule_reason = np.array([index.get(p.condition, -1) for p in rules.procedures])
        everyone = np.arange(self.people.n, dtype=np.int32)
        events = [  # patient, day, setting, reason
            (orders.patient, orders.seen, np.where(orders.acute, of_condition[orders.reason], 1), orders.reason),
            (found.patient, found.seen, np.where(fresh, of_condition[found.row], 1), np.where(fresh, found.row, -1)),
            (block.care.patient, block.care.start, of_rule[block.care.rule], rule_reason[block.care.rule]),
            (block.allergies.patient, block.allergies.start, np.zeros(len(block.allergies.row), int), None),
            (block.results.patient, block.results.day, np.zeros(len(block.results.row), int), None),
            (everyone, self.people.entry, np.zeros(self.people.n, int), None),
        ]
        patient = np.concatenate([e[0] for e in events])
        day = np.concatenate([e[1] for e in events])
        setting = np.concatenate([e[2] for e in events])
        reason = np.concatenate([np.full(len(e[0]), -1) if e[3] is None else e[3] for e in events])
        keys, where = np.unique(patient.astype(np.int64) << 20 | day, return_inverse=True)
        best = np.full(len(keys), -1, dtype=np.int64)
        np.maximum.at(best, where, setting.astype(np.int64) * 1000 + reason + 1)
        self.enc_patient, self.enc_day = (keys >> 20).astype(np.int32), (keys & (2**20 - 1)).astype(np.int32)
        self.enc_setting, self.enc_reason = best // 1000, best % 1000 - 1
        self.enc_ids = self._ids("encounter", np.arange(len(keys)) + (self.block.number << 32))
        split = np.cumsum([len(e[0]) for e in events])[:-1]
        names = ("orders", "found", "care", "allergies", "results", "entry")
        self.enc_of = dict(zip(names, np.split(where, split), strict=True))
        office = self.enc_setting <= 3
        hour = self.rng.integers(0, 34200, len(keys))
        self.enc_second = np.where(office, 28800 + hour, (hour * 2.5).astype(np.int64))

    def encounters(self) -> pa.Table:
        rng, m = self.rng, len(self.enc_day)
        who, day, second, kind = self.enc_patient, self.enc_day, self.enc_second, self.enc_setting
        long = np.array([1500, 1200, 1800, 2400, 14400, 0])[kind] * rng.uniform(0.6, 1.6, m)
        nights = np.where(kind == 5, rng.geometric(0.28, m), 0)
        last = np.where(self.illness.died[who], self.illness.exit[who], END - 1)
        stop_day = np.minimum(day + nights, np.maximum(last, day))
        stop_second = np.minimum(second + np.where(kind == 5, 1800, long).astype(np.int64), 86399)
        codes = encounter_codes(self.rules)
        code = np.where((kind == 0) & (day - self.people.birth[who] < 18 * 365.25), codes.index(WELL_CHILD), kind)
        departments = [c.department for c in self.rules.conditions.values()]
        # the last stands for no reason, which is -1
        seen_by = np.array([*(codes.index(d) if d else -1 for d in departments), -1])
        seen_by = np.where(np.isin(kind, OF_A_DEPARTMENT), seen_by[self.enc_reason], -1)
        code = np.where(seen_by >= 0, seen_by, code)
        cost = np.round(VISIT_COST[kind], 2)
        total = np.round(cost * rng.uniform(1, 3, m), 2)
        payer = self.people.groups["payer"][who]
        return pa.table(
            {
                "Id": self.enc_ids,
                "START": text.moments(day, second),
                "STOP": text.moments(stop_day, stop_second),
                "PATIENT": self.ids.take(pa.array(who)),
                "ORGANIZATION": self.site_ids.take(pa.array(self.people.site[who])),
                "PROVIDER": self.prescriber_ids.take(pa.array(self.people.prescriber[who])),
                "PAYER": text.cells(self.payers, payer),
                "ENCOUNTERCLASS": text.pick(list(SETTINGS), kind),
                "CODE": text.pick([c for c, _ in codes], code),
                "DESCRIPTION": text.pick([d for _, d in codes], code),
                "BASE_ENCOUNTER_COST": cost,
                "TOTAL_CLAIM_COST": total,
                "PAYER_COVERAGE": np.round(total * self.covered[payer], 2),
                **self._reason(self.enc_reason),
            }
        )

    def _reason(self, row: np.ndarray) -> dict[str, pa.StringArray]:
        conditions = list(self.rules.conditions.values())
        return {
            "REASONCODE": text.pick([c.code for c in conditions], row),
            "REASONDESCRIPTION": text.pick([c.description for c in conditions], row),
        }

    def medications(self) -> pa.Table:
        o, rng, drugs = self.block.orders, self.rng, self.rules.drugs
        at = self.enc_of["orders"]
        second = self.enc_second[at]
        names = [d["name"] for d in drugs]
        spelt = [*names, *(x.upper() for x in names), *(x.lower() for x in names), *(typed(x) for x in names)]
        coded = np.where(o.spelling == dirt.TYPED, -1, o.drug)
        dated, ended = o.start >= 0, o.stop >= 0
        days = np.where(o.acute, 30, np.clip(np.where(ended, o.stop, END) - o.seen, 30, 365))
        fills = np.maximum(days // 30, 1)
        price = np.array([float(d["monthly_cost"]) for d in drugs])[o.drug]
        base = np.round(price * rng.uniform(0.9, 1.1, len(fills)), 2)
        total = np.round(base * fills, 2)
        payer = self.people.groups["payer"][o.patient]
        table = pa.table(
            {
                "START": text.moments(o.start, second, dated),
                "STOP": text.moments(o.stop, second, ended),
                "PATIENT": self.ids.take(pa.array(o.patient)),
                "PAYER": text.cells(self.payers, payer),
                "ENCOUNTER": self.enc_ids.take(pa.array(at)),
                "CODE": text.pick([d["rxcui"] for d in drugs], coded),
                "DESCRIPTION": text.pick(spelt, o.drug + o.spelling * len(drugs)),
                "BASE_COST": base,
                "PAYER_COVERAGE": np.round(total * self.covered[payer], 2),
                "DISPENSES": fills.astype(np.int32),
                "TOTALCOST": total,
                **self._reason(o.reason),
            }
        )
        return dirt.twice(table, rng)

    def conditions(self) -> pa.Table:
        d = self.block.diagnoses
        rows = list(self.rules.conditions.values())
        return pa.table(
            {
                "START": text.dates(d.start),
                "STOP": text.dates(d.stop, d.stop >= 0),
                "PATIENT": self.ids.take(pa.array(d.patient)),
                "ENCOUNTER": self.enc_ids.take(pa.array(self.enc_of["found"])),
                "CODE": text.pick([c.code for c in rows], d.row),
                "DESCRIPTION": text.pick([c.description for c in rows], d.row),
            }
        )

    def allergies(self) -> pa.Table:
        a, rows, rng = self.block.allergies, self.rules.allergies, self.rng
        m = len(a.row)
        reacted = np.where(rng.random(m) < 0.75, a.row, -1)
        grade = np.where(reacted < 0, -1, (rng.random(m)[:, None] > np.array([0.55, 0.9])).sum(1))
        wanted = ("code", "system", "description", "type", "category")
        column = {key: text.pick([row[key] for row in rows], a.row) for key in wanted}
        return pa.table(
            {
                "START": text.dates(a.start),
                "STOP": text.nothing(m),
                "PATIENT": self.ids.take(pa.array(a.patient)),
                "ENCOUNTER": self.enc_ids.take(pa.array(self.enc_of["allergies"])),
                "CODE": column["code"],
                "SYSTEM": column["system"],
                "DESCRIPTION": column["description"],
                "TYPE": column["type"],
                "CATEGORY": column["category"],
                "REACTION1": text.pick([row["reaction"] for row in rows], reacted),
                "DESCRIPTION1": text.pick([row["reaction_description"] for row in rows], reacted),
                "SEVERITY1": text.pick(["MILD", "MODERATE", "SEVERE"], grade),
                "REACTION2": text.nothing(m),
                "DESCRIPTION2": text.nothing(m),
                "SEVERITY2": text.nothing(m),
            }
        )

    def procedures(self, kind: str) -> pa.Table:
        """procedures.csv or careplans.csv."""
        c, rules, rows, rng = self.block.care, self.rules.procedures, self.rules.procedure_rows, self.rng
        of = np.flatnonzero(np.array([rule.kind == kind for rule in rules])[c.rule])
        of = of[np.lexsort((c.start[of], c.patient[of]))]
        patient, day, stop, rule, at = c.patient[of], c.start[of], c.stop[of], c.rule[of], self.enc_of["care"][of]
        index = {key: i for i, key in enumerate(self.rules.conditions)}
        why = np.array([index.get(r.condition, -1) for r in rules])[rule]
        shared = {
            "PATIENT": self.ids.take(pa.array(patient)),
            "ENCOUNTER": self.enc_ids.take(pa.array(at)),
            "CODE": text.pick([row["code"] for row in rows], rule),
            "DESCRIPTION": text.pick([row["description"] for row in rows], rule),
        }
        if kind == "careplan":
            number = np.arange(len(of)) + (self.block.number << 32)
            over = stop < self.illness.exit[patient]
            return pa.table(
                {
                    "Id": self._ids("careplan", number),
                    "START": text.dates(day),
                    "STOP": text.dates(stop, over),
                    **shared,
                    **self._reason(why),
                }
            )
        second = self.enc_second[at]
        done = np.minimum(second + rng.integers(600, 3600, len(of)), 86399)
        cost = np.round(np.array([r.cost for r in rules])[rule] * rng.uniform(0.8, 1.25, len(of)), 2)
        return pa.table(
            {
                "START": text.moments(day, second),
                "STOP": text.moments(day, done),
                **shared,
                "BASE_COST": cost,
                **self._reason(why),
            }
        )

    def observations(self) -> pa.Table:
        r, rng, rows = self.block.results, self.rng, self.rules.observation_rows
        order = np.lexsort((r.row, r.day, r.patient))
        patient, day, row, at = r.patient[order], r.day[order], r.row[order], self.enc_of["results"][order]
        places = np.array([a.decimals for a in self.rules.analytes.values()])[row]
        value = dirt.soil_values(r.value, rng)[order]
        column = {key: text.pick([x[key] for x in rows], row) for key in ("category", "code", "description", "units")}
        table = pa.table(
            {
                "DATE": text.moments(day, self.enc_second[at]),
                "PATIENT": self.ids.take(pa.array(patient)),
                "ENCOUNTER": self.enc_ids.take(pa.array(at)),
                "CATEGORY": column["category"],
                "CODE": column["code"],
                "DESCRIPTION": column["description"],
                "VALUE": text.decimals(value, places),
                "UNITS": column["units"],
                "TYPE": text.pick(["numeric"], np.zeros(len(row), int)),
            }
        )
        return dirt.twice(table, rng)


def encounter_codes(rules: Tables) -> list[tuple[str, str]]:
    """Code and description of all that an encounter can be: of each of SETTINGS, then others."""
    departments = (condition.department for condition in rules.conditions.values())
    return [*ENCOUNTER_CODES, WELL_CHILD, *dict.fromkeys(d for d in departments if d)]


SHORTHAND = ((" oral tablet", " tab po"), (" oral capsule", " cap po"), (" hydrochloride", ""), (" mg", "mg"))


def typed(name: str) -> str:
    """How someone in a hurry writes a clinical drug."""
    short = name.lower().split("[")[0]
    for long, brief in SHORTHAND:
        short = short.replace(long, brief)
    return short.strip()
