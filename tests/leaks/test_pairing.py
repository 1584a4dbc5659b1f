"""Which secret goes to which id."""

from __future__ import annotations

from itertools import permutations

import pytest

from keyturn.leaks.detector import detect
from keyturn.leaks.pairing import assign
from leaks.corpus import Maker


def pairs_in(text: str) -> dict[str, str]:
    return {
        str(one.access_key_id): one.secret.reveal().decode()
        for one in detect(text.encode())
        if one.secret is not None
    }


def test_the_cheapest_assignment_of_all_is_found() -> None:
    random = Maker(1).random
    for _ in range(100):
        size = random.randrange(1, 6)
        costs = [[float(random.randrange(100)) for _ in range(size)] for _ in range(size)]
        chosen = sum(costs[row][column] for row, column in assign(costs))
        assert chosen == min(
            sum(costs[row][at[row]] for row in range(size)) for at in permutations(range(size))
        )


def test_each_secret_goes_to_one_id_at_most() -> None:
    maker = Maker(2)
    one, two, secret = maker.id(), maker.id(), maker.secret()
    assert pairs_in(f"old_id = {one}\n\n\nid = {two}\nsecret = {secret}\n") == {two: secret}


def test_a_name_beats_nearness() -> None:
    maker = Maker(3)
    pair = maker.pair()
    assert pairs_in(
        f"id = {pair.id}\njwt_secret = {maker.secret()}\n\n\naws_secret_access_key = {pair.secret}\n"
    ) == {pair.id: pair.secret}


def test_another_products_secret_is_taken_only_if_the_id_bears_its_name() -> None:
    pair = Maker(4).pair()
    assert pairs_in(f"aws_id = {pair.id}\nclient_secret = {pair.secret}\n") == {}
    assert pairs_in(f"client_id = {pair.id}\nclient_secret = {pair.secret}\n") == {pair.id: pair.secret}


@pytest.mark.parametrize("count", [10, 60, 200])
@pytest.mark.parametrize("order", ["id first", "secret first", "apart"])
def test_many_profiles_keep_their_order(count: int, order: str) -> None:
    maker = Maker(count)
    pairs = [maker.pair() for _ in range(count)]
    match order:
        case "id first":
            text = "".join(f"key={p.id}\nsecret={p.secret}\n\n" for p in pairs)
        case "secret first":
            text = "".join(f"secret={p.secret}\nkey={p.id}\n\n" for p in pairs)
        case _:
            text = "".join(f"key={p.id}\n" for p in pairs) + "".join(
                f"aws_secret_key={p.secret}\n" for p in pairs
            )
    assert pairs_in(text) == {p.id: p.secret for p in pairs}
