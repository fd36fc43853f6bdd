from __future__ import annotations

import math
from typing import Sequence

import pytest

from agent.sweep.pace import Pace

# The limits, by their numbers.
MIN_ROUND = 100
CAREFUL = 1.1
FLOOR_RATE = 50.0
MIN_CANARIES = 50
SILENT_RATE = 4000.0
SLOWER = 0.85
START_RATE = 1000.0
TOP_RATE = 20000.0
CATCH_UP = 0.02

ROUND, WAIT, PATIENCE = 0.1, 0.05, 0.25  # seconds


PORT, CANARY, SILENT = "a port that stands for all", "a canary", "any other"


class Client:
    """Sends whole rounds and lets time pass until each is judged."""

    def __init__(self, max_rate: float | None = None) -> None:
        self.pace, self.now, self.shut = Pace(0.0, ROUND, WAIT, PATIENCE, max_rate), 0.0, False

    def send(self, share: float, kind: str = PORT) -> None:
        """The rest of a round, at its pace, of which so many are answered."""
        pace, sent = self.pace, 0
        while not pace.round_is_full:
            self.now = max(self.now, pace.next_send_time()) + 1e-9
            self.probe(kind)
            sent += 1
        self.answer(round(share * sent), kind)

    def probe(self, kind: str, probes: int = 1) -> None:
        """So many probes more, at once."""
        for _ in range(probes):
            self.pace.on_sent(self.now, kind == CANARY, kind == PORT)

    def answer(self, answers: int, kind: str = PORT) -> None:
        """So many of the round's probes are answered."""
        for _ in range(answers):
            self.pace.on_answer(self.pace.round_number, kind == CANARY, kind == PORT)

    def judge(self) -> None:
        """As soon as the answers had their time, and more where a round looks fallen."""
        self.now = self.pace.doubts_until(self.now + WAIT) + 1e-9
        self.shut = self.pace.judge(self.now)
        self.pace.next_round(self.now)

    def play(self, *shares: float, kind: str = PORT) -> list[int]:
        """The rates after rounds of which so many were answered."""
        rates = []
        for share in shares:
            self.send(share, kind)
            self.judge()
            rates.append(round(self.pace.rate))
        return rates


def climbed(*shares: float, max_rate: float | None = None) -> Client:
    client = Client(max_rate)
    client.play(*shares)
    return client


FAST = [4000, 16000, 20000]
UPHILL = (1.0, 1.0)  # to 16,000 a second


@pytest.mark.parametrize(
    ("fault", "shares", "expected"),
    [
        ("none", [1, 1, 1, 1], [*FAST, 20000]),
        ("half of the ports are blocked", [0.5, 0.5, 0.5], FAST),
        ("all but a few ports are blocked", [0.02, 0.02, 0.02], FAST),
        ("chance, within what chance does", [0.5, 0.46, 0.5], FAST),
        ("everything is blocked", [0, 0, 0], [4000] * 3),
    ],
)
def test_it_climbs_while_as_many_answer_as_before(fault: str, shares: list[float], expected: list[int]) -> None:
    assert Client().play(*shares) == expected


# At 4,000 a second a quarter passes, and two more for chance; of those that are expected, and 15 % less.
SHARE = 101 / 102
SLOW = 0.85 * 4000 * 102 / 400 / SHARE


@pytest.mark.parametrize(
    ("fault", "shares", "expected", "falls"),
    [
        ("a burst of loss: as fast as before", [1, 0.25, 1, 1], [4000, SLOW, 4000, 16000], 0),
        ("a limit: it shows as fast again", [1, 0.25, 1, 0.25, 1, 1], [4000, SLOW, 4000, SLOW, SLOW * CAREFUL], 1),
        ("a limit of less, shown twice", [1, 0.25, 0.5], [4000, SLOW, 0.85 * 0.52 * SLOW / SHARE], 0),
        ("a limit that gets narrower", [1, 0.25, 1, 0.25, 0.5], [4000, SLOW, 4000, SLOW, 0.85 * 0.52 * SLOW], 2),
        ("loss that rises: slower is no better", [1, 0.5, 0.5, 0.5, 0.5], [4000, 1717, 746, 4000, 16000], 0),
    ],
)
def test_how_it_takes_that_fewer_answer(fault: str, shares: list[float], expected: list[float], falls: int) -> None:
    client = Client()
    assert client.play(*shares)[: len(expected)] == pytest.approx(expected, rel=0.02)
    assert client.pace.control.falls == falls


