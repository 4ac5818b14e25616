# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Places as scores, and distances, in C; geo_math.py says what they are.

The arithmetic is done in the same order as in the twin, so both give the same doubles, which
clients see in all their digits. Scores are taken apart without the interpreter; a search makes an
object for a place only when the place is inside.
"""

from libc.math cimport asin, cos, fabs, sin, sqrt

LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
STEPS = 26
EARTH_RADIUS = 6372797.560856
Found = tuple[float, bytes, float, float, float]

cdef double LON = 180.0
cdef double LAT = 85.05112878
cdef double RADIUS = 6372797.560856
cdef double RADIANS = 3.141592653589793 / 180.0
cdef double PARTS = 67108864.0


cdef unsigned long long spread_bits(unsigned long long x) noexcept nogil:
    x &= 0xFFFFFFFFULL
    x = (x | (x << 16)) & 0x0000FFFF0000FFFFULL
    x = (x | (x << 8)) & 0x00FF00FF00FF00FFULL
    x = (x | (x << 4)) & 0x0F0F0F0F0F0F0F0FULL
    x = (x | (x << 2)) & 0x3333333333333333ULL
    return (x | (x << 1)) & 0x5555555555555555ULL


cdef unsigned long long gather_bits(unsigned long long x) noexcept nogil:
    x &= 0x5555555555555555ULL
    x = (x | (x >> 1)) & 0x3333333333333333ULL
    x = (x | (x >> 2)) & 0x0F0F0F0F0F0F0F0FULL
    x = (x | (x >> 4)) & 0x00FF00FF00FF00FFULL
    x = (x | (x >> 8)) & 0x0000FFFF0000FFFFULL
    return (x | (x >> 16)) & 0x00000000FFFFFFFFULL


cpdef object spread(unsigned long long number):
    return spread_bits(number)


def gather(object word):
    """The bits at the even places of a 64-bit word, as 32 bits."""
    return gather_bits(<unsigned long long>(word & 0xFFFFFFFFFFFFFFFF))


cpdef long long encode(double longitude, double latitude, double latitude_max,
                       long long steps) except -1:
    cdef double across = (longitude + LON) / (2 * LON)
    cdef double up = (latitude + latitude_max) / (2 * latitude_max)
    cdef double parts = <double>(1LL << steps)
    return <long long>(spread_bits(<unsigned long long>(up * parts))
                       | spread_bits(<unsigned long long>(across * parts)) << 1)


cdef inline double middle(unsigned long long part, double most) noexcept nogil:
    cdef double scale = 2 * most
    cdef double low = -most + (<double>part / PARTS) * scale
    cdef double high = -most + (<double>(part + 1) / PARTS) * scale
    cdef double value = (low + high) / 2
    if value > most:
        return most
    return -most if value < -most else value


cdef inline void place_of(double score, double* longitude, double* latitude) noexcept nogil:
    cdef unsigned long long word
    if score >= 0:
        word = <unsigned long long>score if score < 18446744073709551616.0 else 0
    elif score >= -9223372036854775808.0:
        word = <unsigned long long><long long>score
    else:
        word = 0x8000000000000000ULL
    longitude[0] = middle(gather_bits(word >> 1), LON)
    latitude[0] = middle(gather_bits(word), LAT)


cpdef tuple decode(double score):
    cdef double longitude = 0, latitude = 0
    place_of(score, &longitude, &latitude)
    return longitude, latitude


cdef inline double metres(double lon1, double lat1, double lon2, double lat2) noexcept nogil:
    cdef double v = sin((lon2 * RADIANS - lon1 * RADIANS) / 2)
    cdef double up1, up2, u, a
    if v == 0.0:
        return RADIUS * fabs(lat2 * RADIANS - lat1 * RADIANS)
    up1 = lat1 * RADIANS
    up2 = lat2 * RADIANS
    u = sin((up2 - up1) / 2)
    a = u * u + cos(up1) * cos(up2) * v * v
    return 2.0 * RADIUS * asin(sqrt(a if a < 1.0 else 1.0))


cpdef double distance(double lon1, double lat1, double lon2, double lat2) except? -1:
    return metres(lon1, lat1, lon2, lat2)


cpdef int filter_places(list pairs, double longitude, double latitude, double radius, double width,
                        double height, long long limit, list found) except -1:
    cdef double lon = 0, lat = 0, away
    cdef double score
    cdef tuple pair
    cdef Py_ssize_t have = len(found)
    for pair in pairs:
        score = pair[1]
        place_of(score, &lon, &lat)
        if radius >= 0:
            away = metres(longitude, latitude, lon, lat)
            if away > radius:
                continue
        else:
            if RADIUS * fabs(latitude * RADIANS - lat * RADIANS) > height / 2:
                continue
            if metres(lon, lat, longitude, lat) > width / 2:
                continue
            away = metres(longitude, latitude, lon, lat)
        found.append((away, pair[0], pair[1], lon, lat))
        have += 1
        if 0 < limit <= have:
            return 0
    return 0
