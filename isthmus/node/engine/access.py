"""access: the 24-bit mark of each record that tells eviction how much it is used.

Two kinds of mark, by the policy. A clock: the second of the last use (least recently used). Or a
counter: 16 bits with the minute of the last use and 8 bits that grow with the logarithm of the uses
and lose one each `lfu-decay-time` minutes (least frequently used), as Redis keeps them. While
`hold` is on, records are used without a mark (CLIENT NO-TOUCH).

The mark guides what is evicted first and nothing else: it is in no effect, so chance is allowed
here. Twin of access.pyx.
"""

from __future__ import annotations

_CLOCK = 0
_COUNTER = 1
_HOLD = 2
_START = 5
_MASK = 0xFFFFFF

_word = 0
_mode = _CLOCK
_policy = _CLOCK
_minutes = 0
_log_factor = 10
_decay_minutes = 1
_noise = 0x9E3779B97F4A7C15


def _draw() -> float:
    global _noise
    _noise ^= _noise >> 12
    _noise = (_noise ^ (_noise << 25)) & 0xFFFFFFFFFFFFFFFF
    _noise ^= _noise >> 27
    return (((_noise * 0x2545F4914F6CDD1D) & 0xFFFFFFFFFFFFFFFF) >> 11) / 9007199254740992.0


def decayed(word: int) -> int:
    """The counter of a record now, 0 to 255, after what it lost since it was last used."""
    since = (_minutes - (word >> 8)) & 0xFFFF
    lost = since // _decay_minutes if _decay_minutes else 0
    return max(0, (word & 255) - lost)


def fresh() -> int:
    """The mark of a record that is new."""
    return _word


def hinted(idle_s: int, freq: int) -> int:
    """The mark of a record last used so many seconds ago or so often (-1: not known); -1 if that
    says nothing under the policy there is."""
    if _policy == _COUNTER:
        return (_minutes << 8) | freq if 0 <= freq <= 255 else -1
    return (_word - idle_s) & _MASK if idle_s >= 0 else -1


def marked(word: int) -> int:
    """The mark of a record that had `word` and is used now."""
    if _mode == _CLOCK:
        return _word
    if _mode == _HOLD:
        return word
    counter = decayed(word)
    if counter < 255 and _draw() * (max(0, counter - _START) * _log_factor + 1) < 1:
        counter += 1
    return (_minutes << 8) | counter


def set_clock(seconds: int) -> None:
    """The time, in Unix seconds: what a record that is used is stamped with."""
    global _word, _minutes
    _minutes = (seconds // 60) & 0xFFFF
    _word = seconds & _MASK if _policy == _CLOCK else (_minutes << 8) | _START


def use_counter(wanted: bool, factor: int, decay: int, seconds: int) -> None:
    """Stamp how often (True) or when (False) a record is used."""
    global _mode, _policy, _log_factor, _decay_minutes
    _policy = _COUNTER if wanted else _CLOCK
    _mode = _policy
    _log_factor = factor
    _decay_minutes = decay
    set_clock(seconds)


def hold(wanted: bool) -> None:
    """While held, using a record leaves no mark."""
    global _mode
    _mode = _HOLD if wanted else _policy
