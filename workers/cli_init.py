"""`connect init`: questions become a configuration, tried on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connect.errors import ConfigError, ConnectError
from workers.command import CONFIG_FILE, ConfigOption, JsonOption, LogLevel, begin, load, screen, waited
from workers.screen import table

if TYPE_CHECKING:  # late imports: see cli.py
    from connect.config import Config
    from connect.doctor import Result
    from connect.setup.dimensions import Dimension
    from connect.setup.proposals import Proposals
    from connect.setup.questions import Answers, Company, Question

EXAMPLE: Final = (
    "In a terminal, question by question:  connect init\n\n"
    "From a file:  connect init --write-answers answers.toml;  $EDITOR answers.toml;  connect init --answers answers.toml --sync\n\n"
    "Exit code 1 when something that was tried fails; the files are written all the same. With --sync as `connect run --until-idle`."
)
SAGE_GATE: Final = "sage.version"
PRIME_CHECKS: Final = ("prime.url", "prime.service", "prime.version", "prime.login", "prime.environment", "prime.companies", "prime.rest")
ForceOption = Annotated[bool, typer.Option("--force", help="Write over files that exist, without asking.")]


def init(
    answers: Annotated[Path | None, typer.Option("--answers", metavar="FILE", help="Take the answers from this file (TOML).")] = None,
    write_answers: Annotated[
        Path | None, typer.Option("--write-answers", metavar="FILE", help="Write a form to fill in, and nothing else.")
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Then run every job once, if nothing that was tried fails.")] = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Try the answers on Sage and Prime.")] = True,
    force: ForceOption = False,
    config: ConfigOption = CONFIG_FILE,
    as_json: JsonOption = False,
) -> None:
    """Set a customer up: ask, try, and write the configuration, a check list, and a page of what the customer does in Sage."""
    begin(as_json, level=LogLevel.error)
    if write_answers is not None:
        if answers is not None or sync:
            raise ConfigError("--write-answers goes alone: fill the form in, then `connect init --answers FILE`", code="usage")
        from connect.setup.answers import form

        _write({write_answers: form()}, force=force)
        screen.result({"written": [str(write_answers)]}, lambda: screen.say(f"{write_answers} is written; fill it in, then --answers"))
        return
    if answers is None and not sys.stdin.isatty():
        raise ConfigError(
            "`connect init` asks in a terminal; without one give --answers FILE (`connect init --write-answers FILE` writes a form)",
            code="usage",
        )
    if answers is not None:
        from connect.setup.answers import read

        setup = _SetUp(read(answers), config)
        if not force and not sys.stdin.isatty():
            _refuse_existing(setup.paths())
        setup.gather(test=test)
    else:
        setup = _Interview(config, test=test).held()
    written = _write(setup.files(), force=force)
    setup.say(written)
    _end(setup, written, sync=sync)


def _end(setup: _SetUp, written: list[Path], *, sync: bool) -> None:
    """The result, and a first run if it is wanted."""
    document = setup.document(written)
    failed = [result.check.name for result in setup.results if result.verdict == "failed"]
    code = 1 if failed else 0
    if sync:
        blocking = [one.text for one in setup.limits() if one.stops]
        if setup.path not in written or failed or blocking:
            why = f"{', '.join(failed)} failed" if failed else blocking[0] if blocking else f"{setup.path} was not written"
            screen.say(f"nothing is run: {why}")
            code = 1
        else:
            from workers.session import run_once

            screen.say("the first run: everything is read and sent once")
            outcome = waited(run_once(load(setup.path), screen, connection=str(setup.answers["connection.name"])))
            document["sync"] = outcome.document()
            code = outcome.exit_code
            if not screen.json:
                outcome.show()
    screen.result(document, lambda: None)
    raise typer.Exit(code)


# -- from answers to files ---------------------------------------------------------------------------------------------


@dataclass
class _SetUp:
    """Answers, what was tried with them, and the files that they become.

    `typed`: whether a secret was typed, which this process alone knows. `told`: warnings that a person has read already.
    """

    answers: Answers
    path: Path
    results: list[Result] = field(default_factory=list)
    dimensions: list[Dimension] = field(default_factory=list)
    levels: dict[str, tuple[int, int]] = field(default_factory=dict)
    heard: Proposals | None = None
    typed: bool = False
    told: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    config: Config | None = None

    def missing(self) -> list[str]:
        """The secrets that this process cannot read, as references."""
        from connect.setup.tables import secrets

        given = dict.fromkeys(secrets(self.answers).values())
        redis = self.answers["connection.redis_url"]
        given |= {redis: None} if redis and redis.startswith(("env:", "file:")) else {}
        return [reference for reference in given if not _is_there(reference, self.path.parent)]

    def configured(self, *, stand_in: bool = False) -> Config:
        """The configuration as `config check` reads it. `stand_in`: secrets that are not there are taken to be, since none is used."""
        from connect.config.load import parse_config
        from connect.config.toml import dump
        from connect.registers import REGISTERS

        environ = dict(os.environ)
        tables = self._tables()
        if stand_in:
            environ |= {reference.removeprefix("env:"): "…" for reference in self.missing() if reference.startswith("env:")}
            tables = _with_stand_ins(tables, [one for one in self.missing() if one.startswith("file:")])
            environ["CONNECT_STAND_IN"] = "…"
            if tables["redis"].get("url", "").startswith(("env:", "file:")):
                tables["redis"] = {"data_dir": ".connect"}
        return parse_config(dump(tables), path=self.path, environ=environ, jobs=REGISTERS)

    def _tables(self) -> dict[str, Any]:
        from connect.setup.tables import tables

        try:
            return tables(self.answers)
        except ValueError as error:
            raise ConfigError(str(error), code="schedule") from None

    def gather(self, *, test: bool) -> None:
        """Try everything, let Sage tell what was left open, and build the configuration."""
        missing = self.missing()
        if test and missing:
            names = ", ".join(one.removeprefix("env:") for one in missing)
            self.notes.append(f"not tried, since these secrets are not set: {names}. Set them, then run `connect doctor`")
        self.config = self.configured(stand_in=True)  # wrong answers are said before anything is asked of Sage
        if test and not missing:
            screen.say("trying the answers on Prime and Sage …")
            waited(self._tried())
        if not self.answers["dimensions.chosen"]:
            self.propose()
        self.config = self.configured(stand_in=True)

    def propose(self) -> None:
        """Choose dimensions where none were chosen."""
        from connect.setup.dimensions import propose

        self.answers.values["dimensions.chosen"] = propose(self.dimensions)
        how = "proposed from what Sage has and requires" if self.dimensions else "the mandatory ones, since Sage could not be asked"
        self.notes.append(f"dimensions: {', '.join(self.answers['dimensions.chosen'])} ({how})")

    def take(self, heard: Proposals) -> dict[str, str]:
        """Have what Sage proposes in place of defaults; why, of what is not answered."""
        from connect.setup.dimensions import propose_levels

        self.heard = heard
        levels = propose_levels(self.answers, self.counts())
        self.answers.proposed |= heard.answers | dict.fromkeys(levels, "entity")
        return {key: why for key, why in (heard.why | levels).items() if key not in self.answers.values}

    async def _tried(self) -> None:
        from connect.doctor import CHECKS, examine

        found, self.dimensions, self.levels, heard = await asked_of_sage(self.configured())
        for key, why in self.take(heard).items():
            self.notes.append(f"{key} = {shown(self.answers[key])}, since {why}")
        if any(result.check.name == SAGE_GATE and result.verdict == "ok" for result in found) and not self.answers["dimensions.chosen"]:
            self.propose()
        from workers.cli_doctor import systems_of
        from workers.command import tools_of_config

        final = self.configured()
        async with tools_of_config(final) as tools, systems_of(tools, final.connections[0].sid) as systems:
            self.results = await examine(CHECKS, replace(systems, connection=final.connections[0]))

    def limits(self) -> list[Any]:
        from connect.setup.limits import limits

        return limits(self.answers)

    def warnings(self) -> list[str]:
        """All that should be looked at, besides what fails; worst first."""
        from connect.config.stages import misplaced, stage_of_name, values_of
        from connect.setup.dimensions import doubts

        said = [one.words for one in sorted(self.limits(), key=lambda one: not one.stops)]
        said += self._found("warning")
        connection = self._tables()["connections"][0]
        if stage_of_name(connection["name"]) is None:
            said.append(
                f"connection {connection['name']} says neither TEST nor PROD at its end: nobody sees which of them it is. Rename it"
            )
        references = {key: value for key, value in values_of(connection).items() if str(value).startswith(("env:", "file:"))}
        said += [f"{key}: {words}" for key, words in misplaced(connection["name"], references)]  # of the others config.warnings speaks
        if self.dimensions:
            for chosen in (self.answers["dimensions.chosen"], *(one.dimensions for one in self.answers.companies if one.dimensions)):
                said += doubts(self.dimensions, chosen)
        said += self._level_doubts()
        said += self.config.warnings if self.config is not None else ()
        return list(dict.fromkeys(said))

    def failures(self) -> list[str]:
        """What was tried and is wrong."""
        return self._found("failed")

    def _found(self, verdict: str) -> list[str]:
        found = [(result.check.name, one) for result in self.results for one in result.findings if one.verdict == verdict]
        return [f"{name}: {one.cause} {one.do} (to be done by: {one.owner})" for name, one in found]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Job -> (rows in Sage, those of them that belong to one entity alone); of the dimensions those that are chosen, if any are."""
        chosen = self.answers["dimensions.chosen"]
        mine = [one for one in self.dimensions if not chosen or one.name in chosen]
        found = {"GetDimObjects": (sum(one.values or 0 for one in mine), sum(one.of_entities or 0 for one in mine))} if mine else {}
        return found | self.levels

    def _level_doubts(self) -> list[str]:
        """Rows that belong to entities and are not read where a register is read at the top level."""
        said = []
        for job, (rows, own) in self.counts().items():
            if own and self.answers.level(job) == "top":
                said.append(
                    f"{job} reads the top level, and {own:,} of {rows:,} rows belong to entities: they are not read. "
                    f'Answer levels.{job} = "entity" and give the companies their sage_entity'
                )
        entities = {one.company for one in self.answers.companies if not one.sage_entity}
        if entities and any(self.answers.level(job) == "entity" for job in self.counts()):
            said.append(f"companies without a sage_entity read the top level all the same: {', '.join(sorted(entities))}")
        return said

    def paths(self) -> list[Path]:
        name, folder = _file_name(str(self.answers["connection.name"])), self.path.parent
        return [self.path, folder / ".env.example", folder / f"{name}-checklist.md", folder / f"{name}-hand-over.md"]

    def files(self) -> dict[Path, str]:
        """What is written, by its place."""
        from connect.config.toml import dump
        from connect.setup.papers import Case, checklist, hand_over
        from connect.setup.tables import example, secrets

        assert self.config is not None
        results = {result.check.name: result for result in self.results}
        case = Case(self.answers, self.config.connections[0], results, self.dimensions, date.today())  # noqa: DTZ011 - the reader's day
        head = f"# {self.answers['customer.name']}: made by `connect init`. `connect config check` explains what is wrong with it;\n"
        head += "# `connect schedule` shows the day, `connect config show` every setting with its default. No secret stands here.\n\n"
        kept = dict(secrets(self.answers))
        if (redis := self.answers["connection.redis_url"]) and redis.startswith("env:"):
            kept["where Redis is"] = redis
        return dict(zip(self.paths(), (head + dump(self._tables()), example(kept), checklist(case), hand_over(case)), strict=True))

    def say(self, written: Sequence[Path]) -> None:
        for note in self.notes:
            screen.say(note)
        for warning in self.warnings():
            if warning not in self.told:
                screen.say(f"warning: {warning}")
        for failure in self.failures():
            screen.say(f"FAILED: {failure}")
        if written:
            screen.say(f"written: {', '.join(map(str, written))}")
        if written and (self.typed or self.missing()):
            screen.say(
                "secrets: copy .env.example to .env, fill it in (chmod 600), then `set -a; . ./.env; set +a` before the commands below"
            )
        screen.say("next: connect doctor; connect plan; connect run")

    def document(self, written: Sequence[Path]) -> dict[str, Any]:
        """For --json."""
        from workers.cli_doctor import document_of

        return {
            "connection": self.answers["connection.name"],
            "written": [str(path) for path in written],
            "notes": self.notes,
            "warnings": self.warnings(),
            "failures": self.failures(),
            "tried": document_of(self.results),
            "dimensions": [one.document() for one in self.dimensions],
            "chosen": self.answers["dimensions.chosen"],
            "sync": None,
        }


