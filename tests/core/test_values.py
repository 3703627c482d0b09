"""What an app may give to be kept: anything else is refused with field and fix, and shows nothing personal (L14)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from session_middleware.core.exchange import Exchange
from session_middleware.core.values import (
    as_json_values,
    checked_factors,
    checked_id,
    checked_mapping,
    checked_subject,
    checked_text,
    data_changes,
    refresh,
)
from session_middleware.errors import SettingsError

from .facts import Facts

BEFORE = {"kept": [1, 2], "gone": 1}


@pytest.mark.parametrize(
    ("value", "key"),
    [({5: 1}, "5"), ({"a": [{"b": ({None: 1},)}]}, "None"), ([{True: 1}], "True"), ({"a": {1.5: 1}}, "1.5")],
)
def test_a_key_that_is_not_text_is_refused_at_any_depth(value: Any, key: str) -> None:
    """JSON writes such a key as text: a store in memory would give back another one than a file."""
    with pytest.raises(SettingsError, match=f"<the key {key}>") as caught:
        as_json_values("data", value)
    assert caught.value.field == "data"


def test_what_json_writes_comes_back_as_json_reads_it() -> None:
    """L14: a tuple is a list from the start, not only once it was in a file."""
    assert as_json_values("data", {"a": (1, {"b": ()})}) == {"a": [1, {"b": []}]}


def _exchange(data: dict[str, Any] | None) -> Exchange:
    x = Exchange(Facts(), 1.0)
    x.data, x.data_from = data, BEFORE
    return x


def test_what_changed_in_data_is_what_a_store_gives_back() -> None:
    """L14: names that were written and removed; what equals the record once it is JSON has not changed."""
    assert data_changes(_exchange(None)) == ({}, set())
    written, removed = data_changes(_exchange({"kept": (1, 2), "new": (3,)}))
    assert (written, removed) == ({"new": [3]}, {"gone"})
    assert isinstance(written["new"], list)


def test_what_changed_is_not_what_the_app_goes_on_writing_to() -> None:
    """A list that the view changes later is not changed in what is being stored."""
    mine = [1]
    written, _ = data_changes(_exchange({"new": mine}))
    mine.append(2)
    assert written == {"new": [1]}


def test_a_working_copy_is_refreshed_in_place() -> None:
    """L14: what others wrote and removed is in the dict that the view holds, and what it wrote itself stays its own."""
    mine = [1]
    held, stored = {"a": mine, "b": 1, "gone": 1}, {"a": [1], "b": 2, "new": [3]}
    refresh(held, stored)
    assert held == stored
    assert held["a"] is mine
    assert held["new"] is not stored["new"]


@pytest.mark.parametrize("subject", [5, None, "", b"alice", ["alice"]])
def test_a_subject_is_text(subject: Any) -> None:
    """A number is nobody: the user was signed in under text."""
    with pytest.raises(SettingsError, match="str") as caught:
        checked_subject(subject)
    assert (caught.value.field, caught.value.value) == ("subject", subject)
    assert checked_subject("5") == "5"


@pytest.mark.parametrize("id", [5, None, "", b"x"])
def test_an_id_is_text(id: Any) -> None:
    """The public id of a session is the text that lists show."""
    with pytest.raises(SettingsError) as caught:
        checked_id("except_id", id)
    assert (caught.value.field, caught.value.value) == ("except_id", id)
    assert checked_id("id", "x") == "x"


def test_text_or_nothing() -> None:
    """A value that is not text is not shown: it may be a digest of a password."""
    assert (checked_text("stamp", None, "Give text."), checked_text("stamp", "", "Give text.")) == (None, "")
    with pytest.raises(SettingsError, match="Give text") as caught:
        checked_text("stamp", b"secret", "Give text.")
    assert (caught.value.field, caught.value.value) == ("stamp", "<bytes>")


@pytest.mark.parametrize("value", ["", "role", 0, 5, [], [("a", 1)], b"", object()])
def test_claims_and_data_are_mappings(value: Any) -> None:
    """Not even an empty list is taken for none."""
    with pytest.raises(SettingsError) as caught:
        checked_mapping("claims", value)
    assert caught.value.value == f"<{type(value).__name__}>"


def test_any_mapping_will_do() -> None:
    """None is an empty one; what comes back is a dict that nobody else holds."""
    given = {"a": 1}
    back = checked_mapping("claims", MappingProxyType(given))
    back["b"] = 2
    assert (checked_mapping("data", None), given) == ({}, {"a": 1})


@pytest.mark.parametrize(
    "value", ["otp", b"otp", None, 5, {"type": "otp"}, ["otp"], [5], [[("type", "otp")]], [{5: 1}], [{"a": {1}}], {1}]
)
def test_factors_are_a_list_of_mappings(value: Any) -> None:
    """Neither a word nor one mapping is a list of them, and their values are JSON."""
    with pytest.raises(SettingsError) as caught:
        checked_factors(value)
    assert caught.value.field == "factors"
    assert "otp" not in str(caught.value.value)


def test_factors_are_kept_in_their_order() -> None:
    """What was given is what is kept."""
    given = ({"type": "password"}, MappingProxyType({"type": "otp", "at": (1,)}))
    assert checked_factors(given) == ({"type": "password"}, {"type": "otp", "at": [1]})
