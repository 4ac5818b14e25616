from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
