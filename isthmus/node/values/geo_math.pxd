# Places as scores, and distances; geo_math.py explains them.
cpdef object spread(unsigned long long number)
cpdef long long encode(double longitude, double latitude, double latitude_max,
                       long long steps) except -1
cpdef tuple decode(double score)
cpdef double distance(double lon1, double lat1, double lon2, double lat2) except? -1
cpdef int filter_places(list pairs, double longitude, double latitude, double radius, double width,
                        double height, long long limit, list found) except -1
