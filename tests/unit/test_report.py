"""The report as a function of what is known: what it says, what it does not say, and that nothing of a record becomes markup."""

from __future__ import annotations

import re
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from scipy.stats import t

from analysed import run_view, spec_of, table_of
from sweep.analysis.figures.prepare import prepare
from sweep.analysis.grading import Graded
from sweep.analysis.honest import honest
from sweep.analysis.importance import importance
from sweep.analysis.report import Facts, OtherSweep, checklist, report
from sweep.analysis.report.compute import cpu_hours, energy_text
from sweep.analysis.report.document import slug
from sweep.analysis.report.environment import gaps
from sweep.analysis.report.facts import Used, spent_by
from sweep.analysis.report.markdown import to_markdown
from sweep.analysis.report.page import to_html
from sweep.analysis.report.settings import all_settings, given_keys
from sweep.analysis.table import SweepTable
from sweep.analysis.usage import Spent
from sweep.core.entries import Usage
from sweep.core.samples import Samples
from sweep.core.spec import Confirm, EarlyTerminate
from sweep.core.views import AgentView, AttemptView, DataView, ReproductionView, RunView
from sweep.spec import keys_of_spec

NASTY = '\x1b[31m\u202e<script>alert(1)</script> | [x](http://e) `b` *c* _d_ & "q" # \x07'
CONFIG = {"lr": 0.01, "batch": 16, "optimizer": {"name": "adam"}, "dropout": 0.1, "layers": 2, "epochs": 8}


def facts_of(runs: list[RunView], **more: Any) -> Facts:
    spec = {
        key: more.pop(key)
        for key in list(more)
        if key
        in (
            "about",
            "replicates",
            "early_terminate",
            "description",
            "confirm",
            "report_metric",
            "inputs",
            "determinism",
        )
    }
    table = table_of(runs, **spec)
    ranking = importance(table)
    fields = {"source": "", "record": {}, "agents": (), "packages": {}, "others": (), **more}
    return Facts(
        table=table, result=honest(table), importance=ranking, pictures=prepare(table, ranking), **fields
    )


def evidence(facts: Facts) -> dict[int, str]:
    return {item.number: item.evidence for item in checklist(facts)}


def words(item: Any) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in item.answer)


def test_without_a_record_nothing_is_answered() -> None:
    items = checklist(facts_of([]))
    assert len(items) == 16
    assert {item.evidence for item in items if item.number not in (11, 13)} == {"none"}
    assert [item.evidence for item in items if item.number in (11, 13)] == [
        "partial",
        "partial",
    ]  # the spec is a record, too
    assert not [item for item in items if item.evidence == "none" and item.sources]


def test_what_the_author_states_is_quoted_as_theirs_and_counts_for_its_item_only() -> None:
    before = evidence(facts_of([run_view(1, CONFIG)]))
    facts = facts_of([run_view(1, CONFIG)], about={"data_splits": "60/20/20, stratified"})
    item = checklist(facts)[1]
    assert words(item) == "60/20/20, stratified (stated by the author, about.data_splits)."
    assert (item.evidence, item.asked) == ("complete", "")
    assert evidence(facts) == {**before, 2: "complete"}


def test_variation_is_none_with_one_seed_and_never_more_than_partial_on_the_seeds_that_chose() -> None:
    assert evidence(facts_of([run_view(1, CONFIG)]))[14] == "none"
    runs = [
        msgspec.structs.replace(run_view(n, CONFIG, objective=0.5 + n / 10), trial=0, replicate=n)
        for n in range(3)
    ]
    item = checklist(facts_of(runs, replicates=3))[13]
    assert item.evidence == "partial"
    assert "mean 0.60 ± 0.25" in words(item)
    assert "n = 3" in words(item)


