cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.node.engine.table cimport Table
from isthmus.node.engine.table_rdb cimport position, save_all, save_bucket, save_key
from isthmus.node.persist.piece_writer cimport PieceWriter
from isthmus.node.values.rdb_encode cimport write_entry, write_prefix
from isthmus.wire.rdb_writer cimport RdbWriter
from isthmus.wire.slots cimport key_slot

cdef class Owed:
    cdef public Source source
    cdef public bytes key
    cdef public object value
    cdef public long long expire
    cdef public long long mark
    cdef public bint handed_over

cdef class Source:
    cdef public Cut cut
    cdef public object db
    cdef public long long index
    cdef public list slots
    cdef public bytearray states
    cdef public dict handled
    cdef public dict owed
    cdef public long long slot
    cdef public long long cursor
    cdef public long long keys
    cdef public long long volatile
    cdef public bint announced
    cdef public long long flushed
    cdef public long long flushed_bytes
    cdef public object fields
    cpdef void leaving(self, bytes key)
    cpdef void before(self, bytes key)
    @cython.locals(table=Table, slot="long long", state="long long", handled=set)
    cpdef void visit(self, bytes key)

cdef class Cut:
    cdef public Keyspace keyspace
    cdef public long long marks
    cdef public long long now_s
    cdef public long long pending_bytes_max
    cdef public RdbWriter out
    cdef public RdbWriter side
    cdef public list sources
    cdef public long long walking
    cdef public Source turned_to
    cdef public Source turned_aside
    cdef public object body
    cdef public Owed body_of
    cdef public list queue
    cdef public list urgent
    cdef public dict ours
    cdef public long long kept_bytes
    cdef public long long keys_total
    cdef public object failure
    cdef public bint finished
    cdef public object resume
    cdef public bint slot_hints
    cdef public bytes chosen
    cdef public bint gentle
    cdef public list pieces
    cdef public long long ready_bytes
    cdef public PieceWriter taker
    cdef public long long peak_bytes
    cdef public object on_finished
    @cython.locals(source=Source)
    cpdef void before_command(self, Database db, CommandSpec spec, list[bytes] argv)
    cdef RdbWriter writer(self, Source source)
    @cython.locals(table=Table)
    cpdef void write_slot(self, Source source, long long slot)
    cpdef void write_key(self, Source source, Table table, bytes key)
    cpdef void write_objects(self, Source source, RdbWriter out, list objects)
    @cython.locals(waiting="long long")
    cpdef long long pending_bytes(self)
    cpdef void check_pending(self)
    cpdef void advance(self)
    @cython.locals(slot="long long", states=bytearray, table=Table)
    cpdef void walk(self, Source source)
    @cython.locals(cursor="long long")
    cpdef void walk_slot(self, Source source, long long slot, Table table)
    @cython.locals(taker=PieceWriter, waiting="long long", piece=bytes)
    cpdef long long between_turns(self, long long ready)
    cpdef void note_peak(self)

@cython.locals(table=Table, total="long long", slots=list)
cpdef long long volatile_keys(Database db)
