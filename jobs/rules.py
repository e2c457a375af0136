"""`rxrec rules`: the safety rules checked, what they know of one drug, and a site's own lists made into rules."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from recommender.errors import InputError
from recommender.safety import FAMILIES, SEVERITIES, AnyRule, Rules
from recommender.safety.importing import import_medrt, import_pairs
from recommender.vocabulary import DrugVocabulary

_RULES = click.option(
    "--rules",
    "site",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of your own rules, read beside ours.",
)
_VOCABULARY = click.option(
    "--vocabulary", "folder", type=click.Path(path_type=Path), help="A vocabulary that `rxrec vocabulary import` wrote."
)
MOST_UNKNOWN = 10  # how many names that nobody knows are listed


@click.group()
def rules() -> None:
    """Check and look up the safety rules, and add your own."""


@rules.command()
@_RULES
@_VOCABULARY
@click.pass_obj
def check(console: Console, site: Path | None, folder: Path | None) -> None:
    """Read every table of rules; say what there is, or which row is wrong.

    Wrong is: an unknown drug, class, condition or lab; a rule without message, management, source or date; two rules
    that contradict or repeat each other; a rule that can never count.
    """
    found = Rules.load(site=site, vocabulary=DrugVocabulary.load(folder))
    oldest, newest = found.reviewed
    data: dict[str, Any] = {
        "version": found.version,
        "reviewed": {"oldest": oldest.isoformat(), "newest": newest.isoformat()},
        "counts": found.counts,
        "severities": found.severities,
        "ingredients": len(found.ingredients),
        "switched_off": list(found.switched_off),
        "without_effect": list(found.without_effect),
    }
    lines = [f"rules {found.version}, reviewed from {oldest} to {newest}: no fault found"]
    for family, count in found.counts.items():
        how = ", ".join(f"{found.severities[family].get(s, 0):,} {s}" for s in SEVERITIES) if family in FAMILIES else ""
        lines.append(f"  {family:<13}{count:>7,}  {how}".rstrip())
    if found.switched_off:
        lines.append(f"switched off by this site: {', '.join(found.switched_off)}")
    if found.without_effect:
        lines.append(f"without effect, ours are stricter: {', '.join(found.without_effect)}")
    console.result(data, "\n".join(lines))


@rules.command()
@click.argument("drug")
@_RULES
@_VOCABULARY
@click.pass_obj
def show(console: Console, drug: str, site: Path | None, folder: Path | None) -> None:
    """Show all that the rules say of DRUG, in any spelling that the vocabulary knows."""
    vocabulary = DrugVocabulary.load(folder)
    found = Rules.load(site=site, vocabulary=vocabulary)
    match = vocabulary.match(drug)
    if match.status != "mapped":
        near = ", ".join(name for name, _ in vocabulary.nearest(drug))
        raise InputError(f"{drug!r} is no drug of the vocabulary. Near it: {near}")
    data: dict[str, Any] = {"drug": match.name, "code": match.code, "version": found.version, "ingredients": []}
    lines = [f"{match.name} ({match.code}), rules {found.version}"]
    for code in match.ingredients:
        if len(match.ingredients) > 1:
            lines.append(f"-- {found.ingredients[code]}")
        partners: dict[str, list[str]] = {}
        for other, ids in found.interactions_of(code).items():
            for name in ids:
                partners.setdefault(name, []).append(found.ingredients[other])
        entry: dict[str, Any] = {"name": found.ingredients[code], "code": code}
        for family in FAMILIES:
            known = sorted(found.rules_of(code, family), key=lambda rule: -rule.rank)
            if family == "interactions":
                known = [rule for rule in known if rule.id in partners]
            entry[family] = [_as_data(rule) | {"with": sorted(partners.get(rule.id, []))} for rule in known]
            lines += [f"{family}: {len(known)}"] if known else []
            for rule in known:
                lines.append(f"  {rule.severity:<16}{rule.id}: {rule.message}")
                if rule.id in partners:
                    lines.append(f"  {'':<16}with {_listed(sorted(partners[rule.id]))}")
                lines.append(f"  {'':<16}{rule.management} [{rule.source}; {rule.reviewed}]")
        data["ingredients"].append(entry)
    console.result(data, "\n".join(lines))


@rules.command("import")
@click.option("--pairs", type=click.Path(path_type=Path), help="A CSV with drug_a, drug_b, severity and maybe message.")
@click.option("--medrt", type=click.Path(path_type=Path), help="medrt.parquet, or the imported vocabulary's folder.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Your folder of rules.")
@click.option("--skip-unknown", is_flag=True, help="Leave out pairs of drugs that the vocabulary does not know.")
@click.option(
    "--severity", type=click.Choice(SEVERITIES), default="serious", show_default=True, help="Of MED-RT's rules."
)
@_VOCABULARY
@click.pass_obj
def import_(
    console: Console,
    pairs: Path | None,
    medrt: Path | None,
    output: Path,
    skip_unknown: bool,
    severity: str,
    folder: Path | None,
) -> None:
    """Make rules of your own list of interactions, or of MED-RT's contraindications.

    They are written into a folder of yours that `--rules` reads beside ours; no file there is overwritten.
    """
    today = datetime.now(UTC).date()
    if pairs is not None and medrt is None:
        done = import_pairs(pairs, output, today, DrugVocabulary.load(folder), skip_unknown=skip_unknown)
    elif medrt is not None and pairs is None:
        vocabulary = DrugVocabulary.load(folder or (medrt if medrt.is_dir() else None))
        done = import_medrt(medrt, output, today, vocabulary, severity=severity)
    else:
        raise click.UsageError("give one of --pairs and --medrt")
    lines = [f"{output}: " + ", ".join(f"{count:,} rules in {file}" for file, count in done.written.items())]
    lines += [f"  left out, {why}: {count:,}" for why, count in done.left_out.items()]
    often = sorted(done.unknown.items(), key=lambda pair: (-pair[1], pair[0]))
    lines += [f"    {name}: {count:,}" for name, count in often[:MOST_UNKNOWN]]
    lines.append(f"see them with: rxrec rules check --rules {output}")
    console.result({"output": str(output), **asdict(done)}, "\n".join(lines))


def _as_data(rule: AnyRule) -> dict[str, Any]:
    names = ("id", "severity", "message", "management", "source", "origin")
    return {name: getattr(rule, name) for name in names} | {"reviewed": rule.reviewed.isoformat()}


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