def _with_stand_ins(tables: dict[str, Any], files: Iterable[str]) -> dict[str, Any]:
    """The tables with files of secrets that are not there replaced by a variable."""
    missing = set(files)

    def swapped(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: swapped(value) for key, value in node.items()}
        if isinstance(node, list):
            return [swapped(one) for one in node]
        return "env:CONNECT_STAND_IN" if isinstance(node, str) and node in missing else node

    swapped_tables: dict[str, Any] = swapped(tables)
    return swapped_tables


def _is_there(reference: str, folder: Path) -> bool:
    kind, _, name = reference.partition(":")
    return bool(os.environ.get(name)) if kind == "env" else (folder / Path(name).expanduser()).is_file()


async def asked_of_sage(config: Config) -> tuple[list[Result], list[Dimension], dict[str, tuple[int, int]], Proposals]:
    """Whether Sage lets us in; if so which dimensions it has, how much of each register belongs to entities, and what it proposes."""
    from connect.doctor import examine
    from connect.doctor.needs import needs
    from connect.sage.facts import VENDOR
    from connect.setup.dimensions import register_levels, survey
    from connect.setup.proposals import Proposals, proposals
    from workers.cli_doctor import systems_of
    from workers.command import tools_of_config

    connection = config.connections[0]
    async with tools_of_config(config) as tools, systems_of(tools, connection.sid) as systems:
        results = await examine(_checks([SAGE_GATE]), systems)
        if results[-1].verdict != "ok":
            return results, [], {}, Proposals()
        vendor = needs(connection).get(VENDOR)
        heard = await proposals(systems.sage, vendor.fields if vendor else ())
        jobs = [job for job in dict.fromkeys(job.job for job in connection.jobs) if job != "GetDimObjects"]
        return results, await survey(systems.sage), await register_levels(systems.sage, jobs), heard


