"""Compiled twin of score_index.py (see there for the contract).

Layout. The order is a sequence of runs of at most 512 items of 16 bytes (score, pointer to the
member's record in the hash table, which owns the bytes). A run keeps free room at both ends, so an
insertion moves the shorter side and taking the first item away moves nothing. The descriptors of
the runs, with the score each begins with, are one array, so a search touches that array and then
one run; members are looked at only where scores are equal.

Ranks come from a Fenwick tree over the counts of the runs, made when somebody asks for a rank and
kept until a run comes or goes, so sets that are only written never pay for it.

A full run extended at its far end stays full, so members that arrive in order take 16 bytes each;
at random places runs are halved and grow by a quarter, about 18 bytes. Whatever may fail for want
of memory is done before the first change.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memmove

from isthmus.node.engine.record cimport SCORE, Rec, rec_key, rec_klen, rec_score, rec_set_score
from isthmus.node.engine.table cimport Table
from isthmus.node.values.score_text import parse_score
from isthmus.wire.reply cimport ReplyWriter

cdef extern from *:
    """
    #ifdef __GNUC__
    #define isthmus_prefetch(p) __builtin_prefetch(p)
    #else
    #define isthmus_prefetch(p) ((void)(p))
    #endif
    #if PY_VERSION_HEX >= 0x030E0000
    #define isthmus_hash(p, n) Py_HashBuffer((p), (n))
    #else
    #define isthmus_hash(p, n) _Py_HashBytes((p), (n))
    #endif
    """
    void isthmus_prefetch(const void* p) noexcept
    Py_ssize_t isthmus_hash(const void* p, Py_ssize_t n) noexcept

cdef enum:
    RUN_MAX = 512           # items of a run
    ROOM_MIN = 4
    SPARSE = RUN_MAX // 4   # a run this small looks for a neighbour to join
    MERGED_MAX = RUN_MAX * 3 // 4
    LINEAR_MAX = 16         # runs that are simply added up for a rank
    AHEAD = 6               # records fetched into the cache before they are read
    BY_SCORE = 0
    BY_MEMBER = 1
    BY_BOTH = 2
    EXACT_DIGITS = 15

cdef double* powers = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13,
                       1e14, 1e15]


cpdef double read_score(bytes text) except? -1:
    """A score as clients write it; ValueError if it is none."""
    cdef const char* p = PyBytes_AS_STRING(text)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(text), i = 0, digits = 0, point = -1
    cdef long long whole = 0
    cdef double value
    # Up to 15 digits and a power of ten are exact doubles, so one division rounds correctly.
    if n > 0 and p[0] == c'-':
        i = 1
    while i < n:
        if c'0' <= p[i] <= c'9' and digits < EXACT_DIGITS:
            whole = whole * 10 + (p[i] - c'0')
            digits += 1
        elif p[i] == c'.' and point < 0:
            point = digits
        else:
            return parse_score(text)
        i += 1
    if digits == 0:
        return parse_score(text)
    value = <double>whole
    if point >= 0:
        value /= powers[digits - point]
    return -value if p[0] == c'-' else value


# -- order --------------------------------------------------------------------------------------


cdef inline bint below(Item* item, Bound* bound) noexcept:
    """True if the item comes before the bound (or is on it and the bound is inclusive)."""
    cdef Py_ssize_t n
    cdef int order
    if bound.kind != BY_MEMBER and item.score != bound.score:
        return item.score < bound.score
    if bound.kind == BY_SCORE:
        return bound.inclusive
    n = rec_klen(item.rec)
    order = memcmp(rec_key(item.rec), bound.member, n if n < bound.length else bound.length)
    if order == 0:
        if n == bound.length:
            return bound.inclusive
        return n < bound.length
    return order < 0


cdef inline bint run_below(Run* run, Bound* bound) noexcept:
    """below() of the first item of a run."""
    if bound.kind != BY_MEMBER and run.low != bound.score:
        return run.low < bound.score
    return below(&run.items[run.start], bound)


cdef inline Py_ssize_t find_in_run(Run* run, Bound* bound) noexcept:
    """How many items of the run are below the bound."""
    cdef Py_ssize_t low = 0, high = run.count, middle, width = 1
    cdef Item* items = run.items + run.start
    cdef double score = bound.score
    if bound.kind != BY_MEMBER:
        # By score alone first, without branches to mispredict.
        while high > 1:
            middle = high >> 1
            low += middle * (items[low + middle - 1].score < score)
            high -= middle
        low += items[low].score < score
        # Equal scores are few as a rule: look near before looking far.
        high = low
        while high < run.count and below(&items[high], bound):
            low = high + 1
            high += width
            width *= 2
        if high > run.count:
            high = run.count
    while low < high:
        middle = (low + high) >> 1
        if below(&items[middle], bound):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void bind(Bound* bound, Rec* rec, double score) noexcept:
    bound.kind = BY_BOTH
    bound.inclusive = False
    bound.score = score
    bound.member = rec_key(rec)
    bound.length = rec_klen(rec)


cdef inline Py_ssize_t roomier(Py_ssize_t room) noexcept:
    """The next size of a run's allocation."""
    if room < 128:
        return room * 2
    room += (room >> 2) + 7 & ~7
    return room if room < RUN_MAX else RUN_MAX


