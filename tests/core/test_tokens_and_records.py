"""Tokens (L10) and the bytes of a record: one encoding, nothing guessed, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.tokens import TOKEN_LIMIT, TokenKeys, b64decode, b64encode, derive, key_of, public_id_of
from session_middleware.errors import RecordUnreadable
from session_middleware.settings import Limits
from session_middleware.testing.reference_record import reference_record

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
ID = bytes(range(24))


def test_a_token_reads_back() -> None:
    """L10: id, generation and store key come out of what was signed; the MAC is the same each time."""
    keys = TokenKeys([NEW], "__Host-session")
    token = keys.sign(ID, 7)
    assert token == keys.sign(ID, 7)
    presented = keys.verify(token)
    assert presented is not None
    assert (presented.token_id, presented.generation, presented.key_index) == (ID, 7, 0)
    assert presented.key == key_of(public_id_of(ID))
    assert len(token) <= TOKEN_LIMIT


def test_keys_are_a_list() -> None:
    """L10: the first signs, all verify, and whose key it was is said."""
    token = TokenKeys([OLD], "s").sign(ID, 0)
    both = TokenKeys([NEW, OLD], "s").verify(token)
    assert both is not None
    assert both.key_index == 1
    assert TokenKeys([NEW], "s").verify(token) is None


def test_cookie_name_and_purpose_are_part_of_the_mac() -> None:
    """L10: a token of another cookie, or a MAC of another purpose, does not verify."""
    assert TokenKeys([NEW], "b").verify(TokenKeys([NEW], "a").sign(ID, 0)) is None
    assert derive(NEW, "session token") != derive(NEW, "session jwt")


@given(st.data())
def test_any_other_character_breaks_a_token(data: st.DataObject) -> None:
    """L10: only the canonical encoding is accepted; no changed, added or missing character passes."""
    keys = TokenKeys([NEW], "s")
    token = keys.sign(ID, 10)
    at = data.draw(st.integers(0, len(token) - 1))
    with_other = data.draw(st.characters(max_codepoint=300))
    changed = token[:at] + with_other + token[at + 1 :]
    if changed != token:
        assert keys.verify(changed) is None
    assert keys.verify(token[:at] + token[at + 1 :]) is None
    assert keys.verify(token[:at] + with_other + token[at:]) is None


@given(st.text(max_size=200))
def test_garbage_is_refused_without_an_exception(text: str) -> None:
    """L10: whatever comes in a cookie, the answer is no."""
    assert TokenKeys([NEW], "s").verify(text) is None


def test_a_mac_that_is_not_canonical_is_refused() -> None:
    """The last character of a MAC has unused bits; setting them is another text for the same bytes, and is refused."""
    keys = TokenKeys([NEW], "s")
    token = keys.sign(ID, 0)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    assert keys.verify(twin) is None
    with pytest.raises(ValueError, match="canonical"):
        b64decode(b64encode(b"a")[:-1] + "R")


def test_leading_zeros_are_another_text() -> None:
    """L10: generation 07 is not 7, even under a right MAC."""
    keys = TokenKeys([NEW], "s")
    encoded = b64encode(ID)
    mac = b64encode(keys._mac(keys._keys[0], encoded, "07"))
    assert keys.verify(f"v1.{encoded}.07.{mac}") is None


def record(**given: Any) -> SessionRecord:
    return SessionRecord(
        key=b"k" * 32,
        public_id="pub",
        subject="älice",
        created_at=5.5,
        authenticated_at=5.5,
        last_seen_at=6.0,
        inactivity_deadline=7.0,
        limits=Limits(None, 10),
        keep_until=9.0,
        renewed_at=5.5,
    ).evolve(**given)


def back(rec: SessionRecord, body: bytes | None = None) -> SessionRecord:
    return SessionRecord.decode(
        rec.key,
        rec.encode_body() if body is None else body,
        last_seen_at=rec.last_seen_at,
        inactivity_deadline=rec.inactivity_deadline,
        keep_until=rec.keep_until,
        renewed_at=rec.renewed_at,
        generation=rec.generation,
        presented_at=rec.presented_at,
        revision=rec.revision,
        ended_at=rec.ended_at,
        end_reason=rec.end_reason,
    )


def test_records_read_back_whole() -> None:
    """Every field survives, defaults left out or not."""
    assert back(record()) == record()
    full = record(
        authenticated_at=6.25,
        fresh_at=6.5,
        ceiling=8.0,
        persistent=True,
        claims={"a": [1, {"b": None}]},
        data={"x": "y"},
        factors=({"type": "password"},),
        attributes={"user_agent": "UA"},
        handles=(handle_of("subject", "älice"),),
        authority="oidc",
        provider_session="ps",
        stamp="st",
        actor="support",
        before=("the id before that", "the id before"),
        proven_at=6.5,
        presented_at=6.75,
        generation=3,
        revision=2,
    )
    assert back(full) == full


def test_fields_of_a_later_version_are_kept() -> None:
    """Design §8: a writer preserves fields it does not know."""
    body = json.loads(record().encode_body())
    body["zz"] = {"new": 1}
    read = back(record(), json.dumps(body).encode())
    assert read.extra == {"zz": {"new": 1}}
    assert json.loads(read.encode_body())["zz"] == {"new": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"b": "an id"},
        {"b": [7]},
        {"n": "today"},
        {"v": 2},
        {"v": None},
        {"i": 5},
        {"s": None},
        {"c": "now"},
        {"c": True},
        {"l": [1]},
        {"l": ["a", 5]},
        {"l": [0, 5]},
        {"k": []},
        {"x": 5},
        {"x": [5]},
        {"h": [5]},
        {"f": "x"},
        {"m": 5},
    ],
)
def test_a_broken_body_says_so(change: dict[str, Any]) -> None:
    """Bad input: a record that is none of ours is RecordUnreadable and nothing else; its content is not printed."""
    body = {**json.loads(record().encode_body()), **change}
    with pytest.raises(RecordUnreadable, match="left as it is"):
        back(record(), json.dumps(body).encode())


@given(st.binary(max_size=200))
def test_random_bytes_are_unreadable(body: bytes) -> None:
    """ASVS 1.5.2: whatever stands in the store, nothing is executed and only RecordUnreadable comes out."""
    with pytest.raises(RecordUnreadable):
        back(record(), body)


def test_a_broken_pulse_says_so() -> None:
    """Numbers beside the body are checked as well."""
    for change in ({"generation": -1}, {"generation": True}, {"last_seen_at": float("nan")}, {"revision": "1"}):
        with pytest.raises(RecordUnreadable):
            back(record(**change))


def test_what_is_left_of_an_ended_record() -> None:
    """L16: hash, subject, times and reason; no claims, data, factors, attributes or stamp."""
    full = record(claims={"a": 1}, data={"b": 2}, factors=({"type": "x"},), attributes={"c": "d"}, stamp="s", actor="z")
    left = full.ended("logout", 8.0, 99.0)
    assert (left.claims, left.data, left.factors, left.attributes) == ({}, {}, (), {})
    assert (left.stamp, left.actor, left.ended_at, left.end_reason, left.keep_until) == (
        None,
        None,
        8.0,
        "logout",
        99.0,
    )
    assert "älice" in repr(left)


def test_handles_are_opaque() -> None:
    """No personal data stands in an index."""
    assert "alice" not in handle_of("subject", "alice@example.org")
    assert handle_of("subject", "a") != handle_of("provider", "a")


def test_a_session_is_named_by_its_id_and_by_the_one_before() -> None:
    """A session that was never stepped up is named by its own id alone, and its body has no byte for another (L12, L23)."""
    plain = reference_record(0)
    after = plain.evolve(before=("the id before that", "the id before"))
    assert [after.is_named(link) for link in (plain.public_id, "the id before", "another", None)] == [
        True,
        True,
        False,
        False,
    ]
    assert not plain.is_named(None)
    assert b'"b"' not in plain.encode_body()
    assert after.ended("logout", 1.0, 2.0).before == ()
