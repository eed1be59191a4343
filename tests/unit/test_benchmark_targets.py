"""What the benchmarks make of what they have measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import throughput
from tests.benchmarks.against import Places, compare, compared_rows
from tests.benchmarks.harness import BenchmarkError, NotInstalledError
from tests.benchmarks.measuring import WarmUp
from tests.benchmarks.pending import EVENTS, Pending
from tests.benchmarks.targets import (
    AIMS,
    PAIRS,
    TIMES,
    Figure,
    fastest,
    judged,
    of_pending,
    of_start,
    of_throughput,
    over_tls,
    ratio_rows,
)
from tests.benchmarks.throughput import LABELS, ORDER, OWN


def figure(rate: float, cpu: float = 100.0) -> Figure:
    return Figure((rate,), (cpu,))


#: What one SDK does and what txpusher does, all targets met.
GOOD = {
    **{name: figure(100.0) for subject in LABELS for name in (subject, f"{subject}/tls")},
    "trigger": figure(1_000.0, 50.0),
    "trigger/tls": figure(1_000.0),
    "publisher": figure(40_000.0, 20.0),
    "publish": figure(50_000.0, 15.0),
    "blocking-1": figure(200.0),
    "blocking-8": figure(200.0),
}


class TestFigures:
    def test_a_ratio_is_the_median_of_the_ratios_within_a_round(self):
        ours, theirs = Figure((10, 200, 30), (1, 1, 4)), Figure((10, 100, 10), (2, 2, 2))
        assert ours.rate_over(theirs) == 2
        assert ours.cpu_over(theirs) == 0.5

    def test_the_fastest_is_known_only_where_all_were_measured(self):
        figures = {"a": figure(1), "b": figure(2)}
        assert fastest(figures, "ab") is figures["b"]
        with pytest.raises(KeyError):
            fastest(figures, "abc")

    def test_a_pair_is_compared_with_the_fastest_of_theirs(self):
        figures = {**GOOD, "aiohttp": figure(500.0, 25.0)}
        rows = {name: (rate, cpu) for name, rate, cpu in ratio_rows(figures)}
        name = "``trigger``, to the Python SDK's ``trigger`` on its fastest backend"
        assert rows[name] == (f"2.0 {TIMES}", f"2.00 {TIMES}")

    def test_a_pair_that_was_not_measured_has_no_row(self):
        assert len(list(ratio_rows(GOOD))) == len(PAIRS)
        without = {name: of for name, of in GOOD.items() if name != "node"}
        assert len(list(ratio_rows(without))) == len(PAIRS) - 2


class TestTargets:
    @pytest.mark.parametrize(
        ("sign", "value", "met"),
        [("<=", 2.0, True), ("<=", 2.1, False), (">=", 2.0, True), (">=", 1.9, False)],
    )
    def test_a_limit_is_kept_or_not(self, sign, value, met):
        target = judged("what", sign, 2, value)
        assert target.met is met
        assert target.row() == ("what", f"{sign} 2", f"{value:.2f}", "yes" if met else "NO")

    def test_target_that_was_not_measured_is_not_met(self):
        target = judged("what", "<=", 3000)
        assert target.row() == ("what", "<= 3,000", "-", "not measured")
        assert not target.met

    def test_target_that_is_out_of_reach_is_listed_as_missed_and_fails_no_run(self):
        aim = next(aim for aim in AIMS if aim.what == "trigger / Node.js SDK's trigger")
        missed = aim.judge({**GOOD, "trigger": figure(90.0)})
        assert missed.row()[-1].startswith("no: ")
        assert not missed.met
        assert not missed.is_failure
        unknown = aim.judge({})
        assert unknown.row()[-1] == "not measured"
        assert unknown.is_failure

    def test_good_figures_meet_every_target(self):
        reached = list(of_throughput(GOOD, GOOD))
        assert len(reached) == len(AIMS)
        assert [target.what for target in reached if not target.met] == []

    @pytest.mark.parametrize("aim", AIMS, ids=lambda aim: aim.what)
    def test_figures_a_little_worse_than_those_of_the_peers_meet_no_target(self, aim):
        ours = {*OWN, *over_tls(OWN)}
        figures = {
            name: figure(85.0, 120.0) if name in ours else figure(100.0) for name in GOOD
        }
        assert not aim.judge(figures).met

    @pytest.mark.parametrize("name", ["aiohttp", "requests-32", "trigger/tls"])
    def test_target_of_a_subject_that_did_not_work_is_listed_as_not_measured(self, name):
        figures = {subject: of for subject, of in GOOD.items() if subject != name}
        unknown = [target for target in of_throughput(figures, GOOD) if not target.met]
        assert unknown
        assert {target.row()[-1] for target in unknown} == {"not measured"}

    def test_target_of_a_subject_that_was_not_asked_for_is_not_listed(self):
        wanted = ["trigger", "trigger/tls", "aiohttp", "aiohttp/tls"]
        [target] = of_throughput(GOOD, wanted)
        assert target.what == "trigger / Python SDK on aiohttp, TLS"

    def test_targets_and_pairs_name_subjects_that_exist(self):
        subjects = {*LABELS, *over_tls(LABELS)}
        assert {name for aim in AIMS for name in aim.needs} <= subjects
        assert {name for pair in PAIRS for name in (pair.ours, *pair.theirs)} <= subjects
        assert sorted(ORDER) == sorted(LABELS)

    def test_targets_of_pending_events_judge_memory_sockets_and_acceptance(self):
        good = Pending(EVENTS, 2500.0, 16, 16, EVENTS, 10.0)
        assert all(target.met for target in of_pending("Pusher", good))
        bad = Pending(EVENTS, 3001.0, 17, 16, EVENTS - 1, 10.0)
        assert not any(target.met for target in of_pending("Pusher", bad))
        [unknown] = of_pending("Pusher", None)
        assert unknown.row()[-1] == "not measured"

    def test_target_of_the_import_judges_the_ratio(self):
        assert of_start(1.15).met
        assert not of_start(1.16).met
        assert of_start(None).row()[-1] == "not measured"


class TestWarmUp:
    def test_warm_up_goes_on_until_an_event_costs_no_less(self):
        costs = [407.0, 350.0, 136.0, 74.0, 71.0, 68.0, 67.0]
        over = [WarmUp().is_over(costs[:number]) for number in range(1, len(costs) + 1)]
        assert over == [False] * 5 + [True] * 2

    def test_warm_up_ends_after_its_most_slices(self):
        costs = [100.0, 200.0] * 10
        assert not WarmUp().is_over(costs[:-1])
        assert WarmUp().is_over(costs)
        assert not WarmUp().is_level(costs)


class TestAgainst:
    where = Places(Path("here"), Path("there"))

    def test_checkouts_take_turns_and_rows_have_the_ratios_of_the_rounds(self):
        asked = []
        costs = iter([10.0, 20.0, 20.0, 20.0])

        def measure(row: str, place: Path) -> tuple[float, float]:
            asked.append(place.name)
            return 100.0, next(costs)

        compared = compare(["trigger"], 2, self.where, measure)
        assert asked == ["here", "there", "there", "here"]
        [row] = compared_rows({"trigger": "Pusher"}, compared)
        ratios = (f"0.75 {TIMES}", f"0.50 {TIMES}", f"1.00 {TIMES}")
        assert row == ("Pusher", "20.0", "15.0", *ratios, f"1.00 {TIMES}")

    def test_row_that_one_checkout_does_not_have_is_left_out(self):
        def measure(row: str, place: Path) -> tuple[float, float]:
            if (row, place.name) == ("publish", "there"):
                raise BenchmarkError("no such method")
            return 1.0, 1.0

        assert list(compare(["trigger", "publish"], 2, self.where, measure)) == ["trigger"]


class TestExitCode:
    """Of a run without nginx, which only the import can do without."""

    @pytest.fixture(autouse=True)
    def no_nginx(self, monkeypatch):
        def missing() -> None:
            raise NotInstalledError("no nginx")

        monkeypatch.setattr(throughput, "nginx_sink", missing)
        monkeypatch.setattr(throughput, "stop_on_signals", lambda: None)
        monkeypatch.setattr(throughput, "tools", lambda package: "")

    @pytest.mark.parametrize(("ours", "code"), [(1.1, 0), (1.2, 1)])
    def test_exit_code_says_whether_a_target_is_met(self, monkeypatch, ours, code):
        monkeypatch.setattr(throughput, "import_ratio", lambda: (ours, 1.0))
        assert throughput.main(["--only", "import"]) == code

    @pytest.mark.parametrize("arguments", [[], ["--only", "trigger"], ["--only", "pending"]])
    def test_subject_that_could_not_be_measured_fails_the_run(
        self, monkeypatch, capsys, arguments
    ):
        monkeypatch.setattr(throughput, "import_ratio", lambda: (1.0, 1.0))
        assert throughput.main(arguments) == 1
        printed = capsys.readouterr()
        assert "left out: what needs the sink: no nginx" in printed.err
        assert ("not measured" in printed.out) == (arguments != ["--only", "trigger"])
