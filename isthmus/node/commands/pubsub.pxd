from isthmus.node.engine.context cimport Context
from isthmus.node.engine.pubsub cimport PubSub
