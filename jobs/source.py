"""The options that say where records come from in, a `Source` to read them from out: one for every command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from recommender.access import seal_of
from recommender.forgotten import Forgotten
from recommender.loaders import SOURCES, load
from recommender.loaders.recognise import recognise
from recommender.memory import Memory
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary

AUTO = "auto"


@dataclass(frozen=True)
class Source:
    """An export and how to read it: its format, where it is (folder, file, zip or database), how drugs are named."""

    format: str
    path: str
    vocabulary: DrugVocabulary | None
    vocabulary_name: str  # "default", "none" or the folder's
    vocabulary_folder: str  # "" for the shipped one
    columns: Path | None

    def read(self, console: Console) -> Records:
        """Load it with a progress bar and tell what was rejected. Raises InputError when it cannot be used."""
        settings = console.settings
        cache, seal = settings.workdir / "cache", seal_of(settings)
        with console.progress("read", None, "rows") as progress:
            records = load(
                self.format,
                self.path,
                vocabulary=self.vocabulary,
                progress=progress,
                columns=self.columns,
                cache=cache,
                seal=seal,
                memory=Memory.of(settings.memory),
            )
        records = Forgotten(settings.workdir, settings.secret_file).left_out(records, None if seal else cache)
        log = records.log
        console.say(f"read {sum(log.read.values()):,} rows of {len(log.read)} files, {records.n_patients:,} patients")
        for finding in log.findings:
            console.say(f"  {finding}")
        return records


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --source, --input, --columns, --vocabulary and --drug-map; it is called with one `Source`."""

    @functools.wraps(command)
    def with_source(
        *, form: str, path: str, columns: Path | None, vocabulary: str, drug_map: Path | None, **others: Any
    ) -> Any:
        if form == AUTO:
            form, why = recognise(path) if columns is None else ("csv", "csv: a column map is given")
            click.get_current_context().obj.say(f"source {why}")
        if vocabulary == "none" and drug_map:
            raise click.UsageError("--drug-map adds to the vocabulary, which --vocabulary none leaves out")
        folder = None if vocabulary == "default" else Path(vocabulary)
        named = None if vocabulary == "none" else DrugVocabulary.load(folder, drug_map)
        told = Source(form, path, named, Path(vocabulary).name, str(folder or "") if named else "", columns)
        return command(source=told, **others)

    for option in (
        click.option(
            "--drug-map",
            type=click.Path(path_type=Path),
            help="Your own names of drugs: CSV rows source,target (data/vocabulary/README.md).",
        ),
        click.option(
            "--vocabulary",
            metavar="default|none|FOLDER",
            default="default",
            show_default=True,
            help="How drugs are named: by the shipped vocabulary, codes as they are, or one that you imported.",
        ),
        click.option(
            "--columns",
            type=click.Path(path_type=Path),
            help="A column map for plain files: CSV rows table,ours,theirs (docs/formats/auto.md).",
        ),
        click.option(
            "--input",
            "path",
            required=True,
            help="The export's folder, a zip of it, or a database (postgresql+psycopg://...?schema=cdm).",
        ),
        click.option(
            "--source",
            "form",
            type=click.Choice([AUTO, *sorted(SOURCES)]),
            default=AUTO,
            show_default=True,
            help="The export's format; auto recognises it by its files and says why.",
        ),
    ):
        with_source = option(with_source)
    return with_source