async def asked_of_prime(config: Config) -> list[Result]:
    """Whether Prime lets us in and has the environment and the companies."""
    from connect.doctor import examine
    from workers.cli_doctor import systems_of
    from workers.command import tools_of_config

    async with tools_of_config(config) as tools, systems_of(tools, config.connections[0].sid) as systems:
        return await examine(_checks(PRIME_CHECKS), systems)


def _checks(names: Iterable[str]) -> list[Any]:
    """Checks with all that they need, in the doctor's order."""
    from connect.doctor import CHECKS

    needs = {check.name: check.needs for check in CHECKS}
    wanted: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name not in wanted:
            wanted.add(name)
            open_ += needs[name]
    return [check for check in CHECKS if check.name in wanted]


# -- files -------------------------------------------------------------------------------------------------------------


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _refuse_existing(paths: Sequence[Path]) -> None:
    """Raises ConfigError when a file is there already."""
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise ConfigError(f"{', '.join(there)} exists already; nothing is written. --force writes over it", code="exists")


def _write(files: dict[Path, str], *, force: bool) -> list[Path]:
    """Write files, asking before one is written over. Returns those that were written. Raises ConfigError."""
    there = [path for path in files if path.exists()]
    kept: set[Path] = set()
    if there and not force:
        if not sys.stdin.isatty():
            _refuse_existing(there)
        kept = {path for path in there if not typer.confirm(f"{path} exists. Write over it?", default=False, err=True)}
    written = []
    for path, text in files.items():
        if path in kept:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}", code="write") from None
        written.append(path)
    return written


