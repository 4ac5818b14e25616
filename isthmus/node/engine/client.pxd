from isthmus.node.engine.keyspace cimport Database

cdef class ClientState:
    cdef public long long id
    cdef public bytes name
    cdef public Database db
    cdef public long long gates
    cdef public long long protocol
    cdef public bint authenticated
    cdef public bint in_multi
    cdef public bint multi_failed
    cdef public bint readonly
    cdef public bint asking
    cdef public bint no_evict
    cdef public bint no_touch
    cdef public bint reply_off
    cdef public long long reply_skip
    cdef public bint closing
    cdef public bint close_now
    cdef public list queue
    cdef public object blocked
    cdef public object postponed
    cdef public bint restricted
    cdef public bint tracking
    cdef public bint subscriber
    cdef public bint shared
    cdef public bint linked
    cdef public object held
    cdef public bytearray outbox
    cdef public dict watched
    cdef public bytes last_command
    cdef public bytes lib_name
    cdef public bytes lib_version
    cdef public object user
    cdef public object peer
    cdef public bytes address
    cdef public bytes local_address
    cdef public long long created_ms
    cdef public long long active_ms
    cdef public long long fd
    cdef public long long commands
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public long long queued_bytes
    cdef public object sync_wishes
    cdef public object sync_facts
    cdef public object replica
    cdef public long long write_offset
