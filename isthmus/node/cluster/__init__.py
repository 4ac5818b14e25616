"""The node's part in a cluster: who it is, what it believes the topology to be, its coordinator."""
