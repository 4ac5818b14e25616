"""Marks of use in C; access.py says what they are and what they are for.

`access_word` is the mark of a record that is new or, by the clock, of one that is used; `stamped`
(in the .pxd) is all a look-up calls. The state of the random numbers is this module's own: what
is drawn here guides eviction only, and may not disturb the draws of commands, which tests repeat.
"""

from libc.stdint cimport uint64_t

cdef enum:
    CLOCK = 0
    COUNTER = 1
    HOLD = 2
    START = 5

cdef unsigned int access_word = 0
cdef int access_mode = CLOCK
cdef int policy = CLOCK
cdef unsigned int minutes = 0
cdef long long log_factor = 10
cdef long long decay_minutes = 1
cdef uint64_t noise = 0x9E3779B97F4A7C15


cdef inline double draw() noexcept:
    global noise
    noise ^= noise >> 12
    noise ^= noise << 25
    noise ^= noise >> 27
    return <double>((noise * <uint64_t>0x2545F4914F6CDD1D) >> 11) / 9007199254740992.0


cpdef unsigned int decayed(unsigned int word) noexcept:
    """The counter of a record now, 0 to 255, after what it lost since it was last used."""
    cdef unsigned int counter = word & 255, since = (minutes - (word >> 8)) & 0xFFFF
    cdef long long lost = since // decay_minutes if decay_minutes else 0
    return 0 if lost > counter else counter - <unsigned int>lost


cdef unsigned int bump(unsigned int word) noexcept:
    cdef unsigned int counter = decayed(word)
    cdef unsigned int base = counter - START if counter > START else 0
    if counter < 255 and draw() * (base * log_factor + 1) < 1:
        counter += 1
    return (minutes << 8) | counter


def set_clock(long long seconds):
    """The time, in Unix seconds: what a record that is used is stamped with."""
    global access_word, minutes
    minutes = <unsigned int>((seconds // 60) & 0xFFFF)
    access_word = <unsigned int>(seconds & 0xFFFFFF) if policy == CLOCK else (minutes << 8) | START


def use_counter(wanted, long long factor, long long decay, long long seconds):
    """Stamp how often (True) or when (False) a record is used."""
    global access_mode, policy, log_factor, decay_minutes
    policy = COUNTER if wanted else CLOCK
    access_mode = policy
    log_factor = factor
    decay_minutes = decay
    set_clock(seconds)


cpdef hold(wanted):
    """While held, using a record leaves no mark."""
    global access_mode
    access_mode = HOLD if wanted else policy


def fresh():
    """The mark of a record that is new."""
    return access_word


cpdef long long hinted(long long idle_s, long long freq) noexcept:
    """The mark of a record last used so many seconds ago or so often (-1: not known), or -1."""
    if policy == COUNTER:
        return (minutes << 8) | freq if 0 <= freq <= 255 else -1
    return (<long long>access_word - idle_s) & 0xFFFFFF if idle_s >= 0 else -1


def marked(unsigned int word):
    """The mark of a record that had `word` and is used now."""
    return stamped(word)