def confirmed_runs(*fresh: float, state: Any = "completed") -> list[RunView]:
    """A trial with one search run, and runs of it on fresh seeds with these values, of which the first half chooses."""
    first = run_view(0, CONFIG, objective=0.1, trial=0, summary={"test": 0.2})
    again = [
        run_view(
            n,
            CONFIG,
            state,
            value,
            trial=0,
            replicate=n,
            purpose="confirm",
            seed=900 + n,
            summary={"test": 0.3 + n / 10},
        )
        for n, value in enumerate(fresh, 1)
    ]
    return [first, *again, run_view(len(fresh) + 1, {**CONFIG, "lr": 0.02}, objective=0.9, trial=1)]


def test_a_confirmed_result_stands_with_its_interval_and_what_it_is_of() -> None:
    spec = {"confirm": Confirm(top=1, seeds=4), "report_metric": "test"}
    facts = facts_of(confirmed_runs(0.5, 0.5, 0.30, 0.34), **spec)
    item = checklist(facts)[13]
    half = float(t.ppf(0.975, 1)) * 0.02
    assert item.evidence == "complete"
    for said in (
        f"0.32 ± {half:.2f} (n = 2 seeds)",
        "Student's t",
        "had no part in the choice",
        "overstates that config by 0.22",
    ):
        assert said in words(item), words(item)
    text = to_markdown(report(facts))
    assert f"**0.32 ± {half:.2f}** trial 0, 95 %, n = 2 fresh seeds" in text
    seeds = [line for line in text.splitlines() if "fresh, reports" in line]
    assert [[cell.strip() for cell in line.split("|")[3:7]] for line in seeds] == [
        ["903", "fresh, reports", "0.3", "0.6"],
        ["904", "fresh, reports", "0.34", "0.7"],
    ]
    assert "Trial 0 alone ran again on fresh seeds" in text.split("## Method")[1].split("##")[0]
    assert "The result on fresh seeds: on the page" in text
    assert "the lowest mean on fresh seeds that choose" in words(checklist(facts)[10])


def test_pictures_of_fresh_seeds_and_of_usage_are_there_where_they_have_something_to_show() -> None:
    runs = confirmed_runs(0.5, 0.5, 0.30, 0.34)
    facts = facts_of(runs, confirm=Confirm(top=1, seeds=4))
    samples = Samples(1_700_000_000.0)
    samples.add(1.0, {"cpu.percent": 50.0})
    spec, view = facts.table.spec, facts.table.sweep
    sampled = SweepTable(spec, view, runs, None, {runs[0].run: {1: samples}})
    shown = prepare(sampled, facts.importance)
    drawn = {"confirmed.png": b"seeds", "usage.png": b"used"}
    page = to_html(report(msgspec.structs.replace(facts, table=sampled, pictures=shown, pngs=drawn)))
    for data in drawn.values():
        assert b64encode(data).decode() in page
    bare = to_html(report(msgspec.structs.replace(facts_of(runs[:1]), pngs=drawn)))
    assert "The result on fresh seeds" not in bare
    assert "What runs used" not in bare
    assert "4 runs of these on fresh seeds, to confirm" in words(checklist(facts)[11])


def test_variation_is_partial_while_the_confirmation_is_not_whole() -> None:
    runs = confirmed_runs(0.5, 0.5, 0.30, 0.34)
    runs[4] = msgspec.structs.replace(runs[4], state="running", objective=None)
    spec = {"confirm": Confirm(top=1, seeds=4)}
    assert evidence(facts_of(runs, **spec))[14] == "partial", "of one value there is no interval"
    more = [*runs, run_view(9, CONFIG, objective=0.4, trial=0, replicate=5, purpose="confirm", seed=905)]
    item = checklist(facts_of(more, confirm=Confirm(top=1, seeds=5)))[13]
    assert (item.evidence, "1 confirmation run is still to end" in words(item)) == ("partial", True)