def test_beneath_a_limit_it_grows_carefully_and_never_rushes_again() -> None:
    client = climbed(1, 0.25, 1, 0.25)
    assert client.pace.control.delivered == pytest.approx(SLOW / SLOWER, rel=0.01)
    assert not client.pace.control.is_climbing
    rates = client.play(*[1] * 5)
    assert rates == pytest.approx([SLOW * CAREFUL ** (n + 1) for n in range(5)], rel=0.02)


def test_before_a_limit_is_sure_it_is_none() -> None:
    client = climbed(1, 0.25)
    assert (client.pace.control.falls, client.pace.control.delivered) == (0, None)
    client.play(1)
    assert (client.pace.control.falls, client.pace.control.delivered) == (0, None)
    client.play(0.25)
    assert client.pace.control.falls == 1


def test_a_limit_that_slower_and_slower_was_no_help_against_was_none() -> None:
    client = climbed(1, 0.25, 1, 0.25)
    assert client.play(0.25)[0] < SLOW / 3
    assert (client.pace.control.falls, client.pace.control.is_climbing) == (2, False)
    assert client.play(0.25) == [4000]
    control = client.pace.control
    assert (control.falls, control.delivered, control.is_climbing) == (0, None, True)
    assert client.play(0.25, 0.25) == [16000, TOP_RATE]


def test_slower_that_was_a_help_in_between_is_a_limit_still() -> None:
    client = climbed(1, 0.25, 1, 0.25)
    client.play(0.25, 1, 0.25)
    assert client.pace.control.falls == 3
    assert client.pace.rate < SLOW / 10


def test_loss_that_is_the_paths_own_is_expected_from_then_on() -> None:
    client = climbed(1, 0.5, 0.5, 0.5)
    assert client.pace.rate == 4000
    assert client.play(0.5, 0.5, 0.5) == [16000, 20000, 20000]
    assert client.pace.control.falls == 0


def test_the_pace_never_falls_below_the_floor() -> None:
    client = climbed(1, 0.13, 1, 0.13)
    assert client.play(*[0.65] * 9)[-3:] == [FLOOR_RATE] * 3  # what passes gets less and less
    assert not client.shut


@pytest.mark.parametrize(
    ("max_rate", "shares", "expected"),
    [
        (30_000, [1, 1, 1], [4000, 16000, 30000]),
        (2_000, [1, 1, 1], [2000] * 3),
        (2_000, [0, 0, 0], [2000] * 3),
        (200, [1, 1, 1], [200] * 3),
        (20, [1, 0.5, 1, 0.3, 0.3], [20] * 5),
    ],
)
def test_a_rate_under_a_ceiling(max_rate: float, shares: list[float], expected: list[int]) -> None:
    client = Client(max_rate)
    assert client.pace.rate == min(START_RATE, max_rate)
    assert client.play(*shares) == [min(rate, TOP_RATE) for rate in expected]


def test_beneath_a_ceiling_it_comes_down_like_elsewhere() -> None:
    assert climbed(1, 0.5, max_rate=200).pace.rate == pytest.approx(0.85 * 0.52 * 200, rel=0.02)


@pytest.mark.parametrize(("answered", "slower"), [(360, False), (330, False), (318, False), (310, True), (200, True)])
def test_less_than_chance_explains_is_too_fast(answered: int, slower: bool) -> None:
    # Of samples of 102 and 400 with a share of 0.89: three standard deviations are 10 %.
    client = climbed(0.9)
    client.play(answered / 400)
    assert (client.pace.rate < 4000) is slower


@pytest.mark.parametrize(("answered", "shut"), [(400, False), (100, False), (40, False), (39, True), (0, True)])
def test_hardly_any_answer_is_no_matter_of_pace(answered: int, shut: bool) -> None:
    client = climbed(1)
    began = client.now
    client.play(answered / 400)
    assert client.shut is shut
    if shut:
        assert client.pace.shut_since == pytest.approx(began)
        assert client.pace.rate == 4000


@pytest.mark.parametrize(("share", "shut"), [(0.02, False), (0.08, False), (0.12, True)])
def test_where_few_answers_are_to_be_expected_none_is_no_sign(share: float, shut: bool) -> None:
    client = climbed(share)
    client.play(0)
    assert client.shut is shut


@pytest.mark.parametrize("lost", [0, 30, 65])
def test_canaries_are_expected_to_answer_as_is_common(lost: int) -> None:
    # Before the path has shown its own, 65 of 100; three deviations of two samples of 100 are 20.
    client = Client()
    client.pace.control.only_canaries()
    slower = 1000 * 0.85 * 0.37
    assert client.play(1 - lost / 100, kind=CANARY) == pytest.approx([slower if lost == 65 else 4000], abs=1)


