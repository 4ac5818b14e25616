# The longest common subsequence of two strings; lcs.py says what is computed.
cpdef long long length(bytes left, bytes right) except -1
cpdef tuple matches(bytes left, bytes right)