def test_what_is_not_confirmed_is_called_so() -> None:
    text = to_markdown(report(facts_of([run_view(1, CONFIG), run_view(2, CONFIG, objective=0.7)])))
    assert "**0.5** trial 0, n = 1, not confirmed" in text
    assert "so that score is too good; `sweep confirm swp1` runs the best again" in text
    assert "fresh seeds |" not in text


def test_compute_counts_every_attempt_and_calls_what_is_unknown_so() -> None:
    def attempt(number: int, outcome: Any, cpu_s: float | None) -> AttemptView:
        return AttemptView(
            attempt=number,
            agent="a",
            started_s=0.0,
            ended_s=3600.0,
            outcome=outcome,
            cpu_s=cpu_s,
            gpu_share=0.5,
        )

    run = run_view(
        1,
        CONFIG,
        attempts=[attempt(1, "lost", None), attempt(2, "failed", 1800.0), attempt(3, "completed", 3600.0)],
    )
    found = spent_by(run.attempts)
    assert (found.attempts, found.wall_s, found.gpu_s) == (3, 3 * 3600.0, 3 * 1800.0)
    assert cpu_hours(found) == "1.5 (without 1 attempt, not measured)"
    assert cpu_hours(spent_by(run.attempts[:1])) == energy_text(found) == "not measured"
    others = (OtherSweep("oth1", "before", "ended", 7, 9, Spent(attempts=9, wall_s=7200.0)),)
    text = to_markdown(report(facts_of([run], others=others)))
    row = next(line for line in text.splitlines() if "all 2 sweeps of this store" in line)
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["8", "12", "5"]
    assert all(f"ended as {outcome}" in text for outcome in ("lost", "failed", "completed"))


def test_energy_is_told_with_what_it_is_of_and_what_lacks_it() -> None:
    used = Usage(gpu_energy_j=7.2e6, energy_j=3.6e6, gpu_shared=True)
    run = run_view(1, CONFIG)
    measured = msgspec.structs.replace(run.attempts[0], cpu_s=5.0, energy_j=3.6e6, usage=used)
    lost = msgspec.structs.replace(run.attempts[0], attempt=2, outcome="lost")
    facts = facts_of([msgspec.structs.replace(run, attempts=[measured, lost])])
    said = words(checklist(facts)[14])
    assert (
        "Energy: 1 kWh (without 1 attempt, not measured). It is what counters of devices told, GPUs in 1 attempt,"
        in said
    )
    assert "divided evenly" in said
    assert gaps(facts) == [
        "nothing was recorded when the sweep was created: no code, no packages, no hardware",
        "CPU time was not measured in 1 of 2 attempts that ended",
        "energy was not measured in 1 of 2 attempts that ended",
        "what memory, disks and GPUs saw was not measured in 1 of 2 attempts that ended",
        "the energy of processors was not measured in 1 of 2 attempts that ended",
    ]
    assert "energy" not in to_markdown(report(facts)).split("No record of a sweep has")[1].split("\n")[0]
    bare = words(checklist(facts_of([run]))[14])
    assert "CPU-hours: not measured. Energy: not measured." in bare
    assert "counters" not in bare


def piece(path: str, digest: str, changed: bool | None = False, problem: str = "") -> DataView:
    return DataView(attempt=1, path=path, digest=digest, size=2000, files=1, changed=changed, problem=problem)