def test_what_is_surely_better_is_expected_of_canaries_from_then_on() -> None:
    client = Client()
    client.pace.control.only_canaries()
    assert client.play(1, 1, kind=CANARY) == [4000, 16000]
    assert client.play(0.7, kind=CANARY) == pytest.approx([16000 * 0.7 * 0.85], rel=0.01)
    worse = Client()
    worse.pace.control.only_canaries()
    assert worse.play(0.6, 0.6, kind=CANARY) == [4000, 16000]
    assert worse.play(0.57, kind=CANARY) == [20000]  # of what was expected nothing was taken back


def test_canaries_of_the_first_pass_set_no_measure_for_those_that_follow() -> None:
    client = Client()
    client.play(1, 1, kind=CANARY)  # the ways that had been open
    client.pace.control.only_canaries()
    client.pace.next_round(client.now)
    rate = client.pace.rate
    assert client.play(0.6, kind=CANARY) == [rate * 4]
    client.pace.control.only_canaries()  # later passes go on where they are
    client.play(1, 1, kind=CANARY)
    client.pace.control.only_canaries()
    client.pace.next_round(client.now)
    rate = client.pace.rate
    assert client.play(0.6, kind=CANARY)[0] < rate


def test_few_canaries_are_judged_together_with_those_that_follow() -> None:
    client = Client()
    client.pace.control.only_canaries()
    for _ in range(5):
        assert client.pace.rate == START_RATE
        client.probe(CANARY, MIN_CANARIES // 5)
        client.answer(2, kind=CANARY)
        client.send(0, SILENT)  # such ports tell nothing
        client.judge()
    assert client.pace.rate == pytest.approx(0.85 * 1000 * 12 / 50)


def test_a_few_canaries_are_enough_where_hardly_any_answers() -> None:
    client = Client()
    client.pace.control.only_canaries()
    client.probe(CANARY, 20)  # 13 answers were to be expected
    began = client.now
    client.send(0, SILENT)
    client.judge()
    assert client.shut
    assert client.pace.shut_since == pytest.approx(began)


def test_canaries_tell_of_a_limit_in_the_first_pass_too() -> None:
    client = climbed(0.5)
    pace = client.pace
    client.probe(CANARY, 60)
    client.answer(10, kind=CANARY)
    client.send(0.5)
    client.judge()
    assert pace.rate == pytest.approx(0.85 * 4000 * 12 / 60, rel=0.01)
    assert not pace.control.wants_canaries  # what the ports showed so far, the limit may have made: they begin anew


def test_canaries_of_the_first_pass_alone_do_not_make_it_faster() -> None:
    client = climbed(0.5)
    rate = client.pace.rate
    client.play(1, kind=CANARY)
    assert client.pace.rate == rate


@pytest.mark.parametrize(
    ("shares", "rate", "climbs"),
    [((1, 1), 16000, True), ((1, 0.25, 1, 0.25), SLOW, False), ((1, 0.25, 1, 0.25, *[1] * 9), SLOW, False)],
)
def test_where_the_silent_ports_alone_are_left_it_stays_beneath_a_limit(
    shares: Sequence[float], rate: float, climbs: bool
) -> None:
    client = climbed(*shares)
    client.pace.control.only_canaries()
    assert client.pace.rate == pytest.approx(rate, rel=0.01)
    assert client.pace.control.is_climbing is climbs
    client.pace.next_round(client.now)
    after = client.play(1, kind=CANARY)
    assert after == pytest.approx([TOP_RATE if climbs else rate], rel=0.01)


def test_where_a_limit_shows_late_the_pace_stays_beneath_it() -> None:
    client = climbed(*UPHILL)
    client.pace.control.only_canaries()
    client.pace.next_round(client.now)
    low = 0.85 * 16000 * (160 + 2) / 1600 / 1.0
    assert client.play(0.1, 1, 0.1, 1, 1, kind=CANARY) == pytest.approx([low, 16000, low, low, low], rel=0.02)


def test_a_round_is_judged_only_when_its_answers_had_time_to_come() -> None:
    client = Client()
    client.send(0.99)
    ended = client.now
    assert not client.pace.judge(ended + WAIT - 0.001)
    assert client.pace.rate == START_RATE
    client.pace.judge(ended + WAIT)
    assert client.pace.rate == 4 * START_RATE


@pytest.mark.parametrize("kind", [PORT, SILENT])
def test_a_round_whose_answers_have_all_come_is_judged_at_once(kind: str) -> None:
    client = Client()
    client.probe(PORT, 50)
    client.answer(50)
    client.pace.judge(client.now)
    assert client.pace.rate == START_RATE  # but not before it is over
    client.send(0, kind)
    client.answer(MIN_ROUND - 50, kind)
    client.pace.judge(client.now)
    assert client.pace.rate == 4 * START_RATE


@pytest.mark.parametrize(("share", "wants"), [(1.0, False), (0.97, False), (0.93, True), (0.3, True), (0.0, True)])
def test_canaries_are_wanted_where_not_every_port_answers(share: float, wants: bool) -> None:
    client = Client()
    assert not client.pace.control.wants_canaries  # nobody knows yet
    client.play(share)
    assert client.pace.control.wants_canaries is wants


def test_canaries_are_wanted_until_they_were_answered_at_that_rate() -> None:
    client = climbed(0.5)
    pace = client.pace
    for rate in (4000, 16000):
        assert (pace.rate, pace.control.wants_canaries) == (rate, True)
        client.probe(CANARY, MIN_CANARIES - 1)
        client.answer(MIN_CANARIES - 1, CANARY)
        client.send(0.5)
        client.pace.judge(client.now + WAIT)
        assert pace.control.wants_canaries  # too few
        client.pace.next_round(client.now + WAIT)
        client.now += WAIT
        pace.control.rate, pace.control.since = rate, client.now
        client.pace.next_round(client.now)
        client.probe(CANARY)
        client.answer(1, CANARY)
        client.send(0.5)
        client.judge()
        assert pace.control.wants_canaries is (pace.rate > rate)
        pace.control.rate = rate
        assert not pace.control.wants_canaries
        pace.control.rate = 4 * rate


def test_a_limit_is_blamed_once_and_not_for_rounds_sent_before_it_showed() -> None:
    client = Client()
    for share in (1.0, 0.25, 0.2):  # sent one behind the other, before any of them is judged
        client.send(share)
        client.pace.next_round(client.now)
    client.pace.judge(client.now + 1.0)
    assert client.pace.rate == pytest.approx(0.85 * 1000 * 27 / 100, rel=0.02)


def test_a_round_that_looks_fallen_is_waited_for_before_it_is_judged() -> None:
    client = climbed(1)
    client.send(0)
    pace, ended = client.pace, client.now
    assert pace.doubts_until(ended + WAIT / 2) == ended + WAIT / 2  # its answers are still under way
    assert pace.doubts_until(ended + WAIT) == pytest.approx(ended + PATIENCE)
    assert not pace.judge(ended + WAIT)
    client.answer(400)  # they were late
    assert pace.doubts_until(ended + WAIT) == ended + WAIT
    pace.judge(ended + WAIT)
    assert pace.rate == 16000


def test_canaries_that_look_lost_are_waited_for_too() -> None:
    client = Client()
    client.pace.control.only_canaries()
    client.send(0.1, kind=CANARY)
    assert client.pace.doubts_until(client.now + WAIT) == pytest.approx(client.now + PATIENCE)
    assert not client.pace.judge(client.now + WAIT)
    assert client.pace.rate == START_RATE


def test_probes_are_spread_over_their_round() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    assert pace.allowance(0.0) == 1
    pace.on_sent(0.0)
    assert pace.allowance(0.0) == 0
    assert pace.next_send_time() == pytest.approx(1 / START_RATE)
    assert pace.allowance(0.01) == 10
    for _ in range(MIN_ROUND - 1):
        assert not pace.round_is_full
        pace.on_sent(0.1)
    assert pace.round_is_full
    assert pace.allowance(10.0) == 0


def test_what_a_busy_computer_held_up_is_not_sent_in_one_burst() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    most = round(CATCH_UP * START_RATE) + 1
    for now in (CATCH_UP, 5.0, 5.0 + CATCH_UP, 7.0):
        assert most - 1 <= pace.allowance(now) <= most
        for _ in range(pace.allowance(now)):
            pace.on_sent(now)
        assert pace.allowance(now) == 0
        assert pace.allowance(now + 0.0051) in (5, 6)


def size(pace: Pace, now: float) -> int:
    """How many probes make the round full."""
    sent = 0
    while not pace.round_is_full:
        pace.on_sent(now)
        sent += 1
    return sent


def test_a_round_takes_at_least_a_round_trip() -> None:
    assert size(Pace(0.0, 0.001, WAIT, PATIENCE), 0.0) == MIN_ROUND
    assert size(Pace(0.0, 0.3, WAIT, PATIENCE), 0.0) == 300


def test_a_round_begins_when_its_first_probe_is_due() -> None:
    client = Client(max_rate=10)
    for _ in range(3):
        client.send(1)
        client.pace.next_round(client.now)
    assert client.pace.next_send_time() == pytest.approx(3 * MIN_ROUND / 10)
    client.pace.next_round(100.0)
    assert client.pace.next_send_time() == 100.0


def test_a_gentle_round_is_as_small_as_told_and_as_slow_as_it_gets() -> None:
    client = climbed(1, 1)
    client.pace.next_round(client.now, gently=20)
    begun = client.now
    client.send(0, SILENT)
    assert client.now - begun == pytest.approx(19 / FLOOR_RATE, rel=0.01)
    client.pace.next_round(client.now)
    assert size(client.pace, client.now) == 1600


@pytest.mark.parametrize(("max_rate", "gap"), [(None, 1 / FLOOR_RATE), (1000, 1 / FLOOR_RATE), (10, 0.1)])
def test_the_widest_gap_is_that_of_the_slowest_pace(max_rate: float | None, gap: float) -> None:
    assert Client(max_rate).pace.widest_gap == gap


def test_it_climbs_until_the_top_or_a_limit() -> None:
    client = Client()
    pace = client.pace
    assert pace.control.is_climbing
    client.play(0)
    assert pace.rate == SILENT_RATE
    assert not pace.control.is_climbing  # nothing has come back yet
    client.answer(1)
    assert pace.control.is_climbing
    pace.control.rate = TOP_RATE
    assert not pace.control.is_climbing


def test_what_tells_otherwise_that_the_path_carries_it_is_as_good_as_answers() -> None:
    client = climbed(0, 0)
    client.pace.control.trust_path()
    assert client.pace.rate == 16000
    client.pace.control.trust_path()
    assert client.pace.rate == TOP_RATE
    limited = climbed(0, max_rate=100)
    limited.pace.control.trust_path()
    assert limited.pace.rate == 100


def test_after_a_stall_it_goes_on_as_before_and_blames_nobody() -> None:
    client = climbed(1)
    client.send(0.2)
    client.pace.resume(client.now)
    assert not client.pace.judge(client.now + 10.0)
    assert (client.pace.rate, client.pace.control.falls) == (4000, 0)
    assert client.play(1) == [16000]


def test_canaries_sent_before_a_stall_are_not_counted_with_those_behind_it() -> None:
    client = Client()
    client.pace.control.only_canaries()
    for behind in (False, True):
        client.probe(CANARY, 30)
        client.answer(30 if behind else 4, kind=CANARY)
        client.send(0, SILENT)
        client.judge()
        client.pace.resume(client.now)
    assert client.pace.rate == START_RATE
    client.play(1, kind=CANARY)
    assert client.pace.rate == 4000


def test_what_lets_only_so_many_pass_is_given_way_to() -> None:
    client = climbed(*UPHILL)
    client.play(0.05)
    assert client.shut
    client.pace.control.give_way(client.now)
    client.pace.resume(client.now)
    assert client.pace.rate == pytest.approx(0.85 * 16000 * 82 / 1600, rel=0.01)
    assert (client.pace.control.falls, client.pace.control.is_climbing) == (1, False)
    assert client.play(1) == pytest.approx([client.pace.rate], rel=0.01)


def test_a_rate_that_is_held_grows_no_more() -> None:
    client = climbed(1)
    client.pace.control.fix(120.0, client.now)
    client.pace.resume(client.now)
    assert client.play(1, 1, 1) == [120, 120, 120]
    assert not client.pace.control.is_climbing


@pytest.mark.parametrize(("rate", "held"), [(0.0, 1.0), (0.5, 1.0), (12.5, 12.5)])
def test_a_guards_rate_is_held_beneath_the_floor_too_but_never_stops(rate: float, held: float) -> None:
    client = climbed(1)
    client.pace.control.fix(rate, client.now)
    client.pace.resume(client.now)
    assert client.pace.rate == held


def test_a_share_of_the_server_is_kept_to_at_once_and_given_back() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    pace.on_sent(0.0)
    assert pace.next_send_time() == pytest.approx(1 / START_RATE)
    pace.control.server_share = 200.0
    assert pace.next_send_time() == pytest.approx(1 / 200)
    assert [pace.allowance(now) for now in (0.004, 0.0051, 0.0101)] == [0, 1, 2]
    pace.control.server_share = math.inf
    assert pace.allowance(0.0101) == 10


def test_the_pace_climbs_no_further_than_the_share() -> None:
    client = Client()
    client.pace.control.server_share = 2 * START_RATE
    client.play(*[1.0] * 6)
    assert client.pace.rate == 2 * START_RATE
