"""`session-middleware check`: a policy in words, the assurance level it satisfies, and what is doubtful in it.

Writing down how long sessions live, and why, is what ASVS 7.1.1 and NIST SP 800-63B-4 §5.2 ask of an app.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from session_middleware.authorities.base import Advises
from session_middleware.commands.settings_source import described_by
from session_middleware.core.tokens import derive
from session_middleware.settings import Limits, Settings

__all__ = ["Policy", "describe", "run"]

_DAY: Final = 86_400.0

#: NIST SP 800-63B-4 §2.1.3, §2.2.3, §2.3.3, strictest first: level, longest age, longest silence.
_LEVELS: Final[tuple[tuple[str, float, float | None], ...]] = (
    ("AAL3", 12 * 3_600.0, 900.0),
    ("AAL2", _DAY, 3_600.0),
    ("AAL1", 30 * _DAY, None),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What `check` prints: statements, then warnings."""

    statements: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole as lines for a terminal."""
        lines = [*self.statements, *(f"warning: {line}" for line in self.warnings)]
        return "\n".join(lines)


def run(source: str | None) -> int:
    """Print the policy of the settings at `source`; return 0. Settings that make no sense raise SettingsError."""
    found = described_by(source)
    print(describe(found.settings, found.authority).text)
    return 0


def describe(settings: Settings, authority: object | None = None) -> Policy:
    """Put settings into words, with what the authority of an app has to say of them.

    Example:
        >>> settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], inactivity_timeout=14 * 60)
        >>> describe(settings).statements[0]
        'Silence ends a session after 14 min (seen within 42 s), its age after 24 h: within NIST AAL2.'
    """
    said = [f"{_limits(settings.default_limits, settings)}"]
    said.append(
        "Activity moves the end by silence."
        if settings.timing.rolling
        else "Activity does not move the end by silence; only extend and continue do (rolling=False)."
    )
    if settings.persistent:
        said.append("Cookies outlive the browser (persistent=True), until the longest age at most.")
    else:
        said.append("Cookies go when the browser closes, unless login(persistent=True) says otherwise.")
    if settings.persistent_limits is not None:
        said.append(f"Persistent logins: {_limits(settings.persistent_limits, settings)}")
    if settings.limits is not None:
        said.append("A limits= function gives single users other limits, which this command cannot know.")
    renewal = settings.timing.renewal_interval
    if renewal is None:
        said.append("The token is never renewed, so a replay is never noticed (renewal_interval=None).")
    else:
        said.append(
            f"The token is renewed every {_words(renewal)}; the one before works {_words(_grace(settings))} on."
        )
    said.append(f"The session JWT lives {_words(settings.timing.jwt_lifetime)}.")
    said.append(f"Cookies: {settings.token_cookie}, {settings.jwt_cookie}; SameSite={settings.cookie_samesite}.")
    said.extend(_keys(settings))
    advice = authority.advice(settings) if isinstance(authority, Advises) else ()
    return Policy(tuple(said), (*_warnings(settings), *advice))


def _grace(settings: Settings) -> float:
    return settings.timing.renewal_grace


def _limits(limits: Limits, settings: Settings) -> str:
    if limits.inactivity_timeout is None:
        silence = "Silence never ends a session"
    else:
        silence = (
            f"Silence ends a session after {_words(limits.inactivity_timeout)} "
            f"(seen within {_words(settings.timing.touch_interval)})"
        )
    level = _level(limits)
    return (
        f"{silence}, its age after {_words(limits.absolute_lifetime)}: "
        f"{'beyond every NIST level' if level is None else f'within NIST {level}'}."
    )


def _level(limits: Limits) -> str | None:
    for name, age, silence in _LEVELS:
        quiet = silence is None or (limits.inactivity_timeout is not None and limits.inactivity_timeout <= silence)
        if quiet and limits.absolute_lifetime <= age:
            return name
    return None


def _keys(settings: Settings) -> list[str]:
    reminder = "To change keys: deploy the new one at the END of the list everywhere, then move it to the front (L10)."
    if not settings.secret_keys:
        none = "Keys: none here. Flask and Django give their SECRET_KEY; elsewhere the app will not start without."
        return [none, reminder]
    digests = [derive(key, "inventory").hex()[:4] for key in settings.secret_keys if isinstance(key, bytes)]
    said = [f"Keys: {len(digests)} (the first signs, all verify); marks: {', '.join(digests)}."]
    if settings.jwt_keys:
        said.append(f"JWT keys: {', '.join(f'{key.kid} ({key.alg})' for key in settings.jwt_keys)}.")
    said.append(reminder)
    if settings.jwt_subject == "pairwise" and settings.jwt_subject_key is None:
        said.append(
            "Subjects in session JWTs are derived from the first key and change with it; to keep them, set "
            "jwt_subject_key to today's first key before you move another to the front (L9)."
        )
    return said


def _warnings(settings: Settings) -> list[str]:
    limits, warnings = settings.default_limits, []
    silence, touch = limits.inactivity_timeout, settings.timing.touch_interval
    wanted = (settings.aal or "aal2").upper()
    name, most_age, most_silence = next(level for level in _LEVELS if level[0] == wanted)
    if limits.absolute_lifetime > most_age:
        warnings.append(
            f"absolute_lifetime is {_words(limits.absolute_lifetime)}, {name} asks for at most {_words(most_age)}."
        )
    if most_silence is not None:
        if silence is None:
            warnings.append(f"there is no inactivity_timeout, {name} asks for at most {_words(most_silence)}.")
        elif silence > most_silence:
            warnings.append(f"inactivity_timeout is {_words(silence)}, {name} asks for at most {_words(most_silence)}.")
        elif settings.aal is not None and silence + touch > most_silence:
            warnings.append(
                f"inactivity_timeout and touch_interval together are {_words(silence + touch)}, beyond the "
                f"{_words(most_silence)} of {name}; leave inactivity_timeout out and aal={settings.aal!r} sees to it."
            )
    persistent = settings.persistent_limits
    if persistent is not None and persistent.absolute_lifetime > most_age:
        warnings.append(f"persistent_limits reach {_words(persistent.absolute_lifetime)}, beyond {name}.")
    if settings.insecure_dev:
        warnings.append("insecure_dev=True: cookies go over plain http. Never in production.")
    if settings.cookie_domain is not None:
        warnings.append(
            f"cookie_domain: every host below {settings.cookie_domain} receives the cookies and can set them."
        )
    if settings.csrf_without_headers == "allow":
        warnings.append("csrf_without_headers='allow': what sends neither Sec-Fetch-Site nor Origin is let through.")
    if settings.on_replay == "refuse":
        warnings.append("on_replay='refuse': a session whose token was replayed lives on.")
    return warnings


def _words(seconds: float) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit, size in (("d", _DAY), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0 and not (unit == "d" and seconds < 2 * _DAY):
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
