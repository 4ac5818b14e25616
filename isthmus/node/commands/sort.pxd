from isthmus.node.engine.context cimport Context
from isthmus.node.values.hashes cimport HashValue
from isthmus.node.values.lists cimport ListValue
from isthmus.node.values.sets cimport SetValue
from isthmus.node.values.sorting cimport store_list, weight
from isthmus.node.values.zsets cimport ZSetValue