def test_data_stands_with_its_digest_and_what_became_of_it() -> None:
    runs = [
        run_view(1, CONFIG, data=(piece("train.csv", "a" * 64), piece("gone.csv", "", None, "no such file"))),
        run_view(2, CONFIG, data=(piece("train.csv", "a" * 64, changed=True),)),
        run_view(3, CONFIG, data=(piece("train.csv", "b" * 64, changed=None),)),
        run_view(4, CONFIG),
    ]
    facts = facts_of(runs, inputs=("train.csv",))
    item = checklist(facts)[3]
    assert (item.evidence, item.sources, item.asked.split(":")[0]) == (
        "partial",
        ("Data",),
        "about.data_link",
    )
    assert f"train.csv ({'a' * 12}), train.csv ({'b' * 12}). Data changed while 1 run read it." in words(item)
    assert "gone.csv" not in words(item), "nothing of it is recorded"
    told = to_markdown(report(facts)).split("## Data")[1].split("## ")[0]
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in told.splitlines()
        if line.startswith("| `")
    ]
    assert cells == [
        ["`gone.csv`", "could not be read: no such file", "–", "–", "1", "–"],
        ["`train.csv`", f"`{'a' * 64}`", "1", "2 kB", "2", "the same in 1 run, another one in 1 run"],
        ["`train.csv`", f"`{'b' * 64}`", "1", "2 kB", "1", "not looked at"],
    ]
    assert "there are several under `train.csv`" in told
    assert (
        "Tainted: data changed while these runs read it, and nobody can say which content they read: `swp1-2`"
        in told
    )
    assert "1 run that began told of no data." in told
    stated = checklist(facts_of(runs, about={"data_link": "https://example.org"}))[3]
    assert (stated.evidence, stated.sources) == ("complete", ("Question and notes", "Data"))
    assert evidence(facts_of([run_view(1, CONFIG)]))[4] == "none"


def test_data_of_an_earlier_attempt_is_not_what_a_run_read() -> None:
    run = run_view(1, CONFIG, data=(piece("train.csv", "a" * 64, changed=True),))
    again = msgspec.structs.replace(run.attempts[0], attempt=2)
    assert evidence(facts_of([msgspec.structs.replace(run, attempts=[run.attempts[0], again])]))[4] == "none"


def test_what_the_records_of_runs_lack_is_counted() -> None:
    lacks = "what was in the linked data: name what runs read in `inputs`"
    graded = {
        1: Graded("partly", (lacks, "chance: `determinism: off`")),
        2: Graded("partly", (lacks,)),
        3: Graded("reproducible"),
    }
    runs = [run_view(n, CONFIG) for n in (1, 2, 3)]
    told = to_markdown(report(facts_of(runs, grades=graded, determinism="off"))).split(
        "## What was not captured"
    )[1]
    assert "of 1 run it has all that executing it again takes; of 2 runs it has a part of it" in told
    assert f"- {lacks} (2 of 3 runs)" in told
    assert "- chance: `determinism: off` (1 of 3 runs)" in told
    assert "chance was left alone" not in told, "once is enough"


def test_chance_is_told_as_the_processes_read_it_back() -> None:
    def run(number: int, state: dict[str, Any]) -> RunView:
        found = run_view(number, CONFIG)
        found.attempts[0].state = state
        return found

    numpy = {"version": "2.1", "seeded": True}
    runs = [
        run(1, {"hash_seed": "1", "numpy": numpy}),
        run(2, {"hash_seed": "2", "numpy": {**numpy, "seeded": False}}),
        run(3, {}),
    ]
    told = to_markdown(report(facts_of(runs))).split("## Environment")[1].split("## ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:4]]
        for line in told.splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        ["`hash_seed`", "fixed", "2"],
        ["`numpy`", "version 2.1, seeded false", "1"],
        ["`numpy`", "version 2.1, seeded true", "1"],
    ]
    assert "1 run told nothing." in told
    assert "no run's process told how it was seeded" in to_markdown(report(facts_of([run(1, {})])))


def test_every_key_of_the_spec_has_a_line_with_what_was_used() -> None:
    found = {item.key: item for item in all_settings(spec_of(), {"method", "seed"})}
    expected = [
        key for key in keys_of_spec() if key.split(".")[0] not in ("parameters", "constraints", "about")
    ]
    assert list(found) == expected
    assert all(item.used for item in found.values())
    assert (found["method"].used, found["method"].given) == ("random", True)
    assert (found["limits.kill_after"].used, found["limits.kill_after"].given) == ("30 s", False)