# -- the interview -----------------------------------------------------------------------------------------------------


class _Interview:
    """Asks a person, section by section; what can be tried is tried before the next section."""

    def __init__(self, config: Path, *, test: bool) -> None:
        from connect.setup.questions import Answers

        self._setup = _SetUp(Answers(), config)
        self._answers = self._setup.answers
        self._test = test

    def held(self) -> _SetUp:
        """All answers. Raises click's Abort when the person leaves."""
        screen.say("Questions with a number are the onboarding guide's. Enter takes what stands in brackets; Ctrl-C leaves, nothing is")
        screen.say("written before the end. Secrets are not written at all: say where they are kept (env:NAME, file:PATH).")
        if self._setup.path.exists():
            screen.say(f"{self._setup.path} exists; you will be asked before it is written over.")
        self._section("customer")
        self._companies()
        self._section("connection")
        self._section("sage", check=self._try_sage)
        self._section("registers")
        self._section("documents")
        self._show_levels()
        self._section("levels")
        self._dimensions()
        self._section("prime", check=self._try_prime)
        self._section("schedule")
        self._say_limits()
        self._keep_answers()  # before anything can go wrong with them
        self._setup.gather(test=self._test)
        self._show_schedule()
        return self._setup

    def _title(self, section: str) -> None:
        from connect.setup.questions import TITLES

        typer.secho(f"\n{TITLES[section]}", bold=True, err=True)

    def _section(self, section: str, check: Callable[[], bool] | None = None) -> None:
        from connect.setup.questions import QUESTIONS

        asked = [question for question in QUESTIONS if question.section == section]
        if not any(question.when(self._answers) for question in asked):
            return
        while True:
            self._title(section)
            for question in asked:
                if question.when(self._answers) and not question.fine:
                    self._ask(question)
            self._finer([question for question in asked if question.fine and question.when(self._answers)])
            if check is None or not self._test or _tried(check):
                return
            if not typer.confirm("Answer this section again?", default=True, err=True):
                return

    def _finer(self, questions: Sequence[Question]) -> None:
        """Settings that most customers leave as they are."""
        if not questions:
            return
        typer.secho(f"   Now: {', '.join(f'{one.alias} = {shown(self._answers[one.key])}' for one in questions)}.", dim=True, err=True)
        if typer.confirm("Change any of these finer settings?", default=False, err=True):
            for question in questions:
                if question.when(self._answers):
                    self._ask(question)

    def _ask(self, question: Question) -> None:
        """One question, until it is answered."""
        from connect.config.stages import ADDRESSES, KEYS, misplaced

        default = self._answers[question.key]
        number = f"{question.number}. " if question.number else ""
        hint = shown(default) if default not in (None, "") else question.blank if question.optional else ""
        options = f" ({', '.join(question.choices)})" if question.choices else " (yes/no)" if question.kind == "yes" else ""
        if question.why:
            typer.secho(f"   {question.why}", dim=True, err=True)
        if question.key == "registers.rate_type" and (types := self._rate_types()):
            typer.secho(f"   Sage has rates of {', '.join(types)}.", dim=True, err=True)
        while True:
            text = typed(f"{number}{question.ask}{options}{f' [{hint}]' if hint else ''} ")
            if not text and default not in (None, ""):
                value = default
            elif not text and question.optional:
                return
            elif not text:
                screen.say("  this must be answered")
                continue
            else:
                try:
                    value = question.judged(question.understood(text))
                    self._agrees(question, value)
                except ValueError as error:
                    screen.say(f"  {error}")
                    continue
            self._answers.values[question.key] = value
            if question.alias in (*ADDRESSES, *KEYS):
                for _, words in misplaced(str(self._answers["connection.name"]), {question.alias: value}):
                    screen.say(f"  look again: {'that ' if words.startswith('is ') else ''}{words}")
            if question.kind == "secret":
                self._secret(str(value))
            return

    def _rate_types(self) -> tuple[str, ...]:
        return self._setup.heard.rate_types if self._setup.heard is not None else ()

    def _agrees(self, question: Question, value: Any) -> None:
        """What other answers say to this one. Raises ValueError."""
        from connect.config.names import nearest

        known: Sequence[str] = ()
        if question.key == "registers.rate_type":
            known = self._rate_types()
        elif question.key == "sage.purchase_order_companies":
            known = [one.company for one in self._answers.companies]
        for one in value if isinstance(value, list) else [value]:
            if known and one not in known:
                raise ValueError(f"{one!r} is not one of {', '.join(known)}{nearest(str(one), known)}")

    def _secret(self, reference: str) -> None:
        """A secret that is not there can be typed, for this process alone."""
        kind, _, name = reference.partition(":")
        if kind == "env" and not os.environ.get(name) and self._test:
            typed = typer.prompt(
                f"  {name} is not set. Type the secret to try it now (it is not shown, and not kept), or Enter to go on without",
                default="",
                hide_input=True,
                show_default=False,
                err=True,
            )
            if typed:
                os.environ[name] = typed
                self._setup.typed = True
        elif not _is_there(reference, self._setup.path.parent):
            screen.say(f"  {reference} is not there yet; nothing can be tried until it is")

    def _companies(self) -> None:
        from connect.setup.answers import company_of

        self._title("companies")
        while True:
            row: dict[str, Any] = {}
            first = not self._answers.companies
            end = "" if first else " [no more]"
            row["company"] = typed(f"5. The code in Prime of {'the first' if first else 'the next'} company?{end} ")
            if not row["company"] and not first:
                return
            row["name"] = typed("6. Its full name? ")
            row["country"] = typed("6. Its country, in two letters? ")
            row["sage_entity"] = typed("   Its entity in Sage, if it is one? [top level] ")
            try:
                self._answers.companies.append(company_of(row, self._answers.companies))
            except ValueError as error:
                screen.say(f"  {error}; once more")

    def _show_levels(self) -> None:
        if any(one.sage_entity for one in self._answers.companies):
            for job, (rows, own) in self._setup.counts().items():
                screen.say(f"  {job}: {rows:,} rows in Sage, {own:,} of them of one entity alone")

    def _try_sage(self) -> bool:
        """Whether Sage lets us in; then its dimensions are known."""
        from connect.setup.tables import NOT_YET

        reference = str(self._answers["sage.client_secret"])
        if not _is_there(reference, self._setup.path.parent):
            screen.say(f"  not tried, since this secret is not set: {reference}")
            return True
        os.environ["CONNECT_STAND_IN"] = "…"
        values = {**self._answers.values, **NOT_YET, "prime.password": "env:CONNECT_STAND_IN", "documents.invoices": False}
        probe = replace(self._setup, answers=replace(self._answers, values={**values, "documents.rillion_pay": False}))
        screen.say("trying Sage … (a Redis that is new waits six seconds first)")
        results, self._setup.dimensions, self._setup.levels, heard = waited(asked_of_sage(probe.configured()))
        for key, why in self._setup.take(heard).items():
            screen.say(f"  {why}: {self._answers[key]} is proposed below")
        return _said(results, "Sage")

    def _try_prime(self) -> bool:
        if missing := self._setup.missing():
            screen.say(f"  not tried, since these secrets are not set: {', '.join(missing)}")
            return True
        screen.say("trying Prime …")
        return _said(waited(asked_of_prime(self._setup.configured())), "Prime")

    def _dimensions(self) -> None:
        from connect.setup.answers import chosen
        from connect.setup.dimensions import doubts, lost_without, propose
        from connect.setup.questions import BY_KEY

        self._title("dimensions")
        found = self._setup.dimensions
        proposed = propose(found)
        if found:
            _show_dimensions(found, proposed)
        question = BY_KEY["dimensions.chosen"]
        while True:
            text = typed(f"14. {question.ask} [{', '.join(proposed)}] ")
            try:
                picked = chosen(question.understood(text)) if text else proposed
            except ValueError as error:
                screen.say(f"  {error}")
                continue
            for one in found:
                if one.name not in picked and one.is_enabled:
                    screen.say(f"  without {one.name}: {lost_without(one)}")
            for doubt in doubts(found, picked):
                if "is left out:" not in doubt:  # said above
                    screen.say(f"  {doubt}")
            if typer.confirm("Take these?", default=True, err=True):
                self._answers.values["dimensions.chosen"] = picked
                break
        if len(self._answers.companies) > 1:
            for company in self._answers.companies:
                self._own_dimensions(company)

    def _own_dimensions(self, company: Company) -> None:
        from connect.setup.answers import chosen

        while True:
            text = typed(f"14. Other dimensions for company {company.company}? [the same] ")
            if not text:
                return
            try:
                company.dimensions = chosen([one.strip() for one in text.split(",") if one.strip()])
            except ValueError as error:
                screen.say(f"  {error}")
            else:
                return

    def _say_limits(self) -> None:
        for one in self._setup.limits():
            screen.say(f"\nquestion {one.about}: {one.words}")
            self._setup.told.add(one.words)

    def _show_schedule(self) -> None:
        assert self._setup.config is not None
        rows = [
            (job.job, job.company, f"every {job.every}", f"{job.offset_minutes // 60:02}:{job.offset_minutes % 60:02}")
            for job in self._setup.config.connections[0].jobs
        ]
        screen.say("\nProposed schedule (`connect schedule` shows the whole day):")
        table(("job", "company", "how often", "first at"), rows)

    def _keep_answers(self) -> None:
        """The answers as a file, so that it need not all be typed again."""
        from connect.setup.answers import form

        path = self._setup.path.parent / f"{_file_name(str(self._answers['connection.name']))}-answers.toml"
        if typer.confirm(f"Keep the answers in {path}?", default=True, err=True):
            _write({path: form(self._answers)}, force=False)


