"""What the page says of current therapy never claims more than was checked."""

from types import SimpleNamespace

import pytest

from api.present_safety import therapy
from api.words import Words


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Not checked: none of the 3 drugs"), ("zh", "未检查")],
)
def test_therapy_of_which_nothing_was_understood_is_not_checked(language, said):
    told = therapy(_answer(understood=0, total=3), Words(language), "22 Nov 2026")
    assert said in told.sentence
    assert "No interaction found" not in told.sentence


def test_what_was_understood_is_counted():
    told = therapy(_answer(understood=2, total=3), Words("en"), "22 Nov 2026")
    assert told.sentence == "No interaction found among 2 of 3 drugs checked, rules of 22 Nov 2026."


def _answer(understood, total):
    safety = SimpleNamespace(drugs_understood=understood, drugs_on_chart=total)
    return SimpleNamespace(safety=safety, current_therapy=())