cdef class ScoreIndex(Table):
    def __cinit__(self, *args, **kwargs):
        self.block = NULL
        self.runs = &self.only
        self.nruns = 0
        self.block_room = 1
        self.sums = NULL
        self.sums_room = 0
        self.sums_valid = False
        self.widest = 0
        self.grown = False
        self.outgrown = False

    def __dealloc__(self):
        while self.nruns > 0:
            self.drop_run(self.nruns - 1)
        PyMem_RawFree(self.block)
        PyMem_RawFree(self.sums)
        # The base frees the records, and asks this class again to do so.
        self.block = NULL
        self.sums = NULL
        self.runs = &self.only

    cdef Rec** find_rec(self, Rec* rec) noexcept:
        """The pointer in the hash table that points at rec."""
        cdef Rec** where = &self.buckets[self.index(isthmus_hash(rec_key(rec), rec_klen(rec)))]
        while where[0] != NULL and where[0] != rec:
            where = &where[0].next
        return where

    # -- places -------------------------------------------------------------------------------

    cdef Py_ssize_t locate(self, Bound* bound, Py_ssize_t* pos) noexcept:
        """The run and the position in it where the bound lies, which may be the run's end."""
        cdef Py_ssize_t low = 0, high = self.nruns, middle
        cdef Run* runs = self.runs
        cdef double score = bound.score
        if high == 0:
            pos[0] = 0
            return 0
        if bound.kind != BY_MEMBER:
            while high > 1:
                middle = high >> 1
                low += middle * (runs[low + middle].low < score)
                high -= middle
            # Run `low` begins below the score (or is the first); those that begin with it may
            # still be below the bound.
            high = low + 1
            while high < self.nruns and runs[high].low == score:
                high += 1 + ((self.nruns - high) >> 1)
            if high > self.nruns:
                high = self.nruns
        while high - low > 1:
            middle = (low + high) >> 1
            if run_below(&runs[middle], bound):
                low = middle
            else:
                high = middle
        pos[0] = find_in_run(&self.runs[low], bound)
        return low

    cdef int build_sums(self) noexcept:
        """Make the Fenwick tree; 0 if there is no memory for it."""
        cdef Py_ssize_t i, parent, room
        cdef Py_ssize_t* sums
        if self.sums_valid:
            return 1
        if self.nruns >= self.sums_room:
            room = self.nruns + (self.nruns >> 1) + 1
            sums = <Py_ssize_t*>PyMem_RawRealloc(self.sums, room * sizeof(Py_ssize_t))
            if sums == NULL:
                return 0
            self.account((room - self.sums_room) * <Py_ssize_t>sizeof(Py_ssize_t))
            self.sums = sums
            self.sums_room = room
        for i in range(1, self.nruns + 1):
            self.sums[i] = self.runs[i - 1].count
        for i in range(1, self.nruns + 1):
            parent = i + (i & -i)
            if parent <= self.nruns:
                self.sums[parent] += self.sums[i]
        self.sums_valid = True
        return 1

    cdef inline void counted(self, Py_ssize_t r, Py_ssize_t delta) noexcept:
        """Run r has `delta` items more."""
        cdef Py_ssize_t i = r + 1
        if self.sums_valid:
            while i <= self.nruns:
                self.sums[i] += delta
                i += i & -i

    cdef Py_ssize_t prefix(self, Py_ssize_t r) noexcept:
        """How many items the runs before r hold."""
        cdef Py_ssize_t total = 0, i
        if r <= LINEAR_MAX or not self.build_sums():
            for i in range(r):
                total += self.runs[i].count
            return total
        while r > 0:
            total += self.sums[r]
            r -= r & -r
        return total

    cdef Py_ssize_t select(self, Py_ssize_t rank, Py_ssize_t* pos) noexcept:
        """The run and the position of the item of a rank in [0, count)."""
        cdef Py_ssize_t r = 0, width
        if rank == self.count - 1:
            r = self.nruns - 1
            pos[0] = self.runs[r].count - 1
            return r
        if rank < self.runs[0].count:
            pos[0] = rank
            return 0
        if self.nruns > LINEAR_MAX and self.build_sums():
            width = 1
            while width * 2 <= self.nruns:
                width *= 2
            while width > 0:
                if r + width <= self.nruns and self.sums[r + width] <= rank:
                    r += width
                    rank -= self.sums[r]
                width >>= 1
        else:
            while rank >= self.runs[r].count:
                rank -= self.runs[r].count
                r += 1
        pos[0] = rank
        return r

    # -- runs ---------------------------------------------------------------------------------

    cdef Run* add_run(self, Py_ssize_t at, Py_ssize_t room) except NULL:
        """Put an empty run before the one at `at`."""
        cdef Run* base = &self.only if self.block == NULL else self.block
        cdef Py_ssize_t offset = self.runs - base, wanted
        cdef Run* block
        cdef Item* items = <Item*>PyMem_RawMalloc(room * sizeof(Item))
        if items == NULL:
            raise MemoryError
        if offset + self.nruns == self.block_room:
            if offset > self.nruns >> 1:
                memmove(base, self.runs, self.nruns * sizeof(Run))
                self.runs = base
            else:
                wanted = self.nruns + (self.nruns >> 1) + 4
                block = <Run*>PyMem_RawMalloc(wanted * sizeof(Run))
                if block == NULL:
                    PyMem_RawFree(items)
                    raise MemoryError
                memcpy(block, self.runs, self.nruns * sizeof(Run))
                PyMem_RawFree(self.block)
                self.account((wanted - self.block_room) * <Py_ssize_t>sizeof(Run))
                self.block = self.runs = block
                self.block_room = wanted
        memmove(&self.runs[at + 1], &self.runs[at], (self.nruns - at) * sizeof(Run))
        self.nruns += 1
        self.sums_valid = False
        self.account(room * <Py_ssize_t>sizeof(Item))
        self.runs[at].items = items
        self.runs[at].start = 0
        self.runs[at].count = 0
        self.runs[at].room = <uint16_t>room
        return &self.runs[at]

    cdef void drop_run(self, Py_ssize_t r) noexcept:
        self.account(-(self.runs[r].room * <Py_ssize_t>sizeof(Item)))
        PyMem_RawFree(self.runs[r].items)
        self.nruns -= 1
        self.sums_valid = False
        if self.nruns == 0:
            self.runs = &self.only if self.block == NULL else self.block
        elif r == 0:
            self.runs += 1
        else:
            memmove(&self.runs[r], &self.runs[r + 1], (self.nruns - r) * sizeof(Run))

    cdef int resize_run(self, Run* run, Py_ssize_t room) noexcept:
        """Give a run room for another number of items, from its first on; 0 without memory."""
        cdef Item* items
        if run.start > 0:
            memmove(run.items, run.items + run.start, run.count * sizeof(Item))
            run.start = 0
        items = <Item*>PyMem_RawRealloc(run.items, room * sizeof(Item))
        if items == NULL:
            return 0
        self.account((room - run.room) * <Py_ssize_t>sizeof(Item))
        run.items = items
        run.room = <uint16_t>room
        return 1

    cdef Py_ssize_t make_room(self, Py_ssize_t r, Py_ssize_t* pos) except -1:
        """Let run r take one more item; returns the run, and the position in it, to insert at."""
        cdef Run* run = &self.runs[r]
        cdef Run* right
        cdef Py_ssize_t half = RUN_MAX // 2, room
        if run.count < run.room:
            return r
        if run.room < RUN_MAX:
            if not self.resize_run(run, roomier(run.room)):
                raise MemoryError
            return r
        if pos[0] == RUN_MAX and r == self.nruns - 1:
            self.add_run(r + 1, 16)
            pos[0] = 0
            return r + 1
        if pos[0] == 0 and r == 0:
            self.add_run(0, 16)
            return 0
        room = half + (half >> 2)
        right = self.add_run(r + 1, room)
        run = right - 1
        right.start = <uint16_t>((room - half) >> 1)
        right.count = <uint16_t>half
        memcpy(right.items + right.start, run.items + run.start + half, half * sizeof(Item))
        right.low = right.items[right.start].score
        run.count = <uint16_t>half
        self.resize_run(run, room)
        if pos[0] > half:
            pos[0] -= half
            return r + 1
        return r

    cdef int place(self, Rec* rec, double score) except -1:
        """Insert an item for rec."""
        cdef Bound bound
        cdef Py_ssize_t r, pos, shift
        cdef Run* run
        cdef Item* items
        bind(&bound, rec, score)
        r = self.locate(&bound, &pos)
        if self.nruns == 0:
            run = self.add_run(0, ROOM_MIN)
        else:
            r = self.make_room(r, &pos)
            run = &self.runs[r]
        if pos < run.count >> 1:
            if run.start == 0:
                # Half of the free room comes to this end, so that the next one finds some.
                shift = (run.room - run.count + 1) >> 1
                memmove(run.items + shift, run.items, run.count * sizeof(Item))
                run.start = <uint16_t>shift
            run.start -= 1
            items = run.items + run.start
            memmove(items, items + 1, pos * sizeof(Item))
        else:
            if run.start + run.count == run.room:
                shift = run.start >> 1
                memmove(run.items + shift, run.items + run.start, run.count * sizeof(Item))
                run.start = <uint16_t>shift
            items = run.items + run.start
            memmove(items + pos + 1, items + pos, (run.count - pos) * sizeof(Item))
        items[pos].score = score
        items[pos].rec = rec
        run.count += 1
        if pos == 0:
            run.low = score
        self.counted(r, 1)
        return 0

    cdef void erase(self, Py_ssize_t r, Py_ssize_t pos, Py_ssize_t count) noexcept:
        """Take `count` items of run r out, beginning at pos."""
        cdef Run* run = &self.runs[r]
        cdef Item* items = run.items + run.start
        cdef Py_ssize_t behind = run.count - pos - count
        if count == run.count:
            self.drop_run(r)
            return
        if pos < behind:
            memmove(items + count, items, pos * sizeof(Item))
            run.start += <uint16_t>count
        else:
            memmove(items + pos, items + pos + count, behind * sizeof(Item))
        run.count -= <uint16_t>count
        run.low = run.items[run.start].score
        self.counted(r, -count)
        self.tighten(r)

    cdef void tighten(self, Py_ssize_t r) noexcept:
        """Join a run that lost items with a neighbour, or give back memory."""
        cdef Run* run = &self.runs[r]
        if run.count < SPARSE and self.nruns > 1:
            if r + 1 < self.nruns and run.count + self.runs[r + 1].count <= MERGED_MAX:
                self.merge(r)
                return
            if r > 0 and run.count + self.runs[r - 1].count <= MERGED_MAX:
                self.merge(r - 1)
                return
        if run.room > ROOM_MIN * 4 and run.count < run.room >> 2:
            self.resize_run(run, run.room >> 1)

    cdef void merge(self, Py_ssize_t r) noexcept:
        """Put the items of run r + 1 behind those of run r; without memory leave both."""
        cdef Run* run = &self.runs[r]
        cdef Run* right = run + 1
        cdef Py_ssize_t total = run.count + right.count
        if run.room < total:
            if not self.resize_run(run, total):
                return
        elif run.start + total > run.room:
            memmove(run.items, run.items + run.start, run.count * sizeof(Item))
            run.start = 0
        memcpy(run.items + run.start + run.count, right.items + right.start,
               right.count * sizeof(Item))
        run.count = <uint16_t>total
        self.drop_run(r + 1)

    cdef int move(self, Rec* rec, double score) except -1:
        """Change the score of a record that is here."""
        cdef Bound old, new
        cdef Py_ssize_t r, pos, target
        cdef Run* run
        cdef Item* items
        bind(&old, rec, rec_score(rec))
        bind(&new, rec, score)
        old.inclusive = True
        r = self.locate(&old, &pos)
        pos -= 1
        run = &self.runs[r]
        if (r == 0 or run_below(run, &new)) and (
            r == self.nruns - 1 or not run_below(run + 1, &new)
        ):
            items = run.items + run.start
            target = find_in_run(run, &new)
            if target > pos:
                target -= 1
                memmove(items + pos, items + pos + 1, (target - pos) * sizeof(Item))
            else:
                memmove(items + target + 1, items + target, (pos - target) * sizeof(Item))
            items[target].score = score
            items[target].rec = rec
            run.low = items[0].score
        else:
            self.place(rec, score)
            r = self.locate(&old, &pos)
            self.erase(r, pos - 1, 1)
        rec_set_score(rec, score)
        return 0

    # -- writing ------------------------------------------------------------------------------

    cpdef int upsert(self, bytes member, double score) except -1:
        cdef Rec* rec = self.find(member)
        if rec != NULL:
            if rec_score(rec) == score:
                return 0
            self.move(rec, score)
            return 1
        self.insert(member, SCORE, None, score, -1)
        try:
            self.place(self.find(member), score)
        except MemoryError:
            self.unlink(self.find_link(member))
            raise
        if PyBytes_GET_SIZE(member) > self.widest:
            self.widest = PyBytes_GET_SIZE(member)
        self.grown = not self.outgrown
        return 2

    cpdef bint put_score(self, bytes key, double score):
        return self.upsert(key, score) == 2

    cpdef bint discard(self, bytes key):
        cdef Rec** where = self.find_link(key)
        cdef Bound bound
        cdef Py_ssize_t r, pos
        if where == NULL:
            return False
        bind(&bound, where[0], rec_score(where[0]))
        bound.inclusive = True
        r = self.locate(&bound, &pos)
        self.erase(r, pos - 1, 1)
        self.unlink(where)
        return True

    cpdef object pop(self, bytes key):
        cdef object score = self.score(key)
        if score is not None:
            self.discard(key)
        return score

    cpdef remove_range(self, Py_ssize_t start, Py_ssize_t count):
        cdef Py_ssize_t r, pos, n, i
        cdef Item* items
        while count > 0 and start < self.count:
            r = self.select(start, &pos)
            n = min(count, self.runs[r].count - pos)
            items = self.runs[r].items + self.runs[r].start + pos
            for i in range(n):
                if i + AHEAD < n:
                    isthmus_prefetch(items[i + AHEAD].rec)
                self.unlink(self.find_rec(items[i].rec))
            self.erase(r, pos, n)
            count -= n

    cpdef long long clear_slice(self, long long limit):
        # A run holds far more than one item in the mean, so the runs never outlast the records.
        cdef long long runs = limit // 64 + 1
        while self.nruns > 0 and runs > 0:
            self.drop_run(self.nruns - 1)
            runs -= 1
        if Table.clear_slice(self, limit) > 0:
            return self.count
        while self.nruns > 0:
            self.drop_run(self.nruns - 1)
        return 0

    # -- reading ------------------------------------------------------------------------------

    cpdef Py_ssize_t rank(self, bytes member):
        cdef Rec* rec = self.find(member)
        cdef Bound bound
        cdef Py_ssize_t r, pos
        if rec == NULL:
            return -1
        bind(&bound, rec, rec_score(rec))
        r = self.locate(&bound, &pos)
        return self.prefix(r) + pos

    cpdef Py_ssize_t count_below(self, double score, bint inclusive):
        cdef Bound bound
        cdef Py_ssize_t r, pos
        bound.kind = BY_SCORE
        bound.inclusive = inclusive
        bound.score = score
        r = self.locate(&bound, &pos)
        return self.prefix(r) + pos

    cpdef Py_ssize_t count_lex_below(self, bytes member, bint inclusive):
        cdef Bound bound
        cdef Py_ssize_t r, pos
        bound.kind = BY_MEMBER
        bound.inclusive = inclusive
        bound.member = PyBytes_AS_STRING(member)
        bound.length = PyBytes_GET_SIZE(member)
        r = self.locate(&bound, &pos)
        return self.prefix(r) + pos

    cpdef bytes member_at(self, Py_ssize_t rank):
        cdef Py_ssize_t r, pos
        cdef Rec* rec
        if not 0 <= rank < self.count:
            raise IndexError("rank outside the set")
        r = self.select(rank, &pos)
        rec = self.runs[r].items[self.runs[r].start + pos].rec
        return PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec))

    cpdef double score_at(self, Py_ssize_t rank) except? -1:
        cdef Py_ssize_t r, pos
        if not 0 <= rank < self.count:
            raise IndexError("rank outside the set")
        r = self.select(rank, &pos)
        return self.runs[r].items[self.runs[r].start + pos].score

    cpdef write_range(self, ReplyWriter reply, Py_ssize_t start, Py_ssize_t count,
                      bint reverse, bint scores, bint nested):
        cdef Py_ssize_t r, pos
        cdef Run* run
        cdef Item* item
        if count <= 0:
            return
        r = self.select(start, &pos)
        run = &self.runs[r]
        while count > 0:
            item = run.items + run.start + pos
            if reverse:
                if pos >= AHEAD:
                    isthmus_prefetch(item[-AHEAD].rec)
                pos -= 1
            else:
                if pos + AHEAD < run.count:
                    isthmus_prefetch(item[AHEAD].rec)
                pos += 1
            if nested:
                reply.array(2)
            reply.bulk_raw(rec_key(item.rec), rec_klen(item.rec))
            if scores:
                reply.double(item.score)
            count -= 1
            if count == 0:
                return
            if pos < 0:
                run -= 1
                pos = run.count - 1
            elif pos == run.count:
                run += 1
                pos = 0

    cpdef list members(self, Py_ssize_t start, Py_ssize_t count, bint reverse=False):
        return self.take_out(start, count, reverse, False)

    cpdef list slice(self, Py_ssize_t start, Py_ssize_t count, bint reverse=False):
        return self.take_out(start, count, reverse, True)

    cdef list take_out(self, Py_ssize_t start, Py_ssize_t count, bint reverse, bint scores):
        cdef list out = []
        cdef Py_ssize_t r, pos
        cdef Run* run
        cdef Item* item
        cdef bytes member
        if count <= 0:
            return out
        r = self.select(start, &pos)
        run = &self.runs[r]
        while True:
            item = run.items + run.start + pos
            member = PyBytes_FromStringAndSize(rec_key(item.rec), rec_klen(item.rec))
            out.append((member, item.score) if scores else member)
            count -= 1
            if count == 0:
                return out
            pos += -1 if reverse else 1
            if pos < 0:
                run -= 1
                pos = run.count - 1
            elif pos == run.count:
                run += 1
                pos = 0

    def check(self):
        """Assert the invariants; O(n), for tests."""
        cdef Py_ssize_t r, i, total = 0
        cdef Run* run
        cdef Item* item
        cdef Item* previous = NULL
        cdef Bound bound
        Table.check(self)
        for r in range(self.nruns):
            run = &self.runs[r]
            assert 0 < run.count <= run.room - run.start, "empty or overflowing run"
            assert run.low == run.items[run.start].score, "low"
            assert self.prefix(r) == total, "prefix"
            for i in range(run.count):
                item = &run.items[run.start + i]
                assert self.find_rec(item.rec)[0] != NULL, "a record of another table"
                assert item.score == rec_score(item.rec), "score"
                bind(&bound, item.rec, item.score)
                assert previous == NULL or below(previous, &bound), "order"
                previous = item
            total += run.count
        assert total == self.count, "count of the runs"