def test_a_rule_that_ends_runs_early_shows_its_own_numbers() -> None:
    spec = spec_of(early_terminate=EarlyTerminate(type="asha"))
    found = {item.key: item.used for item in all_settings(spec, None)}
    assert found["early_terminate.min_iter"] == "5 (the rule's own)"
    assert found["early_terminate.min_runs"] == "8 (the rule's own)"
    assert found["early_terminate.patience"] == "no key of asha"


@pytest.mark.parametrize("source", ["", "a: [", "- 1", "a: &a {b: *a}"])
def test_a_file_that_cannot_be_read_gives_no_keys(source: str) -> None:
    assert given_keys(source) in (None, {"a", "a.b"})


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        self.sources += [str(found[name]) for name in ("src", "srcset", "data") if name in found]


def nasty_facts() -> Facts:
    run = run_view(1, {**CONFIG, "lr": NASTY}, note=NASTY, tags=(NASTY,), reason=NASTY)
    run.attempts[0].command = ("python", NASTY)
    again = ReproductionView(at_s=1.0, verdict="different", compared=2, identical=1, metric=NASTY, step=1.0)
    return facts_of(
        [msgspec.structs.replace(run, reproduced=(again,))],
        about={"question": NASTY, "measure": NASTY},
        description=NASTY,
        record={"warnings": [NASTY]},
        artifacts=(Used(1, NASTY, NASTY, NASTY, True),),
        source=f"# {NASTY}",
    )


def test_nothing_of_a_record_becomes_markup_on_the_page_and_it_loads_nothing() -> None:
    text = to_html(report(nasty_facts()))
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "x](http" in text
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not [source for source in page.sources if not source.startswith("data:image/png;base64,")]
    assert "default-src 'none'" in text
    assert not {"\x07", "\x1b", "\u202e"} & set(text)
    assert not re.findall(r"url\(|@import|https?://", re.sub(r"\[x\]\(http://e\)", "", text))


