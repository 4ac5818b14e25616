# HyperLogLog arithmetic; hll.py explains the format.
cpdef bint valid(object data) except -1
cpdef bint sparse(object data) except -1
cpdef bytearray empty()
cpdef long long cached(object data) except -2
cpdef void set_cached(bytearray data, long long count)
cpdef list opcodes(object data)
cpdef bint to_dense(bytearray data) except -1
cpdef long long raise_register(bytearray data, long long index, long long value,
                               long long limit) except -2
cpdef long long add(bytearray data, bytes element, long long limit) except -2
cpdef bint merge(bytearray registers, object data) except -1
cpdef bint write_registers(bytearray data, bytearray registers, long long limit) except -1
cpdef long long count(object data) except -2
cpdef long long count_registers(bytearray registers) except -2
