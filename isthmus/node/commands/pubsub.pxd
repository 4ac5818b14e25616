cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.pubsub cimport PubSub
from isthmus.wire.reply cimport ReplyWriter

@cython.locals(pubsub=PubSub, count="long long")
cpdef publish(Context ctx, list[bytes] argv)
@cython.locals(pubsub=PubSub, count="long long")
cpdef spublish(Context ctx, list[bytes] argv)