def test_nothing_of_a_record_becomes_markup_in_markdown_outside_of_code() -> None:
    text = to_markdown(report(nasty_facts()))
    bare = re.sub(r"(`+).*?\1", "", re.sub(r"(?ms)^(```+).*?^\1$", "", text))
    assert not {"\x07", "\x1b", "\u202e"} & set(text)
    assert "<script>" not in bare.replace("\\<script\\>", "")
    assert "](http" not in bare.replace("\\]", "")
    anchors = {slug(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
    links = set(re.findall(r"(?<!\\)\]\(#([^)]*)\)", text))
    assert links
    assert links <= anchors
    widths = [
        (len(re.findall(r"(?<!\\)\|", one)), len(re.findall(r"(?<!\\)\|", other)))
        for one, other in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if one.startswith("|") and other.startswith("|")
    ]
    assert widths
    assert all(one == other for one, other in widths)


def test_hyperparameters_are_complete_only_when_every_run_that_counts_reported_its_defaults() -> None:
    runs = [
        msgspec.structs.replace(run_view(n, CONFIG, objective=n / 10), defaults={"seed": 1}) for n in range(3)
    ]
    facts = facts_of(runs)
    assert evidence(facts)[11] == "complete"
    assert "beside it the defaults that the program reported" in words(checklist(facts)[10])
    silent = run_view(3, CONFIG, objective=0.9)
    facts = facts_of([*runs, silent])
    assert evidence(facts)[11] == "partial"
    assert "only 3 of the 4 runs behind the results reported defaults" in words(checklist(facts)[10])
    failed = run_view(4, CONFIG, "failed", None)
    assert evidence(facts_of([*runs, failed]))[11] == "complete", "no result rests on it"


def worked_on(run: int, agent: str, **more: Any) -> RunView:
    attempt = AttemptView(attempt=1, agent=agent, host=f"host-{agent}", started_s=1.0, ended_s=2.0, **more)
    return msgspec.structs.replace(run_view(run, CONFIG, objective=0.1), attempts=[attempt])


def test_every_environment_is_named_among_the_dependencies() -> None:
    def agent(name: str, python: str) -> AgentView:
        record = {"python": {"version": python, "implementation": "CPython"}, "packages": python}
        return AgentView(agent=name, host=f"host-{name}", pid=1, slots=1, record=record)

    one, two = [{"name": "numpy", "version": "1"}], [{"name": "numpy", "version": "2"}, {"name": "torch"}]
    agents = (agent("a", "3.11.7"), agent("b", "3.12.1"), agent("idle", "3.13.0"))
    facts = facts_of(
        [worked_on(0, "a"), worked_on(1, "b")], agents=agents, packages={"a": one, "b": two, "idle": one}
    )
    item = checklist(facts)[5]
    assert item.evidence == "complete"
    assert (
        "2 different environments: CPython 3.11.7 with 1 package on host-a; CPython 3.12.1 with 2 packages on host-b"
        in words(item)
    )
    assert (
        evidence(facts_of([worked_on(0, "a"), worked_on(1, "b")], agents=agents, packages={"a": one}))[6]
        == "partial"
    )


def test_code_that_was_edited_is_part_of_the_answer() -> None:
    tree = {"tree": "1" * 64, "files": 2, "bytes": 9, "complete": True, "left_out_count": 0}
    place = {"workdir": "/w", "code": "as it is", "differs": ["train.py"]}
    recorded = {"code": {**tree, "tree": "2" * 64}, "place": place, "files": ["train.py"]}
    record, packages = {"code": tree}, {"a": [{"name": "numpy"}]}
    runs = [worked_on(0, "a"), worked_on(1, "a", code=1)]

    def item(*codes: dict[str, Any], **first: Any) -> Any:
        agent = AgentView(agent="a", host="host-a", pid=1, slots=1, codes=codes)
        first_run = worked_on(0, "a", **first)
        facts = facts_of([first_run, runs[1]], agents=(agent,), packages=packages, record=record)
        return checklist(facts)[6]

    assert item(recorded).evidence == "complete"
    assert "1 attempt executed other code, which is recorded with them (tree 222222222222)" in words(
        item(recorded)
    )
    lost = item({**recorded, "code": {}})
    assert lost.evidence == "partial" and "which is not in the record" in words(lost)
    edited = item(recorded, code_changed=("train.py",))
    assert edited.evidence == "partial" and "changed while 1 attempt ran" in words(edited)


def test_what_a_command_has_set_later_is_no_default_and_not_from_the_file() -> None:
    source = "method: random\nrun_cap: 10\nconfirm: {top: 2}\n"
    spec = msgspec.structs.replace(spec_of(), run_cap=30, confirm=Confirm(top=3, seeds=4))
    content = {"run_cap": 10, "confirm": {"top": 2}}
    found = {item.key: item for item in all_settings(spec, given_keys(source), content)}
    assert {key for key, item in found.items() if item.later} == {"run_cap", "confirm.top"}
    same = msgspec.structs.replace(spec, run_cap=10, confirm=Confirm(top=2))
    assert not [item for item in all_settings(same, given_keys(source), content) if item.later]
    text = to_markdown(
        report(facts_of([run_view(1, CONFIG)], confirm=Confirm(top=3, seeds=4), source="method: random"))
    )
    rows = {
        line.split("|")[1].strip(): line.split("|")[3].strip()
        for line in text.splitlines()
        if line.count("|") == 4
    }
    assert rows["`confirm.top`"] == "set later"


def test_seeds_that_all_agree_show_no_variation() -> None:
    spec = {"confirm": Confirm(top=1, seeds=4)}
    assert evidence(facts_of(confirmed_runs(0.5, 0.5, 0.3, 0.3), **spec))[14] == "partial"
    assert evidence(facts_of(confirmed_runs(0.5, 0.5, 0.3, 0.31), **spec))[14] == "complete"