def typed(prompt: str) -> str:
    """A line from the terminal. Ctrl-D leaves, as Ctrl-C does."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise typer.Abort
    return line.strip()


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tried(check: Callable[[], bool]) -> bool:
    """Whether what was tried is right; also an error that stops it is said, since answers must not be lost by it."""
    from redis.exceptions import RedisError

    try:
        return check()
    except ConnectError as error:
        screen.say(f"  it cannot be tried: {error.message}")
    except RedisError as error:
        screen.say(f"  it cannot be tried, since Redis does not serve us: {error}")
    return False


def _said(results: Sequence[Result], system: str) -> bool:
    """Say what is wrong; whether nothing is."""
    failed = [result for result in results if result.verdict == "failed"]
    for result in results:
        for found in result.findings:
            screen.say(f"  {result.check.name}: {found.cause} {found.do} (to be done by: {found.owner})")
    if not failed:
        screen.say(f"  {system} lets us in")
    return not failed


def _show_dimensions(found: Sequence[Dimension], proposed: dict[str, int]) -> None:
    columns = ("dimension", "on", "values", "of entities", "required", "bill lines", "proposed")
    rows = [
        (
            one.name if one.label.replace(" ", "").casefold() == one.name.casefold() else f"{one.name} ({one.label})",
            "yes" if one.is_enabled else "no",
            *("?" if count is None else count for count in (one.values, one.of_entities, one.required_by, one.lines)),
            proposed.get(one.name, ""),
        )
        for one in found
    ]
    table(columns, rows, right=columns[2:])
    screen.say("on: enabled in Sage. of entities: values that belong to one entity alone. required: accounts that no line may be booked on")
    screen.say("without it. bill lines: those that have it. proposed: as which object type of Prime.")
