from isthmus.node.values.stream_log cimport StreamLog

cpdef int load_block(StreamLog log, bytes key, bytes listpack) except -1
